"""While the view follows, no part of a growing picture is cut off, in any view."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from daemon.publish.hub import UpdateHub
from tests.support.messages import ended
from tests.support.page_tools import FULL_STATUS, PageViewer, even_update, wavy

pytestmark = pytest.mark.browser
WATCH = """() => {
    const { stage } = ptycholive;
    const drawn = stage.onDrawn;
    window.cut = 0; window.seen = 0;
    stage.onDrawn = () => {
        drawn();
        if (stage.picture === null) return;
        const [h, w] = stage.picture.header.shape;
        const [y, x] = stage.picture.header.origin_px;
        const [top, left] = stage.camera.toScreen(y, x);
        const [bottom, right] = stage.camera.toScreen(y + h, x + w);
        window.cut = Math.max(window.cut, -top, -left, bottom - stage.camera.height, right - stage.camera.width);
        window.seen += 1;
    };
}"""


GOAL = "ptycholive.stage.settled().then(() => ({ ...ptycholive.stage.camera.goal }))"


@pytest.mark.parametrize("view", ["phase", "coverage"])
def test_a_growing_picture_is_never_cut_off(look: Callable[[], PageViewer], hub: UpdateHub, view: str) -> None:
    viewer = look()
    viewer.page.locator(f"input[value={view}]").check(force=True)
    viewer.page.evaluate(WATCH)
    for number in range(1, 16):
        side = 24 * number
        hub.publish_layer(even_update(wavy((side, side)), origin_px=(-6 * number, -9 * number), stitched=number))
        viewer.until_frames("network", number)
        viewer.page.evaluate("() => new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)))")
    viewer.page.evaluate("ptycholive.stage.settled()")
    assert viewer.page.evaluate("seen") > 15
    assert viewer.page.evaluate("cut") <= 1  # device pixels


def test_a_scan_whose_extent_is_known_does_not_move(look: Callable[[], PageViewer], hub: UpdateHub) -> None:
    planned_m = (-1e-6, -2e-6, 1e-6, 2e-6)  # 200 x 400 pixels of 10 nm
    hub.publish_status({**FULL_STATUS, "planned_box_m": planned_m})
    viewer = look()
    seen = []
    for number in range(1, 4):
        shape, origin = (38 * number, 76 * number), (-19 * number, -38 * number)
        hub.publish_layer(even_update(wavy(shape), origin_px=origin, stitched=number))
        viewer.until_frames("network", number)
        seen.append(viewer.page.evaluate(GOAL))
    assert seen == [seen[0]] * 3
    assert seen[0]["y"] == seen[0]["x"] == 0
    hub.publish_scan(ended())  # early: what is there is fitted then
    viewer.until(f"ptycholive.stage.camera.goal.scale > {1.5 * seen[0]['scale']}")


def test_what_is_seen_everywhere_fits_in_views_that_do_not_fade_it(
    look: Callable[[], PageViewer], hub: UpdateHub
) -> None:
    weight = np.full((90, 120), 0.01, dtype=np.float32)
    weight[20:70, 20:100] = 1
    hub.publish_layer(even_update(wavy((90, 120)), weight=weight))
    viewer = look()
    viewer.until_frames("network", 1)
    corner = "ptycholive.stage.settled().then(() => ptycholive.stage.camera.toScreen(0, 0))"
    assert min(viewer.page.evaluate(corner)) < 0  # the faint rim fades in this view
    for key in ("3", "5", "6"):
        viewer.page.keyboard.press(key)
        assert min(viewer.page.evaluate(corner)) > 0
    viewer.page.keyboard.press("1")
    assert min(viewer.page.evaluate(corner)) < 0
