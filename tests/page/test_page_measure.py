"""Line, ruler, region and the difference of two pictures, by pointer and by keyboard."""

from __future__ import annotations

import numpy as np
import pytest

from daemon.publish.hub import UpdateHub
from tests.support.page_tools import PageViewer, even_update, wavy

pytestmark = pytest.mark.browser
FACTS = "() => [...document.querySelectorAll('#tool-measure dd')].map((e) => e.textContent)"


@pytest.fixture
def viewer(viewer: PageViewer) -> PageViewer:
    viewer.page.keyboard.press("2")
    return viewer


def test_a_line_and_a_region_are_drawn_and_typed(viewer: PageViewer) -> None:
    page = viewer.page
    page.keyboard.press("i")
    page.click("#tab-measure")
    before = page.evaluate("ptycholive.stage.settled().then(() => ({ ...ptycholive.stage.camera.goal }))")
    box = page.locator("#canvas").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 60, middle[1], steps=4)
    page.mouse.up()
    assert page.evaluate("ptycholive.stage.camera.goal") == before  # a drag draws now
    scale = before["scale"]
    length_nm, angle, *_ = page.evaluate(FACTS)
    assert float(length_nm.split()[0]) == pytest.approx(600 / scale, rel=0.02)
    assert angle == "0.0°"
    page.click("#measure-region")
    for number, value in enumerate(("0.1", "0.05", "0.3", "0.25")):  # µm: pixels are 10 nm
        page.fill(f"#measure-{number}", value)
    page.keyboard.press("Enter")
    size, _, mean, deviation, *_, pixels = page.evaluate(FACTS)
    part = np.abs(wavy((40, 40)))[5:25, 10:30]
    assert (size, pixels) == ("200 nm × 200 nm", "400 (100 % covered)")
    assert [float(mean), float(deviation)] == pytest.approx([part.mean(), part.std()], rel=1e-2)
    page.click("#measure-clear")
    assert page.input_value("#measure-0") == ""


def test_the_difference_of_two_pictures_stands_beside(viewer: PageViewer, hub: UpdateHub) -> None:
    hub.publish_layer(even_update(2 * wavy((40, 40)), layer="refined"))
    viewer.until_frames("refined", 1)
    assert viewer.page.locator("#difference").is_disabled()
    viewer.page.keyboard.press("c")
    viewer.page.keyboard.press("d")
    viewer.until("ptycholive.second.range?.view === 'difference'")
    value = viewer.page.evaluate("ptycholive.second.picture.valueAt(7, 9).re")
    assert value == pytest.approx(float(np.abs(wavy((40, 40)))[7, 9]), rel=1e-5)
    viewer.until("document.querySelector('#tag-second').textContent.includes('less the other layer')")
    viewer.until("document.querySelector('#agreement').textContent.startsWith('phase correlation 1.000')")
    assert "difference 0.0 %" in viewer.text("#agreement")
    viewer.page.keyboard.press("d")
    viewer.until("ptycholive.second.range?.view === 'amplitude'")
    viewer.until("ptycholive.second.range.high === ptycholive.stage.range.high")
    viewer.page.keyboard.press("d")
    hub.publish_layer(even_update(1j * wavy((40, 40)), scan_id="b", layer="refined"))
    viewer.page.evaluate(
        "Object.assign(ptycholive.chosen, { scan: 'scan-1', other: 'scan:b' }); ptycholive.past.update()"
    )
    viewer.until("ptycholive.past.figures?.other_scan_id === 'b' && ptycholive.past.second.header.scan_id === 'b'")
    laid = viewer.page.evaluate("ptycholive.past.second.valueAt(7, 9)")
    assert complex(laid["re"], laid["im"]) == pytest.approx(2 * complex(wavy((40, 40))[7, 9]), rel=1e-3)
