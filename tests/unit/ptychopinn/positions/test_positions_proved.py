"""Positions are taken only where frames fit better and stay."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from ptychopinn.positions.canvas import SearchCanvas
from ptychopinn.positions.expected_misfits import PROOF_PASSES
from ptychopinn.positions.fitting import RIM_PX, Estimate, Fit, on_canvas
from ptychopinn.positions.proof import fits_evenly, is_better
from ptychopinn.positions.scan import Frames, main_mode
from ptychopinn.simulate import Recipe
from tests.support.position_errors import measured_scan

SCAN = Recipe(
    size_px=64, frames=81, counts=1e5, phase_rad=1.5, overlap_ratio=0.75, texture="noise", jitter_px=0.7, seed=5
)


@cache
def _quick_picture(off_px: float) -> tuple[Frames, Estimate, np.ndarray]:
    """Return frames, a quick picture at positions that are off, and the true ones."""
    drawn, amplitude = measured_scan(SCAN)
    true = drawn.positions_px
    frames = Frames(torch.fft.ifftshift(amplitude, dim=(-2, -1)), true, main_mode(drawn.probe, amplitude))
    fit = Fit(frames, true + np.random.default_rng(4).normal(size=true.shape) * off_px)
    for _ in range(4):
        fit.run()
    return frames, fit.estimate, true


@pytest.mark.parametrize(("off_px", "is_even"), [(0.0, True), (10.0, False)])
def test_frames_at_the_edges_of_a_block_that_lies_wrong_fit_worse_than_others(off_px: float, is_even: bool) -> None:
    frames, _, true = _quick_picture(0.0)
    places = true + np.where(np.arange(len(true)) < 20, off_px, 0.0)[:, None]
    fit = Fit(frames, places)
    for _ in range(PROOF_PASSES):
        fit.run()
    assert fits_evenly(frames, fit.estimate) == is_even


def _every_other(true: np.ndarray, apart_px: float) -> np.ndarray:
    return true + np.array([apart_px, 0.0]) * (np.arange(len(true)) % 2)[:, None]


@pytest.mark.parametrize(("off_px", "is_taken"), [(0.0, True), (1.0, False), (6.0, False)])
def test_positions_that_fit_better_are_taken_only_if_frames_stay_there(off_px: float, is_taken: bool) -> None:
    frames, found, true = _quick_picture(off_px)
    told = replace(found, positions_px=_every_other(true, 6.0), square=10 * found.square, rfactor=2 * found.rfactor)
    assert is_better(frames, told, found) == is_taken


@pytest.mark.parametrize(
    ("apart_px", "fall", "is_known", "is_taken"),
    [(24.0, 10.0, True, True), (24.0, 1.5, True, False), (24.0, 10.0, False, False), (8.0, 10.0, False, True)],
)
def test_large_errors_must_explain_more(apart_px: float, fall: float, is_known: bool, is_taken: bool) -> None:
    frames, found, true = _quick_picture(0.0)
    told = replace(found, positions_px=_every_other(true, apart_px), square=fall * found.square, rfactor=1.0)
    given = frames if is_known else replace(frames, probe=frames.probe.roll(9, 0))
    assert is_better(given, told, found) == is_taken


def test_a_quick_picture_lies_on_a_larger_canvas_where_it_did() -> None:
    places = np.array([[0.6, 0.6], [10.2, 7.7]])
    own, wide = (SearchCanvas(places, 8, rim, torch.device("cpu")) for rim in (RIM_PX, 5))
    picture = torch.randn(own.shape, dtype=torch.complex64)
    moved = on_canvas(Estimate(picture, torch.ones(8, 8, dtype=torch.complex64), places), wide)
    assert torch.equal(wide.cut(moved, wide.corners(places)), own.cut(picture, own.corners(places)))
