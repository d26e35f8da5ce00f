"""A picture of a layer, and a change of it.

Arrays are indexed (y, x), row 0 at the top. ``origin_px`` is where pixel (0, 0) of a canvas lies in the object's own
frame, so two canvases of different size are compared by origin: pixel p of one is pixel p + origin - origin' of the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ptycholive_client.messages import LayerName

__all__ = [
    "LayerName",
    "LayerUpdate",
    "Picture",
    "Region",
    "apply_update",
    "clear_weight",
    "copied",
    "regrow",
    "without_global_phase",
]

FAINT_RATIO, FAINT_PERCENT = 0.06, 75
"""A pixel is faint (the rim of the probe: noise) below this share of this percentile of the weights; as on the page."""
_SAMPLES = 200_000
"""Pixels that percentiles are taken from."""
MOST_BOX_PX = 64_000_000
"""Largest box, pixels: half a gigabyte of object, more than any screen shows."""
TILE_PX = 32  # side of a tile, pixels: mosaics grow and report changes by whole tiles


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """One rectangle of a canvas that changed; never written to after it was made.

    ``object`` is (h, w) complex64, ``weight`` (h, w) float32; ``y`` and ``x`` count in the update's canvas.
    """

    y: int
    x: int
    h: int
    w: int
    object: NDArray[np.complex64]
    weight: NDArray[np.float32]

    @property
    def nbytes(self) -> int:
        """Size of both arrays."""
        return self.object.nbytes + self.weight.nbytes


@dataclass(frozen=True, slots=True, eq=False)
class LayerUpdate:
    """The regions of one layer that changed, and the state of the scan after the change."""

    scan_id: str
    layer: LayerName
    shape: tuple[int, int]
    origin_px: tuple[int, int]
    pixel_size_m: float | None
    frames_stitched: int
    frames_received: int
    model_generation: int
    rfactor: float | None
    complete: bool
    regions: tuple[Region, ...]
    time_ns: int

    @property
    def nbytes(self) -> int:
        """Size of all regions."""
        return sum(region.nbytes for region in self.regions)


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A whole layer: ``object`` (H, W) complex64 and ``weight`` (H, W) float32, zero where nothing is covered.

    ``generations`` (H / 32, W / 32, rounded up) uint16 is the model's generation that last changed each tile of 32 x 32
    pixels; None if unknown.
    """

    scan_id: str
    layer: LayerName
    origin_px: tuple[int, int]
    pixel_size_m: float | None
    frames_stitched: int
    frames_received: int
    model_generation: int
    rfactor: float | None
    complete: bool
    time_ns: int
    object: NDArray[np.complex64]
    weight: NDArray[np.float32]
    version: int = 0
    generations: NDArray[np.uint16] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return (self.object.shape[0], self.object.shape[1])

    @property
    def nbytes(self) -> int:
        """Size of both arrays."""
        return self.object.nbytes + self.weight.nbytes

    @property
    def extent_um(self) -> tuple[float, float, float, float] | None:
        """(left, right, bottom, top) in the object's own frame, micrometres, as matplotlib's ``extent``; None: no pixel size."""
        if self.pixel_size_m is None:
            return None
        um, (y, x), (height, width) = 1e6 * self.pixel_size_m, self.origin_px, self.shape
        return (um * x, um * (x + width), um * (y + height), um * y)

    def phase(self) -> NDArray[np.float32]:
        """Return the phase (H, W), radians, less the mean phase; NaN where nothing is covered."""
        phase = np.angle(without_global_phase(self.object, self.weight))
        return np.where(self.weight > 0, phase, np.float32(np.nan)).astype(np.float32)

    def amplitude(self) -> NDArray[np.float32]:
        """Return the amplitude (H, W); NaN where nothing is covered."""
        return np.where(self.weight > 0, np.abs(self.object), np.float32(np.nan)).astype(np.float32)

    def cropped(self) -> Picture:
        """Return a copy of the covered part; the canvas, and the noisy rim of the scan, are larger. It can be empty."""
        clear = (self.weight > 0) & (self.weight >= clear_weight(self.weight))
        rows, columns = _bounds(clear, 1), _bounds(clear, 0)
        return replace(
            self,
            origin_px=(self.origin_px[0] + rows.start, self.origin_px[1] + columns.start),
            object=self.object[rows, columns].copy(),
            weight=self.weight[rows, columns].copy(),
            generations=None,  # tiles do not fit any more
        )

    def boxed(self, box_um: tuple[float, float, float, float]) -> Picture:
        """Return a copy of a fixed part of the object's frame, whatever is covered: such pictures compare pixel by pixel.

        Parameters
        ----------
        box_um
            (top, left, bottom, right), micrometres, rounded to whole pixels.

        Raises
        ------
        ValueError
            If the box has no area or is too large, or the pixel size is not known.
        """
        origin, shape = box_in_pixels(box_um, self.pixel_size_m)
        pixels = regrow(self.object, self.origin_px, shape, origin).astype(np.complex64, copy=False)
        weight = regrow(self.weight, self.origin_px, shape, origin).astype(np.float32, copy=False)
        return replace(self, origin_px=origin, object=pixels, weight=weight, generations=None)

    def _repr_html_(self) -> str:
        """Return phase and amplitude, scan, frames and R, as a notebook shows them."""
        from ptycholive_client.html import picture_html

        return picture_html(self)


