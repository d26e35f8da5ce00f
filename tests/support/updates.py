"""Updates of a layer, and whether two canvases are the same to the bit."""

from __future__ import annotations

import numpy as np

from daemon.publish.snapshot import LayerCanvas, LayerName, LayerUpdate, Region


def make_update(
    rng: np.random.Generator,
    *,
    scan_id: str = "scan-1",
    layer: LayerName = "network",
    shape: tuple[int, int] = (40, 50),
    origin_px: tuple[int, int] = (0, 0),
    places: tuple[tuple[int, int, int, int], ...] = ((3, 4, 10, 12),),
    complete: bool = False,
    stitched: int = 1,
) -> LayerUpdate:
    regions = tuple(
        Region(
            y,
            x,
            h,
            w,
            (rng.normal(size=(h, w)) + 1j * rng.normal(size=(h, w))).astype(np.complex64),
            rng.random((h, w), dtype=np.float32),
        )
        for y, x, h, w in places
    )
    return LayerUpdate(scan_id, layer, shape, origin_px, 2e-8, stitched, stitched + 1, 0, 0.2, complete, regions, 123)


def random_walk(rng: np.random.Generator, steps: int, layer: LayerName = "network") -> list[LayerUpdate]:
    """Updates of a canvas that grows in all directions, its origin moving."""
    y0, x0, y1, x1 = 0, 0, 30, 30
    updates = []
    for step in range(steps):
        y0, x0 = y0 - int(rng.integers(0, 9)), x0 - int(rng.integers(0, 9))
        y1, x1 = y1 + int(rng.integers(0, 9)), x1 + int(rng.integers(0, 9))
        shape = (y1 - y0, x1 - x0)
        places = tuple(
            (int(rng.integers(0, shape[0] - 20)), int(rng.integers(0, shape[1] - 20)), 20, 17)
            for _ in range(int(rng.integers(0, 4)))
        )
        updates.append(make_update(rng, layer=layer, shape=shape, origin_px=(y0, x0), places=places, stitched=step))
    return updates


def assert_same(one: LayerCanvas | None, two: LayerCanvas | None) -> None:
    assert one is not None
    assert two is not None
    assert one.origin_px == two.origin_px
    assert one.object.tobytes() == two.object.tobytes()
    assert one.weight.tobytes() == two.weight.tobytes()
    assert one.frames_stitched == two.frames_stitched
