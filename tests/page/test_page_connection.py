"""The viewer page and its connection: lost, silent, hidden, refused, broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from daemon.publish.http.interface import HttpServer, create_app
from daemon.publish.hub import UpdateHub
from tests.support.fake_daemon import FakeDaemon
from tests.support.page_tools import FULL_STATUS, PageViewer, even_update, wavy
from tests.support.updates import make_update

pytestmark = pytest.mark.browser


def test_comes_back_after_the_daemon_restarts(
    browser: Any, source: FakeDaemon, hub: UpdateHub, server: HttpServer
) -> None:
    hub.publish_layer(even_update(wavy((20, 20))))
    hub.publish_status(FULL_STATUS)
    context = browser.new_context()
    viewer = PageViewer(context.new_page(), server.url)
    viewer.until_frames("network", 1)
    server.stop()
    viewer.until("document.querySelector('#banner').textContent.startsWith('Connection to the daemon lost')")
    assert viewer.page.get_attribute("html", "data-feed") == "stale"
    assert viewer.text("#receive-rate") == "–"
    assert viewer.text("#state") == "unknown"
    again = UpdateHub()
    second = HttpServer(create_app(source, again), "127.0.0.1", server.port)
    second.start()
    viewer.until("ptycholive.connection.state === 'open'")
    again.publish_status({**FULL_STATUS, "streams": []})
    viewer.until("document.querySelector('#banner').textContent.startsWith('Connected again')")
    again.publish_layer(even_update(wavy((25, 20)), stitched=2))
    viewer.until_frames("network", 2)
    viewer.until("document.documentElement.dataset.feed === 'live'")
    assert viewer.page.locator("#banner").is_hidden()
    context.close()
    second.stop()


def test_says_when_the_daemon_falls_silent(browser: Any, server: HttpServer, hub: UpdateHub) -> None:
    hub.publish_status(FULL_STATUS)
    context = browser.new_context()
    page = context.new_page()
    page.clock.install()
    viewer = PageViewer(page, server.url)
    viewer.until("document.querySelector('#state').textContent === 'scanning'")
    page.clock.fast_forward(5000)
    viewer.until("document.querySelector('#banner').textContent.startsWith('No message from the daemon')")
    assert viewer.text("#stitch-rate") == "–"
    hub.publish_status({**FULL_STATUS, "streams": []})
    viewer.until("document.querySelector('#banner').hidden")
    context.close()


def test_rests_while_nobody_looks(browser: Any, server: HttpServer, hub: UpdateHub) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.clock.install()
    viewer = PageViewer(page, server.url)
    hide = "(hidden) => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true}); "
    hide += "document.dispatchEvent(new Event('visibilitychange')); }"
    page.evaluate(hide, True)
    page.clock.fast_forward(6000)
    viewer.until("ptycholive.connection.state === 'resting'")
    hub.publish_layer(make_update(np.random.default_rng(0), stitched=4))
    page.evaluate(hide, False)
    viewer.until_frames("network", 4)
    context.close()


def test_asks_for_a_token_when_refused(browser: Any, source: FakeDaemon, hub: UpdateHub, server: HttpServer) -> None:
    context = browser.new_context()
    viewer = PageViewer(context.new_page(), server.url)
    server.stop()
    guarded = HttpServer(create_app(source, hub), "127.0.0.1", server.port, token="secret")
    guarded.start()
    viewer.until("document.querySelector('#banner').textContent.startsWith('The daemon requires a token')")
    context.close()
    guarded.stop()


def test_broken_messages_are_named_and_survived(look: Callable[[], PageViewer], hub: UpdateHub) -> None:
    script = """async (bytes) => {
        const { decodeMessage } = await import("/page/wire.js");
        try { decodeMessage(new Uint8Array(bytes).buffer); } catch (fault) { return fault.message; }
        return "none";
    }"""
    page = look().page
    assert "tag" in page.evaluate(script, [0xC1])
    assert "array" in page.evaluate(script, [0x90])
    assert "topic" in page.evaluate(script, [0x92, 0xA1, 0x78, 0x80])
    assert "schema version" in page.evaluate(script, [0x92, 0xA4, 0x73, 0x63, 0x61, 0x6E, 0x80])
    assert "left over" in page.evaluate(script, [0x90, 0x01])
    assert "ends early" in page.evaluate(script, [0x91, 0xA4, 0x73])
