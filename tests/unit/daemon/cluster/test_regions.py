"""Regions: every worker gets frames from the first rows of a raster on, and a square keeps its owner while that is fair."""

from __future__ import annotations

import numpy as np

from daemon.cluster.regions import CUT_FRAMES, SLACK_FRAMES, Regions


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
    regions.owners(np.array([[0.0, 0.0], [0.0, 40.0]]))
    owners = regions.owners(np.tile([[5.0, 5.0], [5.0, 45.0]], (200, 1)))
    assert set(owners) == {0, 1}
    assert abs(regions.frames[0] - regions.frames[1]) <= CUT_FRAMES + 1


def test_one_region_grows_from_square_to_square_while_the_load_is_even() -> None:
    regions = Regions(2, 64)
    positions = np.column_stack([np.zeros(SLACK_FRAMES), 32.0 * np.arange(SLACK_FRAMES)])
    assert set(regions.owners(positions)) == {0}
