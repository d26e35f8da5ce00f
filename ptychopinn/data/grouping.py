"""Groups of frames, drawn around the positions of one scan; the same seed gives the same groups.

* ``Nearest``: around each kept position, C of the K + 1 nearest kept ones (itself among them).
* ``Min_dist``: the same among those whose distance is between the least and the greatest; the position itself counts.
* ``4_quadrant`` (C = 4): of the K_quadrant nearest of ALL positions within the greatest distance (``Isotropic``: in a disk,
  ``Rectangular``: in a square), one from each quadrant around the position. For an empty quadrant the position itself is
  taken; positions with two empty quadrants are left out.

A position is kept if it lies within ``x_bounds`` and ``y_bounds`` of the scan. ``n_subsample`` groups are drawn around each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ptychopinn.config.sections import DataConfig
from ptychopinn.errors import GeometryError

ROUNDING = 1e-9
"""Relative rounding error of positions at a bound."""
Groups = NDArray[np.int64]
Points = NDArray[np.float64]


def draw_groups(positions_px: Points, config: DataConfig, rng: np.random.Generator) -> tuple[Groups, Groups]:
    """Return groups ``(G, C)`` of indices into ``positions_px (n, 2)``, and the index ``(G,)`` around which each was drawn.

    Raises
    ------
    GeometryError
        If no group can be made.
    """
    kept = kept_positions(positions_px, config)
    if config.C == 1:
        return kept[:, None], kept
    if config.neighbor_function == "4_quadrant":
        candidates, valid = _quadrants(positions_px, kept, config)
        members = _one_of_each(candidates, valid, config.n_subsample, rng)
        centres = kept[_has_quadrants(valid)]
    else:
        candidates, valid = _neighbours(positions_px, kept, config)
        enough = valid.sum(1) >= config.C
        members = _some_of(candidates[enough], valid[enough], config.C, config.n_subsample, rng)
        centres = kept[enough]
    if not len(centres):
        raise GeometryError(_why_none(positions_px, kept, config))
    return members, np.repeat(centres, config.n_subsample)


def kept_positions(positions_px: Points, config: DataConfig) -> Groups:
    """Return the indices of positions within the bounds of the configuration."""
    low, span = positions_px.min(axis=0), np.ptp(positions_px, axis=0)
    bounds = np.array([config.y_bounds, config.x_bounds])
    slack = ROUNDING * (1 + np.abs(positions_px).max())
    inside = (positions_px >= low + bounds[:, 0] * span - slack) & (positions_px <= low + bounds[:, 1] * span + slack)
    return np.flatnonzero(inside.all(axis=1))


def _neighbours(positions_px: Points, kept: Groups, config: DataConfig) -> tuple[Groups, NDArray[np.bool_]]:
    """Return each kept position's nearest kept ones ``(n, K + 1)``, itself first, and which of them may be drawn."""
    points = positions_px[kept]
    found, where = cKDTree(points).query(points, k=range(1, min(config.K + 1, len(kept)) + 1))
    valid = np.isfinite(found)
    if config.neighbor_function == "Min_dist":
        valid &= (found >= config.min_neighbor_distance) & (found <= config.max_neighbor_distance)
        valid |= where == np.arange(len(kept))[:, None]
    return kept[np.minimum(where, len(kept) - 1)], valid


def _some_of(
    candidates: Groups, valid: NDArray[np.bool_], members: int, draws: int, rng: np.random.Generator
) -> Groups:
    """Return ``(n * draws, members)``: different valid candidates of each row, in random order."""
    lot = rng.random((len(candidates), draws, candidates.shape[1]))
    lot[~np.broadcast_to(valid[:, None], lot.shape)] = 2.0
    order = np.argsort(lot, axis=2)[..., :members]
    rows = np.broadcast_to(candidates[:, None], lot.shape)
    return np.take_along_axis(rows, order, 2).reshape(-1, members)


def _quadrants(positions_px: Points, kept: Groups, config: DataConfig) -> tuple[Groups, NDArray[np.bool_]]:
    """Return each kept position's neighbours ``(n, k)``, itself first, and in which quadrant each lies ``(n, 4, k)``."""
    if config.C != 4:
        raise GeometryError(f"4_quadrant makes groups of 4 but grid_size asks for {config.C}; set it to (2, 2)")
    points = positions_px[kept]
    norm = 2.0 if config.scan_pattern == "Isotropic" else np.inf
    count = min(config.K_quadrant + 1, len(positions_px))
    found, where = cKDTree(positions_px).query(points, k=range(1, count + 1), p=norm)
    near = np.isfinite(found) & (found >= config.min_neighbor_distance) & (found < config.max_neighbor_distance)
    near &= where != kept[:, None]
    candidates = np.concatenate([kept[:, None], np.minimum(where, len(positions_px) - 1)], axis=1)
    dy, dx = np.moveaxis(positions_px[candidates[:, 1:]] - points[:, None], -1, 0)
    sides = [(dy <= 0) & (dx < 0), (dy < 0) & (dx >= 0), (dy > 0) & (dx <= 0), (dy >= 0) & (dx > 0)]
    lies = np.stack([near & side for side in sides], axis=1)
    alone = ~lies.any(axis=2, keepdims=True)
    return candidates, np.concatenate([alone, lies], axis=2)


def _has_quadrants(valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which positions ``(n,)`` have neighbours in at least three quadrants."""
    answer: NDArray[np.bool_] = valid[:, :, 0].sum(1) < 2
    return answer


def _one_of_each(candidates: Groups, valid: NDArray[np.bool_], draws: int, rng: np.random.Generator) -> Groups:
    """Return ``(m * draws, 4)``: one valid candidate of each quadrant, for positions that have enough of them."""
    enough = _has_quadrants(valid)
    candidates, valid = candidates[enough], valid[enough]
    lot = rng.random((len(candidates), draws, *valid.shape[1:]))
    choice = np.where(valid[:, None], lot, -1.0).argmax(axis=3)
    rows = np.broadcast_to(candidates[:, None], (*choice.shape[:2], candidates.shape[1]))
    return np.take_along_axis(rows, choice, 2).reshape(-1, 4)


def _why_none(positions_px: Points, kept: Groups, config: DataConfig) -> str:
    if len(kept) < config.C:
        return (
            f"{len(kept)} of {len(positions_px)} positions are within x_bounds and y_bounds, fewer than a group of "
            f"{config.C}; widen the bounds or give more frames"
        )
    nearest = cKDTree(positions_px).query(positions_px, k=[2])[0]
    return (
        f"no position has enough neighbours between min_neighbor_distance {config.min_neighbor_distance:g} and "
        f"max_neighbor_distance {config.max_neighbor_distance:g} px; nearest neighbours are {np.median(nearest):.3g} px "
        "apart, so raise the latter"
    )
