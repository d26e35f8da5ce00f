"""Groups of frames: who is drawn, from where, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from ptychopinn.config.sections import DataConfig
from ptychopinn.data.grouping import draw_groups, kept_positions
from ptychopinn.errors import GeometryError

GRID = np.stack(np.divmod(np.arange(400), 20), axis=1) * 2.0
WHOLE = {"x_bounds": (0.0, 1.0), "y_bounds": (0.0, 1.0)}


def drawn(seed: int = 0, points: np.ndarray = GRID, **config: object) -> tuple[np.ndarray, np.ndarray]:
    return draw_groups(points, DataConfig.of({**WHOLE, **config}), np.random.default_rng(seed))


def test_nearest_draws_different_members_of_the_nearest() -> None:
    groups, centres = drawn(K=6, n_subsample=7)
    assert groups.shape == (2800, 4)
    assert all(len(set(group)) == 4 for group in groups.tolist())
    distance = cdist(GRID, GRID)
    limit = np.sort(distance, axis=1)[:, 6]
    assert (distance[centres[:, None], groups] <= limit[centres][:, None] + 1e-9).all()


@pytest.mark.parametrize("kind", ["Nearest", "Min_dist", "4_quadrant"])
def test_the_seed_decides(kind: str) -> None:
    one, again, other = (drawn(seed, neighbor_function=kind)[0] for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_min_dist_keeps_between_the_bounds() -> None:
    groups, centres = drawn(neighbor_function="Min_dist", K=12, min_neighbor_distance=2.5, max_neighbor_distance=4.5)
    distance = np.hypot(*(GRID[groups] - GRID[centres][:, None]).transpose(2, 0, 1))
    assert (((distance >= 2.5) & (distance <= 4.5)) | (distance == 0)).all()


def test_quadrants_give_one_member_each() -> None:
    groups, centres = drawn(neighbor_function="4_quadrant", max_neighbor_distance=3.0)
    offset = GRID[groups] - GRID[centres][:, None]
    inner = (GRID[centres] > 2).all(1) & (GRID[centres] < 36).all(1)
    angles = np.sort(np.degrees(np.arctan2(offset[inner, :, 0], offset[inner, :, 1])) % 360, axis=1)
    assert (np.hypot(*offset.transpose(2, 0, 1)) < 3.0).all()
    assert (np.floor(angles / 90) == np.arange(4)).all()


def test_a_square_reaches_into_the_corners_that_a_disk_leaves_out() -> None:
    def farthest(pattern: str) -> float:
        groups, centres = drawn(neighbor_function="4_quadrant", max_neighbor_distance=2.5, scan_pattern=pattern)
        return float(np.hypot(*(GRID[groups] - GRID[centres][:, None]).transpose(2, 0, 1)).max())

    assert farthest("Isotropic") == 2.0
    assert farthest("Rectangular") == pytest.approx(8**0.5)


def test_positions_with_two_empty_quadrants_are_left_out() -> None:
    line = np.stack([np.zeros(30), np.arange(30.0)], axis=1)
    with pytest.raises(GeometryError, match="raise the latter"):
        drawn(points=line, neighbor_function="4_quadrant", max_neighbor_distance=0.5)
    _, centres = drawn(points=GRID, neighbor_function="4_quadrant", max_neighbor_distance=3.0)
    assert 0 not in centres
    assert 21 in centres


def test_bounds_leave_out_the_rim() -> None:
    kept = kept_positions(GRID, DataConfig(x_bounds=(0.1, 0.9), y_bounds=(0.0, 1.0)))
    assert GRID[kept][:, 1].min() == 4.0
    assert GRID[kept][:, 0].min() == 0.0
    groups, _ = drawn(**{"x_bounds": (0.1, 0.9)})
    assert set(groups.ravel()) <= set(kept_positions(GRID, DataConfig(x_bounds=(0.1, 0.9), y_bounds=(0.0, 1.0))))


def test_single_frames_are_not_repeated() -> None:
    groups, centres = drawn(grid_size=(1, 1), n_subsample=7)
    assert np.array_equal(groups[:, 0], np.arange(400))
    assert np.array_equal(centres, np.arange(400))


def test_too_few_positions_are_said() -> None:
    with pytest.raises(GeometryError, match="3 of 3 positions"):
        drawn(points=GRID[:3])
    with pytest.raises(GeometryError, match="2 px apart"):
        drawn(neighbor_function="Min_dist", max_neighbor_distance=1.0)
