"""The viewer page beside a whole daemon, in real Chromium: it grows with the scan, and comes back after a restart."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest

from daemon.client import Viewer
from daemon.files import ScanFile
from tests.support.daemon_tools import PATIENCE_S, follow, real_scan, running_daemon, send

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.browser
READ_BOX = """async ([layer, y, x, h, w]) => {
    const picture = ptycholive.session.pictures[layer];
    const values = [];
    for (let row = y; row < y + h; row += 1) for (let column = x; column < x + w; column += 1) {
        const { re, im } = picture.valueAt(row, column);
        values.push(re, im);
    }
    return values;
}"""
COVERED = (
    "[...ptycholive.session.pictures.network.tiles.values()].reduce((sum, tile) => sum + tile.summarise().count, 0)"
)


@pytest.fixture(scope="module")
def scan() -> ScanFile:
    return real_scan()


@pytest.fixture
def page() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")
    if CHROMIUM is None:
        pytest.skip("the browser tests need Debian's chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(1000 * PATIENCE_S)
        yield page
        browser.close()


def keep(page: Any, folder: Path, name: str) -> None:
    """Keep a screenshot, in $PTYCHOLIVE_SCREENSHOTS where that is set."""
    page.screenshot(path=Path(os.environ.get("PTYCHOLIVE_SCREENSHOTS", folder)) / f"{name}.png")


def test_the_picture_grows_and_is_the_daemons_bit_for_bit(scan: ScanFile, tmp_path: Path, page: Any):
    with running_daemon(tmp_path) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        page.goto(daemon.addresses()["http"])
        page.wait_for_function("() => ptycholive.connection.state === 'open'")
        page.evaluate(f"""() => {{
            window.grown = [];
            setInterval(() => ptycholive.session.pictures.network && grown.push({COVERED}), 100);
        }}""")
        send(daemon, scan, 200, rate_hz=60)
        follow(viewer)
        page.wait_for_function("() => ptycholive.session.pictures.network?.header.complete")
        grown = page.evaluate("grown")
        assert len(set(grown)) > 3
        assert grown == sorted(grown)
        with urlopen(f"{daemon.addresses()['http']}/api/v1/scans/star/snapshot.npy?layer=network") as answer:
            origin = [int(side) for side in answer.headers["X-Origin-Px"].split(",")]
            wanted = np.load(io.BytesIO(answer.read()))
        values = page.evaluate(READ_BOX, ["network", *origin, *wanted.shape])
        seen = np.array(values, dtype=np.float32).view(np.complex64).reshape(wanted.shape)
        np.testing.assert_array_equal(seen, wanted)
        page.keyboard.press("p")
        page.wait_for_function("() => ptycholive.path.points.length === 200")
        page.evaluate("ptycholive.stage.settled()")
        keep(page, tmp_path, "page-complete")


def test_comes_back_after_the_daemons_restart(scan: ScanFile, tmp_path: Path, page: Any):
    with running_daemon(tmp_path) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        port = daemon.http.port
        page.goto(daemon.addresses()["http"])
        page.wait_for_function("() => ptycholive.connection.state === 'open'")
        send(daemon, scan, 40, scan_id="first")
        follow(viewer)
        page.wait_for_function("() => ptycholive.session.pictures.network?.header.complete")
    page.wait_for_function("() => document.documentElement.dataset.feed === 'stale'")
    assert "lost" in page.text_content("#banner")
    keep(page, tmp_path, "page-stale")
    with running_daemon(tmp_path, f"http.port={port}") as daemon:
        page.wait_for_function("() => ptycholive.connection.state === 'open'")
        page.wait_for_function(
            "() => [...document.querySelector('#scan-choice').options].some((o) => o.value === 'first')"
        )
        page.select_option("#scan-choice", "first")  # of the daemon before: from its product
        page.wait_for_function("() => ptycholive.stage.picture?.header.scan_id === 'first'")
        page.keyboard.press("Escape")
        send(daemon, scan, 40, scan_id="second")
        page.wait_for_function("() => ptycholive.session.scanId === 'second' && ptycholive.session.pictures.network")
        page.wait_for_function("() => document.documentElement.dataset.feed === 'live'")
        page.locator("#banner").wait_for(state="hidden")  # a sender that goes in mid-scan is said until the scan's end
        assert page.locator("#banner").is_hidden()
