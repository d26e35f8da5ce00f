"""The sums of several mosaics, merged: to the bit the mosaic of all patches together."""

from __future__ import annotations

import numpy as np
import torch

from ptychopinn.mosaic.canvas import Box
from ptychopinn.mosaic.merged import MergedMosaic, SumTile
from ptychopinn.mosaic.mosaic import Mosaic

SIZE = 16


def tiles(mosaic: Mosaic) -> list[SumTile]:
    top, left = mosaic.origin_px
    return [
        SumTile(box.y + top, box.x + left, *(plane.numpy().copy() for plane in mosaic.read_sums(box)))
        for box in mosaic.take_dirty()
    ]


def scene() -> tuple[Mosaic, list[Mosaic], torch.Tensor, np.ndarray]:
    random = np.random.default_rng(0)
    weight = torch.from_numpy(random.random((SIZE, SIZE), dtype=np.float32))
    patches = torch.view_as_complex(torch.from_numpy(random.normal(size=(60, SIZE, SIZE, 2)).astype(np.float32)))
    positions = random.uniform(-70, 70, (60, 2))
    return Mosaic(weight), [Mosaic(weight) for _ in range(3)], patches, positions


def test_three_parts_are_to_the_bit_the_mosaic_of_all() -> None:
    whole, parts, patches, positions = scene()
    merged = MergedMosaic(SIZE, 1024)
    whole.add(range(60), patches, positions)
    for first in range(0, 60, 10):  # the parts grow, and tell the same tiles again
        for number, part in enumerate(parts):
            mine = range(first + number, first + 10, 3)
            part.add(list(mine), patches[mine], positions[mine])
            merged.replace(number, tiles(part))
    y, x = np.subtract(whole.origin_px, merged.origin_px)
    for ours, theirs in zip(whole.read(), merged.read(Box(int(y), int(x), *whole.shape)), strict=True):
        assert torch.equal(ours, theirs)


def test_a_tile_told_twice_counts_once_and_a_part_can_be_replaced() -> None:
    whole, (one, other, _), patches, positions = scene()
    whole.add(range(60), patches, positions)
    one.add(range(30), patches[:30], positions[:30])
    other.add(range(30, 60), patches[30:], positions[30:])
    told, theirs = tiles(one), tiles(other)
    merged = MergedMosaic(SIZE, 1024)
    merged.replace("one", told)
    merged.replace("one", told)
    merged.replace("lost", theirs)
    merged.forget("lost")
    merged.replace("new", theirs)
    merged.rename("new", "other")
    assert merged.read(None, ["one"])[1].sum() < merged.read()[1].sum()
    y, x = np.subtract(whole.origin_px, merged.origin_px)
    found = merged.read(Box(int(y), int(x), *whole.shape), ["one", "other"])
    assert all(torch.equal(a, b) for a, b in zip(whole.read(), found, strict=True))


def test_a_canvas_that_would_be_too_large_does_not_grow() -> None:
    merged = MergedMosaic(SIZE, 256)
    assert merged.reach(np.array([[0.0, 0.0], [100.0, 20.0], [5000.0, 0.0]])).tolist() == [True, True, False]
    assert max(merged.shape) <= 256