def box_in_pixels(
    box_um: tuple[float, float, float, float], pixel_size_m: float | None
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the corner [y, x] of a box (top, left, bottom, right), micrometres, and its shape, in whole pixels of the object.

    Raises
    ------
    ValueError
        If the box has no area or is too large, or the pixel size is not known.
    """
    if pixel_size_m is None:
        raise ValueError("the pixel size of this picture is not known, so a box in micrometres has no place in it")
    top, left, bottom, right = (side / (1e6 * pixel_size_m) for side in box_um)
    height, width = bottom - top, right - left
    if not (height >= 1 and width >= 1 and height * width <= MOST_BOX_PX):
        most = f"{MOST_BOX_PX // 10**6} million"
        raise ValueError(f"the box {list(box_um)} is not [top, left, bottom, right] of 1 to {most} pixels")
    return (round(top), round(left)), (round(height), round(width))


def clear_weight(weight: NDArray[np.float32]) -> float:
    """Return the least weight of a covered pixel that is not faint; 0 if nothing is covered."""
    covered = weight[weight > 0]
    if not covered.size:
        return 0.0
    return FAINT_RATIO * float(np.percentile(covered[:: max(1, covered.size // _SAMPLES)], FAINT_PERCENT))


def _bounds(seen: NDArray[np.bool_], axis: int) -> slice:
    found = np.flatnonzero(seen.any(axis=axis))
    return slice(int(found[0]), int(found[-1]) + 1) if found.size else slice(0, 0)


def without_global_phase(pixels: NDArray[np.complex64], weight: NDArray[np.float32]) -> NDArray[np.complex64]:
    """`pixels` turned so that their weighted mean is real and positive."""
    mean = complex(np.vdot(weight, pixels))
    turn = np.complex64(np.exp(-1j * np.angle(mean))) if mean else np.complex64(1)
    return np.asarray(pixels * turn, dtype=np.complex64)


def regrow(
    old: NDArray[np.generic], old_origin_px: tuple[int, int], shape: tuple[int, int], origin_px: tuple[int, int]
) -> NDArray[np.generic]:
    """Content of `old` on a zero canvas of another shape and origin; what falls outside is cut off."""
    new = np.zeros(shape, dtype=old.dtype)
    source: list[slice] = []
    target: list[slice] = []
    for axis in range(2):
        shift = round(old_origin_px[axis] - origin_px[axis])
        first = max(0, shift)
        last = max(first, min(shape[axis], shift + old.shape[axis]))
        target.append(slice(first, last))
        source.append(slice(first - shift, last - shift))
    if all(part.stop > part.start for part in target):
        new[tuple(target)] = old[tuple(source)]
    return new


def apply_update(canvas: Picture | None, update: LayerUpdate, version: int = 0) -> Picture:
    """The canvas after `update`. The arrays of `canvas` are written in place unless the canvas had to grow."""
    pixels, weight = _fitting_arrays(canvas, update.shape, update.origin_px)
    generations = _fitting_generations(canvas, update.shape, update.origin_px)
    for region in update.regions:
        window = (slice(region.y, region.y + region.h), slice(region.x, region.x + region.w))
        pixels[window] = region.object
        weight[window] = region.weight
        generations[_tiles(region.y, region.h), _tiles(region.x, region.w)] = update.model_generation
    return Picture(
        scan_id=update.scan_id,
        layer=update.layer,
        origin_px=update.origin_px,
        pixel_size_m=update.pixel_size_m,
        frames_stitched=update.frames_stitched,
        frames_received=update.frames_received,
        model_generation=update.model_generation,
        rfactor=update.rfactor,
        complete=update.complete,
        time_ns=update.time_ns,
        object=pixels,
        weight=weight,
        version=version,
        generations=generations,
    )


def _fitting_arrays(
    canvas: Picture | None, shape: tuple[int, int], origin_px: tuple[int, int]
) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
    if canvas is None:
        return np.zeros(shape, dtype=np.complex64), np.zeros(shape, dtype=np.float32)
    if canvas.shape == tuple(shape) and tuple(canvas.origin_px) == tuple(origin_px):
        return canvas.object, canvas.weight
    pixels = regrow(canvas.object, canvas.origin_px, shape, origin_px)
    weight = regrow(canvas.weight, canvas.origin_px, shape, origin_px)
    return pixels.astype(np.complex64, copy=False), weight.astype(np.float32, copy=False)


def _tiles(begin: int, length: int) -> slice:
    return slice(begin // TILE_PX, -(-(begin + length) // TILE_PX))


def _fitting_generations(
    canvas: Picture | None, shape: tuple[int, int], origin_px: tuple[int, int]
) -> NDArray[np.uint16]:
    tiled = (-(-shape[0] // TILE_PX), -(-shape[1] // TILE_PX))
    if canvas is None or canvas.generations is None:
        return np.zeros(tiled, dtype=np.uint16)
    if canvas.generations.shape == tiled and tuple(canvas.origin_px) == tuple(origin_px):
        return canvas.generations
    down, right = (round((new - old) / TILE_PX) for new, old in zip(origin_px, canvas.origin_px, strict=True))
    grown = regrow(canvas.generations, (0, 0), tiled, (down, right))  # by whole tiles, as mosaics grow
    return grown.astype(np.uint16, copy=False)


def copied(canvas: Picture) -> Picture:
    """A picture that later deltas do not change."""
    tiles = None if canvas.generations is None else canvas.generations.copy()
    return replace(canvas, object=canvas.object.copy(), weight=canvas.weight.copy(), generations=tiles)
