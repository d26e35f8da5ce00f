"""The frame under a click or under the cross of the keyboard."""

from __future__ import annotations

import pytest

from daemon.publish.hub import UpdateHub
from tests.support.page_tools import PageViewer, even_update, wavy

pytestmark = pytest.mark.browser
SHOWN = "ptycholive.inspector.frames.shown?.frame.index"


def click_at(viewer: PageViewer, y: float, x: float) -> None:
    top, left = viewer.page.evaluate("([y, x]) => ptycholive.stage.camera.toScreen(y + 0.5, x + 0.5)", [y, x])
    box = viewer.page.locator("#canvas").bounding_box()
    viewer.page.mouse.click(box["x"] + left, box["y"] + top)


def test_a_click_shows_the_nearest_frame_and_counts_under_the_pointer(viewer: PageViewer) -> None:
    click_at(viewer, 21, 29)
    viewer.until(f"{SHOWN} === 5")
    assert viewer.page.locator("#frame-note").is_hidden()
    assert viewer.page.get_attribute("#inspect", "aria-pressed") == "true"
    viewer.page.hover("#frame-measured", position={"x": 5, "y": 5})
    assert viewer.text("#frame-readout") == "row 0, column 0: no data, modelled 0.5"
    side = viewer.page.locator("#frame-residual").bounding_box()["width"]
    viewer.page.hover("#frame-residual", position={"x": side - 5, "y": side - 5})
    assert viewer.text("#frame-readout") == "row 7, column 7: measured 50, modelled 25, −4.1 σ"
    read = "(n) => [...document.querySelector(n).getContext('2d').getImageData(3, 3, 1, 1).data]"
    drawn = [viewer.page.evaluate(read, f"#frame-{name}") for name in ("measured", "modelled", "residual")]
    assert len({tuple(colour) for colour in drawn}) == 3


def test_frames_are_stepped_by_keys_and_read_pixel_by_pixel(viewer: PageViewer) -> None:
    page = viewer.page
    page.focus("#inspect")
    page.keyboard.press("Shift+Tab")  # a focus by keyboard
    page.evaluate("ptycholive.stage.canvas.focus()")
    viewer.until("!document.querySelector('#cursor').hidden")  # the value under the cross
    page.keyboard.press("Enter")
    viewer.until(f"{SHOWN} === 4")
    assert "not in the journal" in viewer.text("#frame-note")
    page.keyboard.press("]")
    viewer.until(f"{SHOWN} === 5")
    page.keyboard.press("[")
    viewer.until(f"{SHOWN} === 4")
    page.fill("#frame-index", "8")
    page.keyboard.press("Enter")
    viewer.until(f"{SHOWN} === 8")
    assert page.locator("#frame-next").is_disabled()
    page.focus("#frame-measured")
    page.keyboard.press("ArrowUp")
    assert viewer.text("#frame-readout").startswith("row 3, column 4: measured 80")
    page.keyboard.press("i")
    assert page.locator(".panel").is_hidden()


def test_a_dot_of_the_map_shows_its_frame(viewer: PageViewer) -> None:
    click_at(viewer, 10, 10)
    viewer.until(f"{SHOWN} === 0")
    viewer.until("ptycholive.inspector.frames.map.map !== null")
    side = viewer.page.locator("#frame-map").bounding_box()["width"]
    viewer.page.click("#frame-map", position={"x": 0.97 * side, "y": 0.96 * side})
    viewer.until(f"{SHOWN} === 8")


def test_an_unknown_frame_is_a_sentence_and_a_new_scan_has_other_frames(viewer: PageViewer, hub: UpdateHub) -> None:
    click_at(viewer, 10, 10)
    viewer.until(f"{SHOWN} === 0")
    viewer.page.fill("#frame-index", "99")
    viewer.page.keyboard.press("Enter")
    viewer.until("document.querySelector('#frame-note').textContent.includes('no frame 99')")
    viewer.faults.clear()  # Chromium logs the 404
    hub.publish_layer(even_update(wavy((40, 40)), scan_id="scan-2"))
    viewer.until("ptycholive.inspector.frames.shown === null")
