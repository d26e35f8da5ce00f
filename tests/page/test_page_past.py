"""Earlier moments, past scans, comparison, path and fine-tuning on the viewer page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from daemon.publish.history import SIDE_PX, History
from daemon.publish.http.interface import HttpServer, create_app
from daemon.publish.hub import UpdateHub
from tests.support.fake_daemon import PATH, PastDaemon, write_old_product
from tests.support.page_tools import FULL_STATUS, PageViewer, even_update, wavy

pytestmark = pytest.mark.browser


@pytest.fixture
def source() -> PastDaemon:
    return PastDaemon()


@pytest.fixture
def history(hub: UpdateHub) -> History:
    return History(hub)


@pytest.fixture
def server(source: PastDaemon, hub: UpdateHub, history: History) -> Iterator[HttpServer]:
    app = create_app(source, hub, history=history)
    server = HttpServer(app, "127.0.0.1", 0)
    server.start()
    yield server
    server.stop()


def test_earlier_moments_can_be_looked_at_and_are_never_live(
    look: Callable[[], PageViewer], hub: UpdateHub, history: History
) -> None:
    first = wavy((40, 50))
    hub.publish_layer(even_update(first, origin_px=(7, -3), layer="refined"))
    history.look()
    hub.publish_layer(even_update(wavy((60, 50), 1.0), origin_px=(7, -3), layer="refined", stitched=2, complete=True))
    history.look()
    viewer = look()
    viewer.until_frames("refined", 2)
    viewer.until("ptycholive.past.moments.length === 2")
    viewer.page.keyboard.press(",")
    viewer.page.keyboard.press(",")
    viewer.until("ptycholive.stage.picture?.header.frames_stitched === 1")
    assert viewer.page.get_attribute("html", "data-shown") == "past"
    assert viewer.text("#tag").startswith("earlier · refined · 1 frame")
    seen = viewer.page.evaluate("ptycholive.stage.picture.valueAt(20, 30)")
    assert complex(seen["re"], seen["im"]) == pytest.approx(complex(first[13, 33]), abs=2e-3)  # half precision
    hub.publish_layer(even_update(wavy((60, 50), 1.0), origin_px=(7, -3), layer="refined", stitched=3))
    viewer.until_frames("refined", 3)
    assert viewer.page.evaluate("ptycholive.stage.picture.header.frames_stitched") == 1
    viewer.page.keyboard.press("Escape")
    viewer.until("ptycholive.stage.picture.header.frames_stitched === 3")
    viewer.until("document.documentElement.dataset.shown === 'live'")


def test_large_moments_are_reduced_and_keep_their_place(
    look: Callable[[], PageViewer], hub: UpdateHub, history: History
) -> None:
    side = 2 * SIDE_PX
    pixels = np.ones((side, side), dtype=np.complex64)
    pixels[200:210, 300:320] = 0.5
    hub.publish_layer(even_update(pixels, origin_px=(-100, 40), layer="refined"))
    history.look()
    viewer = look()
    viewer.until_frames("refined", 1)
    viewer.until("ptycholive.past.moments.length === 1")
    viewer.page.evaluate("document.querySelector('#moment').value = 0")
    viewer.page.dispatch_event("#moment", "input")
    viewer.until("ptycholive.stage.picture?.header.stride === 2")
    amplitude = viewer.page.evaluate(
        "[[205, 310], [195, 310], [209, 319]].map(([y, x]) => ptycholive.stage.picture.valueAt(y - 100, x + 40).re)"
    )
    assert amplitude == [0.5, 1.0, 0.5]


def test_past_scans_come_from_their_products(
    look: Callable[[], PageViewer], source: PastDaemon, hub: UpdateHub, tmp_path: Path
) -> None:
    source.product = tmp_path / "product.h5"
    picture = write_old_product(source.product)
    hub.publish_layer(even_update(wavy((20, 20))))
    viewer = look()
    viewer.until("document.querySelector('#scan-choice').options.length === 3")
    viewer.page.select_option("#scan-choice", "old")
    viewer.until("ptycholive.stage.picture?.header.scan_id === 'old'")
    seen = viewer.page.evaluate("ptycholive.stage.picture.valueAt(4 + 10, 5 + 7)")
    assert complex(seen["re"], seen["im"]) == pytest.approx(complex(picture[10, 7]))
    assert viewer.text("#tag").startswith("past scan old · refined · 2 frames")
    viewer.until("document.querySelector('#save-npy').getAttribute('href').includes('/old/')")
    with viewer.page.expect_download() as download:
        viewer.page.click("#save-npy")
    np.testing.assert_array_equal(np.load(download.value.path()), picture)
    viewer.page.keyboard.press("l")
    viewer.until("ptycholive.stage.picture?.header.layer === 'network'")


def test_two_pictures_side_by_side_move_together(
    look: Callable[[], PageViewer], source: PastDaemon, hub: UpdateHub, tmp_path: Path
) -> None:
    source.product = tmp_path / "product.h5"
    write_old_product(source.product)
    hub.publish_layer(even_update(wavy((40, 40)), layer="refined"))
    hub.publish_layer(even_update(wavy((40, 40), 0.1), layer="network", stitched=2))
    viewer = look()
    viewer.until_frames("network", 2)
    viewer.page.keyboard.press("c")
    viewer.until("ptycholive.second.picture?.header.layer === 'network'")
    viewer.page.keyboard.press("+")
    together = "JSON.stringify(ptycholive.stage.camera.now) === JSON.stringify(ptycholive.second.camera.now)"
    viewer.until(f"ptycholive.stage.camera.isSettled && !ptycholive.stage.camera.follows && {together}")
    box = viewer.page.locator("#canvas-second").bounding_box()
    viewer.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    viewer.until("!document.querySelector('#cursor').hidden && !document.querySelector('#cursor-second').hidden")
    viewer.until("document.querySelector('#other-choice').options.length === 5")
    viewer.page.select_option("#other-choice", "scan:old")
    viewer.until("ptycholive.second.picture?.header.scan_id === 'old'")
    viewer.page.select_option("#other-choice", "iterative")
    viewer.until("document.querySelector('#past-note').textContent.startsWith('there is no iterative result')")
    viewer.faults.clear()  # the browser notes the 404
    source.product.rename(tmp_path / "iterative.h5")
    viewer.page.select_option("#scan-choice", "old")
    viewer.until("ptycholive.second.picture?.header.scan_id === 'old'")
    viewer.faults.clear()  # the product itself is gone now


def test_the_path_and_the_present_position(look: Callable[[], PageViewer], hub: UpdateHub) -> None:
    hub.publish_scan({"scan_id": "scan-1", "state": "started"})
    hub.publish_status({**FULL_STATUS, "streams": []})
    hub.publish_layer(even_update(wavy((40, 40))))
    viewer = look()
    viewer.until_frames("network", 1)
    viewer.page.keyboard.press("p")
    viewer.until("ptycholive.path.points.length === 12")
    points = viewer.page.evaluate("ptycholive.path.points")
    assert [tuple(point) for point in points] == PATH
    drawn = viewer.page.evaluate("""async () => {
        await ptycholive.stage.settled();
        const [y, x] = ptycholive.stage.camera.toScreen(15.5, 15.5).map(Math.round);
        return [...document.querySelector("#path").getContext("2d").getImageData(x, y, 1, 1).data];
    }""")
    assert drawn[3] > 100
    viewer.page.keyboard.press("p")
    assert viewer.page.locator("#path").is_hidden()


def test_fine_tuning_in_numbers_and_paused(look: Callable[[], PageViewer], source: PastDaemon, hub: UpdateHub) -> None:
    learning = {
        "state": "learning",
        "steps": 1200,
        "loss": 0.1234,
        "frames": 96,
        "heldout_rfactor": {"active": 0.1661, "candidate": 0.1588},
        "promotions": {"promoted": 2, "rejected": 1},
    }
    hub.publish_scan({"scan_id": "scan-1", "state": "started"})
    hub.publish_status({**FULL_STATUS, "finetune": {"state": "off"}})
    viewer = look()
    viewer.until("document.querySelector('#stitched').textContent === '490'")
    assert viewer.page.locator("#learn").is_hidden()
    hub.publish_status({**FULL_STATUS, "finetune": learning})
    viewer.until("!document.querySelector('#learn').hidden")
    shown = {"#learn-state": "learning", "#learn-loss": "0.123", "#learn-active": "0.166", "#learn-candidate": "0.159"}
    assert {place: viewer.text(place) for place in shown} == shown
    assert viewer.text("#learn-words") == "1,200 steps on 96 frames · 2 promoted, 1 rejected"
    with viewer.page.expect_response("**/finetune/pause"):
        viewer.page.click("#learn-pause")
    hub.publish_status({**FULL_STATUS, "finetune": {**learning, "state": "paused"}})
    viewer.until("document.querySelector('#learn-pause').textContent === 'Resume'")
    with viewer.page.expect_response("**/finetune/resume"):
        viewer.page.click("#learn-pause")
    assert source.orders == [True, False]
    with viewer.page.expect_response("**/finetune/resume"):
        viewer.page.click("#learn-pause")
    viewer.until("document.querySelector('#learn-note').textContent === 'fine-tuning is off'")
    viewer.faults.clear()  # the browser notes the 409
