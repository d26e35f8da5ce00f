"""The fixed box: view and figures stay the same while the picture grows, over a reload too."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from daemon.publish.hub import UpdateHub
from tests.support.page_tools import PageViewer, even_update, image_of, wavy

pytestmark = pytest.mark.browser
GOAL = "ptycholive.stage.settled().then(() => ({ ...ptycholive.stage.camera.goal }))"
FITTED = """ptycholive.stage.settled().then(() => {
    const { goal, height, width } = ptycholive.stage.camera;
    const outline = document.querySelector("#box-outline").getBoundingClientRect();
    return [goal.y, goal.x, goal.scale * 40 / (0.9 * Math.min(height, width)), outline.width / (goal.scale * 40)];
})"""
"""Middle of the view, and sides over those of a box of 40 pixels that fits with a margin."""
MAPS_LOADED = "document.querySelectorAll('#colours option').length > 8"
"""The tool bar has its size from then on."""
SCREENSHOTS = os.environ.get("PTYCHOLIVE_SCREENSHOTS")
"""Folder for pictures of what was tested, to look at."""


def test_a_fixed_box_keeps_view_and_figures_while_the_picture_grows(viewer: PageViewer, hub: UpdateHub) -> None:
    page = viewer.page
    viewer.until(MAPS_LOADED)
    page.keyboard.press("b")
    assert page.evaluate("ptycholive.chosen.box") == [0, 0, 0.4, 0.4]  # 40 pixels of 10 nm
    assert page.get_attribute("#box", "aria-pressed") == "true"
    assert page.evaluate(FITTED) == pytest.approx([20, 20, 1, 1], abs=0.01)
    hub.publish_layer(even_update(wavy((300, 200)), origin_px=(-64, -96), stitched=2))
    viewer.until_frames("network", 2)
    assert page.evaluate(FITTED) == pytest.approx([20, 20, 1, 1], abs=0.01)
    viewer.until("location.hash.includes('box=0%2C0%2C0.4%2C0.4')")
    _keep(viewer)
    for file, kind in (("png", "image/png"), ("tiff", "image/tiff")):
        answer = page.request.get(page.evaluate(f"document.querySelector('#save-{file}').href"))
        assert (answer.status, answer.headers["content-type"]) == (200, kind)
        if file == "png":
            assert (answer.headers["x-corner-px"], answer.headers["x-size-px"]) == ("0,0", "40,40")
        else:
            assert image_of(answer.body()).shape == (40, 40)
    page.keyboard.press("4")  # the page draws this view
    viewer.until("document.querySelector('#save-png').getAttribute('download')?.endsWith('complex.png')")
    with page.expect_download() as download:
        page.click("#save-png")
    np.testing.assert_array_equal(image_of(download.value.path().read_bytes()), viewer.colours((0, 0), (40, 40)))

    page.reload()
    viewer.until_frames("network", 2)
    viewer.until(MAPS_LOADED)
    assert page.evaluate(FITTED) == pytest.approx([20, 20, 1, 1], abs=0.01)
    boxed = page.evaluate(GOAL)
    page.click("#box")
    assert page.locator("#box-outline").is_hidden()
    assert page.evaluate(GOAL)["scale"] < boxed["scale"]
    for _ in range(3):
        page.click("#zoom-in")
    seen = page.evaluate(GOAL)
    page.click("#box")
    top, left, bottom, right = page.evaluate("ptycholive.chosen.box")
    height, width = page.evaluate("[ptycholive.stage.camera.height, ptycholive.stage.camera.width]")
    assert (bottom - top, right - left) == pytest.approx(
        (height / seen["scale"] * 1e-2, width / seen["scale"] * 1e-2), abs=1e-2
    )
    assert page.evaluate("ptycholive.stage.camera.follows")


def _keep(viewer: PageViewer) -> None:
    """Keep pictures of the box where somebody asked for them."""
    if SCREENSHOTS is None:
        return
    for name, width, height in (("1080p", 1920, 1080), ("phone", 390, 844), ("back", 1000, 700)):
        viewer.page.set_viewport_size({"width": width, "height": height})
        viewer.page.evaluate("ptycholive.stage.settled()")
        viewer.page.screenshot(path=Path(SCREENSHOTS) / f"box-{name}.png")
