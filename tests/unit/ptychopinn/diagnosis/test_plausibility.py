"""From the figures of a reconstruction to what is doubtful about it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ptychopinn.diagnosis.figures import figures_of, phase_ramp
from ptychopinn.diagnosis.plausibility import Doubt, Figures, as_plain, doubts, is_nonsense, summary
from ptychopinn.model import Lift
from ptychopinn.refine.retrieve import retrieve
from ptychopinn.simulate.factory import Recipe, SimulatedScan, simulate_scan
from ptychopinn.workflow.inference import reconstruct

GOOD = Figures(
    frames=100,
    rfactor=0.15,
    noise_rfactor=0.06,
    extent_px=120.0,
    masked_share=0.02,
    empty_share=0.0,
    counts_ratio=0.9,
    ramp_rad_px=0.1,
)


def test_nothing_is_said_of_a_good_scan_nor_of_one_without_frames():
    assert doubts(GOOD) == []
    assert summary([]) is None
    assert doubts(Figures(frames=0, rfactor=math.nan)) == []
    assert doubts(Figures(frames=5)) == []


@pytest.mark.parametrize(
    ("changes", "doubt", "nonsense"),
    [
        ({"rfactor": 0.32}, Doubt.RFACTOR, False),
        ({"rfactor": 0.18}, Doubt.RFACTOR, False),
        ({"rfactor": 0.32, "is_refined": False}, Doubt.RFACTOR, False),
        ({"rfactor": 0.59}, Doubt.RFACTOR, True),
        ({"rfactor": 0.59, "passes": 10}, Doubt.RFACTOR, True),
        ({"rfactor": 0.59, "passes": 9}, Doubt.RFACTOR, False),
        ({"rfactor": math.nan}, Doubt.NOT_FINITE, True),
        ({"extent_px": 0.05}, Doubt.ONE_PLACE, True),
        ({"masked_share": 0.7}, Doubt.MASKED, False),
        ({"masked_share": 4095 / 4096}, Doubt.MASKED, True),
        ({"empty_share": 0.4}, Doubt.EMPTY, False),
        ({"empty_share": 1.0}, Doubt.EMPTY, True),
        ({"counts_ratio": 10.0}, Doubt.PROBE_ENERGY, False),
        ({"counts_ratio": 1e-6}, Doubt.PROBE_ENERGY, True),
        ({"ramp_rad_px": 1.0}, Doubt.RAMP, False),
    ],
)
def test_each_doubt_is_said(changes: dict[str, float], doubt: Doubt, nonsense: bool):
    found = doubts(replace(GOOD, **changes))
    assert [finding.doubt for finding in found] == [doubt]
    assert is_nonsense(found) is nonsense
    assert as_plain(found)[0]["doubt"] == doubt.value
    line = summary(found)
    assert line is not None
    assert line.startswith("nonsense by its own figures: " if nonsense else "doubtful: ")
    assert "\n" not in line


@pytest.mark.parametrize(("counts", "phase_rad", "modes"), [(1e3, 0.1, 2), (1e3, 2.0, 1), (1e6, 2.0, 3), (1e7, 0.1, 1)])
def test_a_right_scan_gives_no_doubt(counts: float, phase_rad: float, modes: int):
    """More of them, and real ones, are in the table of ``how-to/diagnosis.md``."""
    scan = small_scan(counts, phase_rad, modes)
    assert doubts_of(scan, scan.positions_px, is_refined=False) == []
    assert doubts_of(scan, scan.positions_px, is_refined=True) == []


def test_positions_in_the_wrong_order_give_a_doubt():
    scan = small_scan(1e6, 2.0, 1)
    assert doubts_of(scan, scan.positions_px[::-1].copy(), is_refined=True) == [Doubt.RFACTOR]


def small_scan(counts: float, phase_rad: float, modes: int) -> SimulatedScan:
    recipe = Recipe(phase_rad=phase_rad, absorption=0.1 * phase_rad, counts=counts, modes=modes, frames=25, seed=3)
    return simulate_scan(recipe)


def doubts_of(scan: SimulatedScan, positions_px: np.ndarray, *, is_refined: bool) -> list[Doubt]:
    """Return what is doubtful about a scan as the lift makes it in two looks, or as the verb ``refine`` does."""
    if is_refined:
        found = retrieve(scan.amplitude, positions_px, scan.probe, sweeps=8)
        rfactor, picture, probe = found.rfactors[-1], (found.object, found.weight), found.probe
    else:
        made = reconstruct(Lift(scan.probe), scan.probe, scan.amplitude, positions_px, looks=2)
        rfactor, picture, probe = made.rfactors[-1], made.mosaic.read(), scan.probe
    figures = figures_of(scan.amplitude, positions_px, probe, rfactor, *picture, is_refined=is_refined)
    return [finding.doubt for finding in doubts(figures)]


def test_a_large_r_after_few_sweeps_asks_for_more():
    (found,) = doubts(replace(GOOD, rfactor=0.59, passes=1))
    assert found.sentence == "R is 0.59 after 1 sweep, above the expected 0.18: more sweeps are needed"


@pytest.mark.parametrize(("ratio", "word"), [(1.7e14, "few"), (1e-6, "many")])
def test_a_probe_that_does_not_fit_at_all_is_said_in_words(ratio: float, word: str):
    (found,) = doubts(replace(GOOD, counts_ratio=ratio))
    assert found.sentence == (
        f"the probe does not fit the frames at all, its photons are over 1000 times too {word}: give the probe of this beam, "
        "in photons"
    )


def test_few_photons_allow_a_large_r_factor():
    assert doubts(replace(GOOD, rfactor=0.9, noise_rfactor=0.6)) == []


def test_what_is_nonsense_comes_first():
    found = doubts(replace(GOOD, rfactor=0.3, extent_px=0.0))
    assert [finding.doubt for finding in found] == [Doubt.ONE_PLACE, Doubt.RFACTOR]


def test_one_frame_may_lie_where_it_is():
    assert doubts(replace(GOOD, frames=1, extent_px=0.0)) == []


def test_figures_of_frames():
    probe = torch.full((1, 16, 16), 4 + 0j, dtype=torch.complex64)  # 4096 photons
    amplitude = torch.full((4, 16, 16), 2.0)  # 1024
    amplitude[0] = 0.0
    amplitude[:, :4] = -1
    picture = torch.exp(0.5j * torch.arange(32.0))[None].expand(32, 32)
    found = figures_of(amplitude, np.array([[0.0, 0], [3, 7], [1, 1], [2, 2]]), probe, 0.2, picture, torch.ones(32, 32))
    assert found.frames == 4
    assert found.extent_px == 7
    assert found.masked_share == pytest.approx(0.25)
    assert found.empty_share == pytest.approx(0.25)
    assert found.counts_ratio == pytest.approx(768 / 4096)
    assert found.ramp_rad_px == pytest.approx(0.5, abs=1e-4)
    assert found.noise_rfactor == pytest.approx(0.4 / 1.5)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_figures_are_finite_or_absent_whatever_comes(value: float):
    probe = torch.full((1, 16, 16), value, dtype=torch.complex64)
    picture = torch.full((8, 8), value, dtype=torch.complex64)
    found = figures_of(torch.full((3, 16, 16), -1.0), np.zeros((3, 2)), probe, None, picture, torch.ones(8, 8))
    assert found.counts_ratio is None
    assert found.ramp_rad_px is None
    assert phase_ramp(torch.zeros(0, 0, dtype=torch.complex64), torch.zeros(0, 0)) is None
