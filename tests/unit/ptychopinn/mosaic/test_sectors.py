"""A mosaic whose sums are bounded in memory is that of one without a bound, to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ptychopinn.mosaic.canvas import Box
from ptychopinn.mosaic.memory_bound import MemoryBound
from ptychopinn.mosaic.mosaic import Mosaic
from ptychopinn.mosaic.sectors import PIXEL_BYTES
from ptychopinn.refine.refined_layer import Refiner

SIZE_PX, SECTOR_PX, FRAMES = 16, 64, 60
SECTOR_BYTES = PIXEL_BYTES * (SECTOR_PX + SIZE_PX + 1) ** 2
SECTORS = 3
WEIGHT = torch.rand(SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(1)) + 0.1


def _scan(seed: int) -> tuple[torch.Tensor, np.ndarray]:
    patches = torch.randn(
        FRAMES, SIZE_PX, SIZE_PX, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed)
    )
    return patches, np.random.default_rng(seed).uniform(-250, 250, (FRAMES, 2))


def _pair(folder: Path | None) -> list[Mosaic]:
    bound = MemoryBound(SECTORS * SECTOR_BYTES, folder, SECTOR_PX)
    return [Mosaic(WEIGHT, keep_bytes=10**6, bound=one) for one in (None, bound)]


def _same(whole: Mosaic, split: Mosaic) -> None:
    assert split.is_split
    assert (whole.shape, whole.origin_px, whole.total_weight) == (split.shape, split.origin_px, split.total_weight)
    for one, other in zip(whole.read(), split.read(), strict=True):
        assert torch.equal(one, other)


def test_patches_far_and_wide_give_the_picture_of_one_plane(tmp_path: Path) -> None:
    whole, split = _pair(tmp_path)
    patches, positions = _scan(0)
    for mosaic in (whole, split):
        for begin in range(0, FRAMES, 20):
            part = slice(begin, begin + 20)
            assert not mosaic.add(range(FRAMES)[part], patches[part], positions[part])
        assert not mosaic.add([3, 40], patches[:2], positions[[7, 8]])  # in the place of those that are there
        assert mosaic.remove(5)
        assert mosaic.move(6, (-200.3, 210.6))
    _same(whole, split)
    boxes = whole.take_dirty()
    assert split.take_dirty() == boxes
    for one, other in zip(whole.read_boxes(boxes), split.read_boxes(boxes), strict=True):
        assert all(map(torch.equal, one, other))
    for one, other in zip(*(m.surroundings(positions[10:20], WEIGHT) for m in (whole, split)), strict=True):
        assert torch.equal(one, other)
    assert split.laid_share == whole.laid_share > 0


def test_so_many_sectors_are_in_memory_and_no_more(tmp_path: Path) -> None:
    whole, split = _pair(tmp_path)
    patches, positions = _scan(0)
    positions *= np.linspace(0.1, 1, FRAMES)[:, None]  # one plane is enough at first
    whole.add(range(FRAMES), patches, positions)
    for number in range(FRAMES):
        split.add([number], patches[number : number + 1], positions[number : number + 1])
        sectors = split._canvas._sectors
        assert number > 0 or not split.is_split
        assert sectors is None or len(sectors._warm) <= SECTORS
    assert sectors is not None
    assert len(sectors._cold._slots) > SECTORS
    assert not sectors._cold._in_memory
    _same(whole, split)
    assert list(tmp_path.iterdir()) == []  # its file has no name and ends with the process


def test_mosaics_with_and_without_a_bound_are_merged(tmp_path: Path) -> None:
    first, second = _scan(0), _scan(1)
    (whole, split), others = _pair(tmp_path), _pair(tmp_path)
    for mosaic, other in zip((whole, split), reversed(others), strict=True):
        mosaic.add(range(FRAMES), *first)
        other.add(range(FRAMES), *second)
        assert mosaic.merge(other)
    _same(whole, split)


def test_a_box_reserves_no_memory(tmp_path: Path) -> None:
    mosaic = Mosaic(WEIGHT, bound=MemoryBound(SECTORS * SECTOR_BYTES, tmp_path, SECTOR_PX))
    assert mosaic.reserve((0, 0), (30000, 30000))  # 20 GiB in one plane
    patches, positions = _scan(0)
    mosaic.add(range(FRAMES), patches, positions + 15000)
    alone = Mosaic(WEIGHT)
    alone.add(range(FRAMES), patches, positions + 15000)
    y, x = alone.origin_px
    here = Box(y - mosaic.origin_px[0], x - mosaic.origin_px[1], *alone.shape)
    assert all(map(torch.equal, mosaic.read(here), alone.read()))


def test_without_a_file_it_grows_beyond_the_bound(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole, split = _pair(tmp_path / "missing")
    for mosaic in (whole, split):
        mosaic.add(range(FRAMES), *_scan(0))
    _same(whole, split)
    assert sum("canvas_bytes" in message for message in caplog.messages) == 1


def test_a_refined_layer_in_a_file_is_that_in_memory(tmp_path: Path) -> None:
    probe = (30 * WEIGHT).to(torch.complex64)[None]
    pictures = []
    for bound in (None, MemoryBound(1, tmp_path)):
        refiner = Refiner(probe, bound=bound)
        for index, place in enumerate(_scan(0)[1][:8] / 8):
            refiner.add(
                index, torch.rand(SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(index)), tuple(place)
            )
        while refiner.least_visits < 2:
            refiner.step()
        pictures.append(refiner.read())
    assert all(map(torch.equal, *pictures))
