"""Regions: every worker gets frames from the first rows of a raster on, and a square keeps its owner while that is fair."""

from __future__ import annotations

import numpy as np
import pytest

from daemon.cluster.halo import Halos
from daemon.cluster.parts import NO_PIXELS
from daemon.cluster.regions import CUT_FRAMES, SLACK_FRAMES, WAITING_FRAMES, Regions
from streams.frame import PositionM, ScanPoint


def test_a_raster_is_shared_out_from_its_first_rows_on() -> None:
    regions = Regions(4, 128)
    rows, columns = np.mgrid[0:3, 0:100].reshape(2, -1) * 8.0
    owners = regions.owners(np.column_stack([rows, columns]))
    assert set(owners[:100]) == {0, 1, 2, 3}
    assert max(regions.frames) - min(regions.frames) < 100


def test_a_square_keeps_its_owner_while_the_load_is_even() -> None:
    regions = Regions(2, 64)
    places = np.random.default_rng(0).uniform(-500, 500, (400, 2))
    assert regions.owners(places) == regions.owners(places)
    assert regions.side_px == 32


def test_a_region_with_nearly_all_frames_is_cut() -> None:
    regions = Regions(2, 64)
    owners = regions.owners(np.tile([[5.0, 5.0], [5.0, 45.0]], (1000, 1)))
    assert set(owners) == {0, 1}
    assert max(regions.frames) <= CUT_FRAMES + 2 * min(regions.frames) + 1


def test_the_cut_follows_the_frames_that_wait() -> None:
    regions = Regions(2, 64)
    here = np.array([[5.0, 5.0]])
    assert regions.owners(here, [WAITING_FRAMES, 0]) == [0]
    assert regions.owners(here, [WAITING_FRAMES + 1, WAITING_FRAMES]) == [0], "both have as much to do"
    assert regions.owners(here, [WAITING_FRAMES + 1, 0]) == [1]


@pytest.mark.parametrize("track", ["raster", "spiral"])
def test_regions_hang_together_and_halos_are_small(track: str) -> None:
    """Four workers: each gets its share, and most frames belong to one worker alone."""
    number = np.arange(6000)
    if track == "raster":
        positions = np.column_stack([number // 75, number % 75]) * 20.0
    else:
        radius, angle = 11.3 * np.sqrt(number), 2 * np.sqrt(np.pi * number)
        positions = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
    regions, halos = Regions(4, 128), Halos("one", 64, 40.0)
    points = [ScanPoint("one", i, NO_PIXELS, PositionM(0.0, 0.0), 0) for i in number.tolist()]
    helped = 0
    for at in range(0, len(number), 20):
        some = slice(at, at + 20)
        owners = regions.owners(positions[some])
        shares = halos.frames_for(points[some], positions[some], owners, regions.squares_of(positions[some]))
        helped += sum(map(len, shares.values()))
    assert min(regions.frames) > 0.7 * len(number) / 4
    assert helped < 0.75 * len(number)


def test_a_halo_gets_each_frame_once_and_those_before() -> None:
    halos = Halos("one", 32, 8.0)
    first, second, far = (ScanPoint("one", i, NO_PIXELS, PositionM(0.0, 0.0), 0) for i in range(3))
    assert halos.frames_for([first, far], np.array([[16.0, 30.0], [16.0, 5.0]]), [0, 0], [(0, 0), (0, 0)]) == {}
    shares = halos.frames_for([second], np.array([[16.0, 34.0]]), [1], [(0, 1)])
    assert {worker: [point.index for point in points] for worker, points in shares.items()} == {1: [0], 0: [1]}
    assert halos.frames_for([second], np.array([[16.0, 34.0]]), [1], [(0, 1)]) == {}


def test_one_region_grows_from_square_to_square_while_the_load_is_even() -> None:
    regions = Regions(2, 64)
    positions = np.column_stack([np.zeros(SLACK_FRAMES), 32.0 * np.arange(SLACK_FRAMES)])
    assert set(regions.owners(positions)) == {0}
