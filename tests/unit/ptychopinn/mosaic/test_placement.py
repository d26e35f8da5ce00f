"""Both forms of placement give the same bits."""

import numpy as np
import torch

from ptychopinn.device import batched, prefer_batched
from ptychopinn.mosaic.mosaic import Mosaic
from ptychopinn.mosaic.placement import gather, scatter_add

N = 16


def both(make):
    """Return what a call gives patch by patch, and a batch at once."""
    prefer_batched(False)
    one = make()
    with batched():
        return one, make()


def test_mosaics_laid_either_way_are_equal_to_the_bit():
    rng = np.random.default_rng(3)
    weight = torch.from_numpy(rng.random((N, N)).astype(np.float32))
    patches = torch.from_numpy((rng.normal(size=(60, N, N)) + 1j * rng.normal(size=(60, N, N))).astype(np.complex64))
    positions = rng.uniform(-70, 70, size=(60, 2))

    def laid():
        mosaic = Mosaic(weight, keep_bytes=40 * N * N * 8)
        mosaic.add(range(60), patches, positions)
        mosaic.add(range(30, 50), patches[:20], positions[30:50] + 0.3)  # replaces the patches that are kept
        mosaic.remove(55)
        dirty = mosaic.take_dirty()
        return mosaic.origin_px, dirty, mosaic.kept_bytes, *mosaic.read(), *mosaic.surroundings(positions[:9], weight)

    one, other = both(laid)
    assert one[:3] == other[:3]
    for a, b in zip(one[3:], other[3:], strict=True):
        assert torch.equal(a, b)


def test_what_is_scattered_is_gathered_where_nothing_overlaps():
    rng = np.random.default_rng(4)
    corners = np.array([[0, 0], [5, 20], [30, 2]])
    patches = torch.from_numpy(rng.normal(size=(3, 5, 5, 2)))

    def placed():
        plane = torch.zeros(40, 30, 2, dtype=torch.float64)
        scatter_add(plane, corners, patches)
        again = gather(plane, corners, 5)
        scatter_add(plane, corners, patches, -1.0)
        return again, plane

    for again, plane in both(placed):
        assert torch.equal(again, patches)
        assert not plane.any()
