"""Fly scans: the blur of a moving stage is computed from the frames' neighbours; a scan that stands is refined as before."""

from __future__ import annotations

import numpy as np
import torch

from ptychopinn.physics.diffraction import expected_counts, shift_subpixel
from ptychopinn.refine.fly_path import lay_paths
from ptychopinn.refine.frame_blocks import Kept
from ptychopinn.refine.refined_layer import Refiner
from ptychopinn.simulate import Recipe, simulate_scan

N = 32
PLACES = 7


def ways_px(positions_px: list[tuple[float, float]], share: float) -> list[tuple[float, float]]:
    """Return the distance (y, x) between the first and the last place of each frame, px."""
    frames = [Kept(torch.zeros(N, N), position, index) for index, position in enumerate(positions_px)]
    lay_paths(frames, share)
    return [tuple((np.array(f.path[-1]) - np.array(f.path[0])) / 8) if f.path else (0.0, 0.0) for f in frames]


def test_a_way_follows_the_line_and_ignores_the_jump_to_the_next() -> None:
    line = [(0.0, 8.0 * k) for k in range(4)]
    raster = line + [(20.0, 8.0 * k) for k in range(4)]
    ways = ways_px(raster, 0.75)
    assert all(y == 0 for y, _ in ways)
    assert all(4 <= x <= 6 for _, x in ways)  # between places in the middle of quarters, of a way of 6 px


def test_a_stage_that_stands_has_no_way() -> None:
    assert ways_px([(0.0, 0.0)] * 3 + [(0.0, 0.2)], 1.0) == [(0.0, 0.0)] * 4
    assert ways_px([(0.0, 0.0)], 1.0) == [(0.0, 0.0)]


def test_the_blur_of_a_fly_scan_is_computed() -> None:
    scan = simulate_scan(Recipe(size_px=N, frames=49, counts=1e6, phase_rad=-1.2, track="snake", seed=6))
    positions = scan.positions_px
    share = 4.0 / float(np.median(np.linalg.norm(np.diff(positions, axis=0), axis=1)))
    amplitude = []
    for y, x in scan.true_corners_px.tolist():
        patch = scan.object[y : y + N, x : x + N]
        along = [(0.0, 4.0 * ((k + 0.5) / PLACES - 0.5)) for k in range(PLACES)]
        shown = torch.stack([expected_counts(shift_subpixel(scan.probe, moved), patch) for moved in along])
        amplitude.append(shown.mean(0).sqrt())
    rfactors = []
    for exposure_share in (0.0, share):
        refiner = Refiner(scan.probe, exposure_share=exposure_share)
        for index, (y, x) in enumerate(positions.tolist()):
            refiner.add(index, amplitude[index], (y, x))
        while refiner.least_visits < 15:
            refiner.step()
        rfactors.append(refiner.rfactor)
    assert rfactors[1] < 0.7 * rfactors[0]
