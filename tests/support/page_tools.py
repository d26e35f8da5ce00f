"""What the tests of the viewer page share: a page and questions to it, pictures, a full status."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from daemon.publish.snapshot import LayerName, LayerUpdate, Region
from tests.support.messages import status

WATCH_POLICY = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
"""
READ_LAYER = """async ([layer, y, x, h, w]) => {
    await ptycholive.stage.settled();
    const picture = ptycholive.session.pictures[layer];
    const values = [];
    for (let row = y; row < y + h; row += 1) for (let column = x; column < x + w; column += 1) {
        const {re, im, weight} = picture.valueAt(row, column);
        values.push(re, im, weight);
    }
    return values;
}"""
READ_COLOURS = """async ([y, x, h, w]) => {
    await ptycholive.stage.settled();
    const bytes = [];
    for (let row = y; row < y + h; row += 1) for (let column = x; column < x + w; column += 1) {
        const tile = [...ptycholive.stage.picture.tiles.values()].find(
            (t) => row >= t.y && row < t.y + 512 && column >= t.x && column < t.x + 512);
        const drawn = tile.canvas.getContext("2d").getImageData(column - tile.x, row - tile.y, 1, 1).data;
        bytes.push(...drawn);
    }
    return bytes;
}"""
READ_SCREEN = """async ([y, x]) => {
    await ptycholive.stage.settled();
    const [top, left] = ptycholive.stage.camera.toScreen(y + 0.5, x + 0.5).map(Math.floor);
    return [...ptycholive.stage.context.getImageData(left, top, 1, 1).data];
}"""


class PageViewer:
    """A page and what the tests ask of it."""

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        self.faults: list[str] = []
        page.on("console", lambda message: message.type == "error" and self.faults.append(message.text))
        page.on("pageerror", lambda fault: self.faults.append(str(fault)))
        page.add_init_script(WATCH_POLICY)
        page.goto(url)
        self.until("ptycholive.connection.state === 'open'")

    def until(self, condition: str) -> None:
        self.page.wait_for_function(f"() => {condition}")

    def until_frames(self, layer: str, stitched: int) -> None:
        self.until(f"ptycholive.session.pictures.{layer}?.header.frames_stitched === {stitched}")

    def layer(self, layer: str, origin: tuple[int, int], shape: tuple[int, int]) -> tuple[NDArray[Any], NDArray[Any]]:
        values = np.array(self.page.evaluate(READ_LAYER, [layer, *origin, *shape]), dtype=np.float32)
        values = values.reshape(*shape, 3)
        return values[..., :2].copy().view(np.complex64)[..., 0], values[..., 2]

    def colours(self, origin: tuple[int, int], shape: tuple[int, int]) -> NDArray[np.uint8]:
        drawn = self.page.evaluate(READ_COLOURS, [*origin, *shape])
        return np.array(drawn, dtype=np.uint8).reshape(*shape, 4)

    def text(self, selector: str) -> str:
        return str(self.page.locator(selector).text_content())


def even_update(
    pixels: NDArray[np.complex64],
    *,
    origin_px: tuple[int, int] = (0, 0),
    weight: NDArray[np.float32] | None = None,
    shape: tuple[int, int] | None = None,
    place: tuple[int, int] = (0, 0),
    stitched: int = 1,
    layer: LayerName = "network",
    scan_id: str = "scan-1",
    generation: int = 0,
    complete: bool = False,
) -> LayerUpdate:
    """An update of one region, of weight 1 unless told otherwise."""
    weight = np.ones(pixels.shape, dtype=np.float32) if weight is None else weight
    region = Region(*place, *pixels.shape, pixels, weight)
    shape = pixels.shape if shape is None else shape
    return LayerUpdate(
        scan_id, layer, shape, origin_px, 1e-8, stitched, stitched, generation, 0.2, complete, (region,), 1
    )


def wavy(shape: tuple[int, int], depth_rad: float = 0.6) -> NDArray[np.complex64]:
    """Pixels whose amplitude and phase differ everywhere."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    phase = depth_rad * np.sin(x / 5.0) * np.cos(y / 7.0)
    return ((0.8 + 0.4 * y / shape[0] + 0.05 * x / shape[1]) * np.exp(1j * (phase + 1.0))).astype(np.complex64)


def image_of(body: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(body)))


FULL_STATUS = status()
