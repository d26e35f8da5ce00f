"""The range of colours by histogram, numbers and percentiles; standard tables; one range for two pictures."""

from __future__ import annotations

import numpy as np
import pytest

from daemon.publish.colour_maps import colour_table
from daemon.publish.hub import UpdateHub
from tests.support.page_tools import PageViewer, even_update, wavy

pytestmark = pytest.mark.browser
RANGE = "ptycholive.stage.settled().then(() => [ptycholive.stage.range.low, ptycholive.stage.range.high])"


@pytest.fixture
def viewer(viewer: PageViewer) -> PageViewer:
    viewer.page.keyboard.press("2")
    viewer.page.keyboard.press("i")
    viewer.page.click("#tab-range")
    viewer.page.evaluate("ptycholive.stage.settled()")
    return viewer


def test_limits_are_dragged_typed_and_set_by_percentiles(viewer: PageViewer) -> None:
    page = viewer.page
    low, high = page.evaluate(RANGE)
    viewer.until("document.querySelector('#range-high').value !== ''")
    box = page.locator("#histogram").bounding_box()
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 9)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 9, steps=3)
    page.mouse.up()
    dragged = page.evaluate(RANGE)
    assert dragged[0] == low
    assert low < dragged[1] < high
    page.fill("#range-low", "0.9")
    page.fill("#range-high", "1.1")
    page.keyboard.press("Enter")
    assert page.evaluate(RANGE) == [0.9, 1.1]
    page.fill("#percent-low", "25")
    page.fill("#percent-high", "75")
    page.keyboard.press("Enter")
    wanted = np.percentile(np.abs(wavy((40, 40))), [25, 75])
    assert page.evaluate(RANGE) == pytest.approx(wanted, abs=1e-4)
    page.click("#range-auto")
    assert page.evaluate(RANGE) == [low, high]


def test_a_standard_table_is_the_daemons_and_can_be_turned_round(viewer: PageViewer) -> None:
    page = viewer.page
    viewer.until("document.querySelectorAll('#table option').length > 8")
    page.select_option("#table", "viridis")
    page.check("#inverted")
    page.fill("#range-low", "5")
    page.fill("#range-high", "6")
    page.keyboard.press("Enter")
    viewer.until("ptycholive.stage.range.low === 5 && ptycholive.stage.range.high === 6")
    page.evaluate("ptycholive.stage.settled()")
    drawn = viewer.colours((0, 0), (40, 40))[..., :3]
    assert (drawn == colour_table("viridis")[255]).all()  # all below the range
    viewer.until("document.querySelector('#save-png').href.includes('invert=1')")


def test_two_pictures_side_by_side_have_one_range(viewer: PageViewer, hub: UpdateHub) -> None:
    hub.publish_layer(even_update(3 * wavy((40, 40)), layer="refined"))
    viewer.until_frames("refined", 1)
    viewer.page.keyboard.press("c")
    viewer.until("ptycholive.second.picture !== null && ptycholive.second.range !== null")
    same = "['low', 'high', 'colours'].every((name) => ptycholive.second.range[name] === ptycholive.stage.range[name])"
    viewer.until(same)
    viewer.page.click("#tab-range")
    viewer.page.fill("#range-high", "9")
    viewer.page.keyboard.press("Enter")
    viewer.until(f"ptycholive.stage.range.high === 9 && {same}")


def test_choosing_a_range_ends_the_hold(viewer: PageViewer) -> None:
    viewer.page.keyboard.press("1")
    viewer.page.keyboard.press("h")
    viewer.page.select_option("#span", "1")
    assert viewer.page.get_attribute("#hold", "aria-pressed") == "false"
    assert viewer.page.evaluate(RANGE) == pytest.approx([-np.pi, np.pi])
