"""The viewer page in a real browser, fed by a real hub over real HTTP."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from daemon.publish.http.interface import HttpServer, create_app
from daemon.publish.hub import UpdateHub
from tests.support.fake_daemon import FakeDaemon
from tests.support.fake_frames import FakeFrames, FakeProbes
from tests.support.http_server import serving
from tests.support.page_tools import PageViewer, even_update, wavy

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, or a skipped test."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")
    if CHROMIUM is None:
        pytest.skip("the browser tests need Debian's chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def source() -> FakeDaemon:
    return FakeDaemon(pattern=("scan-1", 1, np.ones((16, 16))))  # the page fetches one while a scan runs


@pytest.fixture
def hub() -> UpdateHub:
    return UpdateHub()


@pytest.fixture
def server(source: FakeDaemon, hub: UpdateHub) -> Iterator[HttpServer]:
    with serving(create_app(source, hub, frames=FakeFrames(), probes=FakeProbes())) as server:
        yield server


@pytest.fixture
def look(browser: Any, server: HttpServer) -> Iterator[Callable[[], PageViewer]]:
    """Opens the page; at the end nothing may have gone wrong in it."""
    context = browser.new_context(viewport={"width": 1000, "height": 700})
    viewers: list[PageViewer] = []

    def open_page() -> PageViewer:
        viewers.append(PageViewer(context.new_page(), server.url))
        return viewers[-1]

    yield open_page
    for viewer in viewers:
        assert viewer.page.evaluate("violations") == []
        assert viewer.faults == []
    context.close()


@pytest.fixture
def viewer(look: Callable[[], PageViewer], hub: UpdateHub) -> PageViewer:
    """The page with a small picture of the network layer on it."""
    hub.publish_layer(even_update(wavy((40, 40))))
    viewer = look()
    viewer.until_frames("network", 1)
    viewer.page.evaluate("ptycholive.stage.settled()")
    return viewer
