"""A refinement that diverges is taken back: the start under its frames, the first probe, and an end after three times."""

from __future__ import annotations

import math

import pytest
import torch

from ptychopinn.refine import moving_probe
from ptychopinn.refine.refined_layer import MOST_SETBACKS, Refiner
from ptychopinn.simulate import Recipe, simulate_scan

PASSES = 40


def refined(monkeypatch: pytest.MonkeyPatch, step: float) -> Refiner:
    """Return a refiner after some passes with a step of the probe; above 2 it diverges."""
    monkeypatch.setattr(moving_probe, "PROBE_STEP", step)
    scan = simulate_scan(Recipe(seed=3, size_px=32, frames=120, counts=1e4))
    refiner = Refiner(scan.probe, update_probe=True)
    for index, (amplitude, position) in enumerate(zip(scan.amplitude, scan.positions_px.tolist(), strict=True)):
        refiner.add(index, amplitude, (position[0], position[1]))
    while refiner.least_visits < PASSES and refiner.step():
        pass
    return refiner


def test_a_diverging_probe_is_taken_back_and_the_object_converges_without_it(monkeypatch: pytest.MonkeyPatch):
    good, bad = refined(monkeypatch, 0.3), refined(monkeypatch, 30.0)
    assert good.setbacks == 0
    assert 1 <= bad.setbacks <= MOST_SETBACKS
    assert good.rfactor is not None
    assert bad.rfactor is not None
    assert math.isfinite(bad.rfactor)
    assert bad.rfactor < 2 * good.rfactor
    assert bool(torch.isfinite(bad.read()[0].abs()).all())


def test_it_gives_up_and_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ptychopinn.refine.frame_blocks.DIVERGED", 0.0)  # every pass counts as diverging
    refiner = refined(monkeypatch, 0.3)
    assert refiner.has_given_up
    assert refiner.step() == 0
    assert refiner.setbacks == MOST_SETBACKS
