"""Words, numbers and files on the viewer page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from daemon.publish.hub import UpdateHub
from tests.support.fake_daemon import FakeDaemon
from tests.support.page_tools import FULL_STATUS, PageViewer, even_update, image_of, wavy

pytestmark = pytest.mark.browser


def test_text_from_streams_stays_text(look: Callable[[], PageViewer], hub: UpdateHub) -> None:
    hostile = "<img src=x onerror='window.hacked=1'>"
    hub.publish_scan({"scan_id": hostile, "state": "started"})
    verdict = {"received": 3, "stitched": 1, "refused": {hostile: 2}}
    streams = [{"name": hostile, "endpoint": hostile, "connected": True, "messages": 1, "bytes": 2, "silent_s": 0}]
    texts = {"sentence": hostile, "device": hostile, "version": hostile, "model": {"name": hostile, "generation": 1}}
    hub.publish_status({"scan_id": hostile, "state": "degraded", "verdict": verdict, "streams": streams, **texts})
    hub.publish_layer(even_update(wavy((20, 20)), scan_id=hostile))
    viewer = look()
    viewer.until_frames("network", 1)
    viewer.until("document.querySelector('#scan').textContent !== ''")
    viewer.until("document.querySelector('#sentence').textContent !== ''")  # the status may come after the scan
    for place in ("#scan", "#sentence", "#device", "#version", "#banner", "#streams .name", "#streams .endpoint"):
        assert viewer.text(place) == hostile
    assert hostile in viewer.text("#verdict")
    assert viewer.page.locator("img[src=x]").count() == 0
    assert viewer.page.evaluate("window.hacked") is None


def test_status_in_words_and_numbers(look: Callable[[], PageViewer], hub: UpdateHub) -> None:
    hub.publish_scan({"scan_id": "scan-1", "state": "started"})
    hub.publish_status(FULL_STATUS)
    viewer = look()
    viewer.until("document.querySelector('#stitched').textContent === '490'")
    shown = {
        "#state": "scanning",
        "#sentence": "All is well.",
        "#received": "516 received",
        "#receive-rate": "101",
        "#stitch-rate": "98.7",
        "#latency": "146 ms",
        "#r-network": "0.167",
        "#r-refined": "0.151",
        "#certainty": "0.96",
        "#resolution": "53.4 nm",
        "#resolution-trend": "no gain in resolution for 31 s",
        "#verdict": "516 received = 490 stitched + 26 duplicate",
        "#model": "lift · generation 3",
        "#refine-updates": "12,345",
        "#banner": "Not connected: positions.",
    }
    assert {place: viewer.text(place) for place in shown} == shown
    assert viewer.page.get_attribute("#progress", "aria-valuenow") == "490"
    assert viewer.text("#streams li:nth-child(1) .what") == "516 msg · 17.0 MB"
    assert viewer.text("#streams li:nth-child(2) .what") == "not connected"


@pytest.mark.parametrize("empty", [{}, dict.fromkeys(FULL_STATUS), {**dict.fromkeys(FULL_STATUS), "verdict": {}}])
def test_status_without_anything_does_no_harm(
    look: Callable[[], PageViewer], hub: UpdateHub, empty: dict[str, Any]
) -> None:
    viewer = look()
    hub.publish_status(empty)
    viewer.until("ptycholive.session.status !== null && document.querySelector('#state').textContent === 'unknown'")
    assert viewer.text("#latency") == "–"


@pytest.mark.parametrize(
    ("verdict", "has_ended", "words"),
    [
        ({"received": 3, "stitched": 3}, True, "3 received = 3 stitched"),
        ({"received": 5, "stitched": 2, "pending": 3}, False, "5 received = 2 stitched + 3 pending"),
        (
            {
                "expected": 9,
                "received": 7,
                "stitched": 4,
                "without_position": 1,
                "refused": {"not_finite": 2},
                "missing": 2,
            },
            True,
            "7 received = 4 stitched + 1 without position + 2 refused (not finite); 2 of 9 expected missing",
        ),
        ({"received": 5, "stitched": 2}, True, "5 received = 2 stitched + 3 not accounted for"),
        ({}, True, ""),
    ],
)
def test_verdict_adds_up_or_says_so(
    look: Callable[[], PageViewer], verdict: dict[str, Any], has_ended: bool, words: str
) -> None:
    script = "async ([verdict, ended]) => (await import('/page/words.js')).verdictWords(verdict, ended)"
    assert look().page.evaluate(script, [verdict, has_ended]) == words


def test_shows_the_last_pattern(look: Callable[[], PageViewer], source: FakeDaemon, hub: UpdateHub) -> None:
    source.pattern = ("scan-1", 17, np.random.default_rng(0).random((16, 16)))
    hub.publish_layer(even_update(wavy((20, 20))))
    hub.publish_status(FULL_STATUS)
    viewer = look()
    viewer.until("document.querySelector('#pattern').naturalWidth === 16")
    assert viewer.text("#pattern-text") == "frame 17 · log scale"


def test_saves_what_is_shown(look: Callable[[], PageViewer], source: FakeDaemon, hub: UpdateHub, tmp_path: Any) -> None:
    hub.publish_layer(even_update(wavy((20, 30))))
    viewer = look()
    viewer.until("document.querySelector('#save-npy').hasAttribute('href')")
    with viewer.page.expect_download() as download:
        viewer.page.click("#save-npy")
    assert download.value.suggested_filename == "scan-1_network.npy"
    np.testing.assert_array_equal(np.load(download.value.path()), wavy((20, 30)))
    viewer.page.select_option("#span", "2")
    viewer.until("document.querySelector('#save-png').getAttribute('href')?.includes('high=1.57')")
    with viewer.page.expect_download() as download:
        viewer.page.click("#save-png")
    assert image_of(download.value.path().read_bytes()).shape[2] == 3  # a figure, with bars on white
    viewer.page.click("#save-product")
    viewer.until("document.querySelector('#save-note').textContent.includes('not written yet')")
    viewer.faults.clear()  # the browser notes each 404 that a person asked for
    source.product = tmp_path / "product.h5"
    source.product.write_bytes(b"\x89HDF")
    with viewer.page.expect_download() as download:
        viewer.page.click("#save-product")
    assert download.value.path().read_bytes() == b"\x89HDF"
