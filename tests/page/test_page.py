"""The picture on the viewer page: pixels, growth, camera, read-out."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from daemon.publish import png
from daemon.publish.hub import UpdateHub
from tests.support.page_tools import READ_SCREEN, PageViewer, even_update, image_of, wavy
from tests.support.updates import random_walk

pytestmark = pytest.mark.browser


def test_loads_clean_and_waits(look: Callable[[], PageViewer]) -> None:
    viewer = look()
    assert viewer.page.locator("#empty").is_visible()
    assert "No picture yet" in viewer.text("#empty")
    assert viewer.page.locator("#banner").is_hidden()


@pytest.mark.parametrize(
    ("name", "table"), [("sequential", png.sequential_map()), ("cyclic", png.cyclic_map()), ("grey", png.grey_map())]
)
def test_colour_tables_are_those_of_the_png(
    look: Callable[[], PageViewer], name: str, table: NDArray[np.uint8]
) -> None:
    drawn = look().page.evaluate("async (name) => [...(await import('/page/colours.js'))[name]]", name)
    np.testing.assert_array_equal(np.array(drawn).reshape(256, 3), table)


@pytest.mark.parametrize("view", ["phase", "amplitude", "coverage"])
def test_picture_has_the_colours_of_the_png(look: Callable[[], PageViewer], hub: UpdateHub, view: png.View) -> None:
    shape = (30, 40)
    weight = np.linspace(0.5, 1.0, 1200, dtype=np.float32).reshape(shape)
    weight[:2] = 0
    hub.publish_layer(even_update(wavy(shape), origin_px=(-20, -7), weight=weight))
    viewer = look()
    viewer.until_frames("network", 1)
    viewer.page.select_option("#span", "2")
    viewer.page.locator(f"input[value={view}]").check(force=True)
    canvas = hub.canvas("scan-1", "network")
    assert canvas is not None
    wanted = image_of(png.draw_layer(canvas, view, math.pi / 2)[0])
    drawn = viewer.colours((-20, -7), shape)
    np.testing.assert_array_equal(drawn[..., 3], wanted[..., 3])
    seen = wanted[..., 3] > 0
    table = {"amplitude": png.grey_map()}.get(view, png.sequential_map()).astype(int)
    one_step = np.abs(np.diff(table, axis=0)).max()
    assert np.abs(drawn[seen].astype(int) - wanted[seen].astype(int)).max() <= one_step
    assert (drawn[seen] == wanted[seen]).all(axis=-1).mean() > 0.98
    assert viewer.page.evaluate(READ_SCREEN, [-10, 5]) == drawn[10, 12].tolist()
    assert viewer.page.evaluate(READ_SCREEN, [-20, 5])[3] == 0


@pytest.mark.parametrize("seen_before", [0, 6, 12])
def test_snapshot_and_deltas_make_the_picture_bit_for_bit(
    look: Callable[[], PageViewer], hub: UpdateHub, seen_before: int
) -> None:
    updates = random_walk(np.random.default_rng(seen_before), 12)
    updates += random_walk(np.random.default_rng(seen_before + 1), 12, "refined")
    for update in updates[:seen_before]:
        hub.publish_layer(update)
    viewer = look()
    for update in updates[seen_before:]:
        hub.publish_layer(update)
    for layer in ("network", "refined"):
        viewer.until_frames(layer, 11)
        canvas = hub.canvas("scan-1", layer)
        assert canvas is not None
        pixels, weight = viewer.layer(layer, canvas.origin_px, canvas.shape)
        assert pixels.tobytes() == canvas.object.tobytes()
        assert weight.tobytes() == canvas.weight.tobytes()


def test_growth_keeps_the_place_that_the_user_looks_at(look: Callable[[], PageViewer], hub: UpdateHub) -> None:
    hub.publish_layer(even_update(wavy((60, 60))))
    viewer = look()
    viewer.until_frames("network", 1)
    viewer.page.evaluate("ptycholive.stage.settled()")
    box = viewer.page.locator("#canvas").bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    viewer.page.mouse.move(*middle)
    viewer.page.mouse.down()
    viewer.page.mouse.move(middle[0] + 50, middle[1] + 30, steps=3)
    viewer.page.mouse.up()
    viewer.page.mouse.wheel(0, -120)
    viewer.page.select_option("#span", "2")
    place = viewer.page.evaluate("ptycholive.stage.settled().then(() => ptycholive.stage.camera.toScreen(30, 30))")
    colour = viewer.page.evaluate(READ_SCREEN, [30, 30])
    grown = wavy((60, 60))
    hub.publish_layer(even_update(grown, origin_px=(-600, -60), shape=(720, 180), place=(0, 0), stitched=2))
    viewer.until_frames("network", 2)
    assert (
        viewer.page.evaluate("ptycholive.stage.settled().then(() => ptycholive.stage.camera.toScreen(30, 30))") == place
    )
    assert viewer.page.evaluate(READ_SCREEN, [30, 30]) == colour
    assert viewer.page.get_attribute("#fit", "aria-pressed") == "false"
    viewer.page.keyboard.press("f")
    viewer.page.evaluate("ptycholive.stage.settled()")
    top, left = viewer.page.evaluate("ptycholive.stage.camera.toScreen(-600, -60)")
    assert top > 0
    assert left > 0
    assert viewer.page.get_attribute("#fit", "aria-pressed") == "true"


def test_follows_the_growing_picture_until_panned(look: Callable[[], PageViewer], hub: UpdateHub) -> None:
    hub.publish_layer(even_update(wavy((60, 60))))
    viewer = look()
    for step in range(2, 5):
        hub.publish_layer(even_update(wavy((60, 60)), shape=(60 * step, 60), place=(60 * (step - 1), 0), stitched=step))
    viewer.until_frames("network", 4)
    viewer.page.evaluate("ptycholive.stage.settled()")
    height = viewer.page.evaluate("ptycholive.stage.canvas.height")
    bottom, _ = viewer.page.evaluate("ptycholive.stage.camera.toScreen(240, 60)")
    top, _ = viewer.page.evaluate("ptycholive.stage.camera.toScreen(0, 0)")
    assert 0 < top < bottom < height


def test_small_delta_paints_its_own_pixels_only(look: Callable[[], PageViewer], hub: UpdateHub) -> None:
    whole = wavy((1100, 1100))
    hub.publish_layer(even_update(whole))
    viewer = look()
    viewer.until_frames("network", 1)
    viewer.page.evaluate("""async () => {
        await ptycholive.stage.settled();
        window.painted = [];
        const plain = OffscreenCanvasRenderingContext2D.prototype.putImageData;
        OffscreenCanvasRenderingContext2D.prototype.putImageData = function (image, ...rest) {
            window.painted.push([image.height, image.width]);
            return plain.call(this, image, ...rest);
        };
    }""")
    part = np.ascontiguousarray(whole[100:120, 200:217])
    hub.publish_layer(even_update(part, shape=whole.shape, place=(100, 200), stitched=2))
    viewer.until_frames("network", 2)
    viewer.page.evaluate("ptycholive.stage.settled()")
    assert viewer.page.evaluate("painted") == [[20, 17]]


def test_layers_and_views_switch(look: Callable[[], PageViewer], hub: UpdateHub) -> None:
    hub.publish_layer(even_update(wavy((20, 20))))
    viewer = look()
    viewer.until_frames("network", 1)
    viewer.until("document.querySelector('#tag').textContent.startsWith('network (no refined picture yet)')")
    hub.publish_layer(even_update(wavy((20, 20), 0.1), layer="refined", stitched=2))
    viewer.until_frames("refined", 2)
    viewer.until("document.querySelector('#tag').textContent.startsWith('refined · 2 frames')")
    viewer.page.keyboard.press("l")
    assert viewer.text("#tag").startswith("network · 1 frame")
    assert viewer.page.locator("input[value=network]").is_checked()
    for key, title in (("2", "Amplitude"), ("3", "Coverage / weighted visits"), ("1", "Phase / rad")):
        viewer.page.keyboard.press(key)
        viewer.page.evaluate("ptycholive.stage.settled()")
        assert viewer.text("#bar-title") == title
    viewer.page.select_option("#span", "1")
    viewer.page.evaluate("ptycholive.stage.settled()")
    assert (viewer.text("#bar-low"), viewer.text("#bar-high")) == ("−π", "+π")


def test_reads_the_pixel_under_the_pointer(look: Callable[[], PageViewer], hub: UpdateHub) -> None:
    pixels = np.ones((40, 40), dtype=np.complex64)
    pixels[10, 30] = 0.5 * np.exp(0.25j)
    hub.publish_layer(even_update(pixels, origin_px=(100, 200)))
    viewer = look()
    viewer.until_frames("network", 1)
    place = """async () => {
        await ptycholive.stage.settled();
        await new Promise(requestAnimationFrame);
        const box = ptycholive.stage.canvas.getBoundingClientRect();
        const [top, left] = ptycholive.stage.camera.toScreen(110.5, 230.5);
        return [box.top + top, box.left + left];
    }"""
    while "amplitude 0.500" not in viewer.text("#cursor"):  # the page around the picture may still be laid out
        y, x = viewer.page.evaluate(place)
        viewer.page.mouse.move(x, y)
    words = viewer.text("#cursor")
    assert "amplitude 0.500" in words
    assert "phase +0.250 rad" in words
    assert "x +2.30  y +1.10 µm" in words
    assert viewer.text("#scale-text").endswith("nm")


def test_follows_the_newest_scan(look: Callable[[], PageViewer], hub: UpdateHub) -> None:
    hub.publish_layer(even_update(wavy((20, 20)), scan_id="one"))
    viewer = look()
    viewer.until_frames("network", 1)
    hub.publish_scan({"scan_id": "two", "state": "started"})
    viewer.until("ptycholive.session.scanId === 'two'")
    assert viewer.page.evaluate("ptycholive.stage.picture") is None
    hub.publish_layer(even_update(wavy((20, 20)), scan_id="one", stitched=5))
    hub.publish_layer(even_update(wavy((20, 20)), scan_id="two", stitched=7))
    viewer.until_frames("network", 7)
    viewer.until("document.querySelector('#scan').textContent === 'two'")
