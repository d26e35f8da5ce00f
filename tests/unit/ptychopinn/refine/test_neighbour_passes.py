"""Passes before a second look: neighbours agree, frames that are not at hand hold the mosaic, misleading passes are dropped."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ptychopinn.model import Lift
from ptychopinn.mosaic.canvas import Box
from ptychopinn.mosaic.mosaic import Mosaic
from ptychopinn.refine.neighbour_passes import NeighbourPasses
from ptychopinn.simulate import Recipe, SimulatedScan, simulate_scan
from ptychopinn.training.heldout import Layout
from ptychopinn.workflow.inference import reconstruct


@pytest.fixture(scope="module")
def scan() -> SimulatedScan:
    return simulate_scan(Recipe(frames=36, modes=2, phase_rad=1.5, texture="cells", overlap_ratio=0.75, seed=3))


def frames_of(scan: SimulatedScan, some: slice = slice(None)):
    return list(zip(scan.amplitude[some], map(tuple, scan.positions_px[some].tolist()), strict=True))


def first_look(scan: SimulatedScan) -> Mosaic:
    return reconstruct(Lift(scan.probe), scan.probe, scan.amplitude, scan.positions_px).mosaic


def phase_correlation_of(scan: SimulatedScan, mosaic: Mosaic) -> float:
    layout = Layout(scan)
    (y, x), (height, width) = scan.corners_px.min(axis=0), layout.truth.shape
    return layout.correlation(mosaic.picture(Box(int(y), int(x), height, width)))


def test_slow_strong_phase_is_right_after_the_second_look(scan):
    one, two = (
        reconstruct(Lift(scan.probe), scan.probe, scan.amplitude, scan.positions_px, looks=looks) for looks in (1, 2)
    )
    assert phase_correlation_of(scan, one.mosaic) < 0.7
    assert phase_correlation_of(scan, two.mosaic) > 0.9
    assert two.rfactors[1] < 0.8 * two.rfactors[0]


def test_a_step_takes_a_few_frames_and_the_passes_end(scan):
    passes = NeighbourPasses(scan.probe, first_look(scan), frames_of(scan), passes=2)
    steps = []
    while count := passes.step():
        steps.append(count)
    assert steps == [8, 8, 8, 8, 4] * 2
    assert passes.is_done


def test_frames_that_are_not_at_hand_hold_the_mosaic(scan):
    mosaic = first_look(scan)
    place = tuple(scan.positions_px[-1].tolist())
    lit = scan.probe.abs().square().sum(0)
    lit = lit / lit.max()

    def moved_by(**holds: bool) -> float:
        passes = NeighbourPasses(scan.probe, mosaic, frames_of(scan, slice(0, 30)), **holds)
        passes.run()
        return float(((passes.surroundings(np.array([place]), lit)[0][0] - mosaic.cut(place)).abs() * lit).sum())

    assert moved_by(holds_others=True) < 0.5 * moved_by(holds_others=False)


@pytest.mark.parametrize("harm", ["noise", "not finite"])
def test_passes_that_mislead_are_dropped(scan, harm):
    mosaic = first_look(scan)
    place = tuple(scan.positions_px[14].tolist())
    generator = torch.Generator().manual_seed(0)
    amplitude = 30 * torch.rand(scan.amplitude.shape, generator=generator)
    if harm == "not finite":
        amplitude = scan.amplitude.clone()
        amplitude[3, 5, 5] = torch.inf
    passes = NeighbourPasses(scan.probe, mosaic, list(zip(amplitude, [p for _, p in frames_of(scan)], strict=True)))
    passes.run()
    assert torch.equal(passes.surroundings(np.array([place]), torch.ones(64, 64))[0][0], mosaic.cut(place))


def test_there_are_none_without_frames_or_on_a_huge_mosaic(scan, monkeypatch):
    mosaic = first_look(scan)
    assert NeighbourPasses.over(scan.probe, mosaic, []) is None
    monkeypatch.setattr("ptychopinn.refine.neighbour_passes.MOST_PIXELS", 1000)
    assert NeighbourPasses.over(scan.probe, mosaic, frames_of(scan)) is None
