"""Diagnosis on the first frames of the real scan, each fault by itself, and on simulated scans without one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from daemon.files import read_probe, read_scan
from ptychopinn.detector.geometry import object_pixel_size_m, to_amplitude
from ptychopinn.diagnosis.correction import TURNS, Correction, moved, turn_matrix, turned
from ptychopinn.diagnosis.figures import noise_rfactor
from ptychopinn.diagnosis.fit_test import Diagnosis, diagnose, relative_turn, scaled_to_counts
from ptychopinn.simulate import Recipe, SimulatedScan, simulate_scan

DATA = Path(__file__).parents[4] / "daemon" / "demo_data"
FRAMES = 20  # enough to tell each fault of this scan; the daemon takes 50
TOLD = ("transpose", "fliplr", "rot90_cw")  # one of each kind: the axes change places, the signs change, both
BACK = {name: name for name in TURNS} | {"rot90_cw": "rot90_ccw", "rot90_ccw": "rot90_cw"}


@dataclass(frozen=True)
class First:
    """The first frames."""

    amplitude: torch.Tensor
    positions_px: np.ndarray
    probe: torch.Tensor

    def diagnose(self) -> Diagnosis:
        """Return the diagnosis."""
        found = diagnose(self.amplitude, self.positions_px, self.probe)
        assert found is not None
        return found


def first_frames(frames: int) -> First:
    scan = read_scan(DATA / "siemens-star.cxi")
    amplitude = torch.from_numpy(to_amplitude(scan.counts[:frames], scan.mask, None))
    pixel_size_m = object_pixel_size_m(8800.0, 1.92, 75e-6, 128)
    probe = torch.from_numpy(read_probe(DATA / "siemens-star-probe.npz").probe)
    return First(amplitude, scan.positions_m[:frames] / pixel_size_m, probe)


@pytest.fixture(scope="module")
def first() -> First:
    return first_frames(FRAMES)


def with_patterns_turned(first: First, turn: str) -> First:
    return First(torch.from_numpy(turned(first.amplitude.numpy(), turn)), first.positions_px, first.probe)


def simulated(**changes: object) -> SimulatedScan:
    return simulate_scan(Recipe(frames=60, **{"size_px": 64, "counts": 1e6, "seed": 11, **changes}))


def test_the_right_configuration_gives_no_finding(first: First) -> None:
    found = first.diagnose()
    assert found.sentence is None
    assert found.correction.is_nothing
    assert not found.is_probe_poor
    assert found.rfactor == found.corrected_rfactor < 0.1
    assert found.frames == FRAMES


@pytest.mark.parametrize("turn", TOLD)
def test_each_kind_of_orientation_is_named(first: First, turn: str) -> None:
    found = with_patterns_turned(first, turn).diagnose()
    assert found.correction.pattern_turn == BACK[turn]
    assert (found.correction.position_turn, found.correction.is_conjugate) == ("identity", False)
    assert found.corrected_rfactor < 0.6 * found.rfactor
    assert found.sentence is not None
    assert found.sentence.startswith("patterns look ")
    assert ": R falls from 0." in found.sentence


@pytest.mark.parametrize("turn", TOLD)
def test_each_kind_of_turn_of_the_position_axes_is_named(first: First, turn: str) -> None:
    found = First(first.amplitude, first.positions_px @ turn_matrix(turn).T, first.probe).diagnose()
    assert found.correction == Correction(position_turn=BACK[turn])
    assert found.corrected_rfactor < 0.6 * found.rfactor


def test_a_conjugate_probe_is_told_from_turned_patterns_by_the_absorption(first: First) -> None:
    found = First(first.amplitude, first.positions_px, first.probe.conj().resolve_conj()).diagnose()
    assert found.correction.is_conjugate
    assert found.correction.pattern_turn == "identity"
    assert found.sentence is not None
    assert "the probe looks conjugated: R falls" in found.sentence


@pytest.mark.parametrize("scale", [0.95, 1.05])
def test_a_pixel_size_that_is_wrong_by_5_percent_is_named(first: First, scale: float) -> None:
    found = First(first.amplitude, first.positions_px * scale, first.probe).diagnose()
    assert found.correction.position_scale == pytest.approx(1 / scale, abs=0.02)
    assert found.sentence is not None
    assert ("too far apart" if scale > 1 else "too close together") in found.sentence
    assert found.corrected_rfactor < found.rfactor


def test_a_pattern_off_centre_is_named_in_pixels(first: First) -> None:
    found = First(torch.from_numpy(moved(first.amplitude.numpy(), (3, -2))), first.positions_px, first.probe).diagnose()
    assert found.correction == Correction(pattern_shift_px=(-3, 2))
    assert found.sentence is not None
    assert "3 px too low and 2 px too far left" in found.sentence


def test_a_probe_of_another_scale_is_named_with_the_ratio(first: First) -> None:
    found = First(first.amplitude, first.positions_px, first.probe / 4).diagnose()
    assert found.correction.counts_ratio == pytest.approx(17, abs=1)
    assert found.sentence is not None
    assert "17 times the photons of the probe" in found.sentence


def test_a_probe_of_another_day_is_named_and_the_way_out_with_its_figure() -> None:
    first = first_frames(50)
    guess = torch.from_numpy(read_probe(DATA / "siemens-star-guess.npz").probe)
    found = First(first.amplitude, first.positions_px, scaled_to_counts(guess, first.amplitude)).diagnose()
    assert found.is_probe_poor
    assert found.correction.is_nothing
    assert found.sentence is not None
    assert "the probe does not fit these patterns" in found.sentence
    assert found.corrected_rfactor < 0.6 * found.rfactor


def test_two_faults_at_once_are_both_named(first: First) -> None:
    flipped = first.positions_px @ turn_matrix("fliplr").T
    found = First(with_patterns_turned(first, "transpose").amplitude, flipped, first.probe).diagnose()
    assert (found.correction.pattern_turn, found.correction.position_turn) == ("transpose", "fliplr")


def test_positions_turned_against_the_patterns_are_found_before_the_probe_is_known(first: First) -> None:
    guess = torch.from_numpy(read_probe(DATA / "siemens-star-guess.npz").probe)
    guess = scaled_to_counts(guess, first.amplitude)
    assert relative_turn(first.amplitude, first.positions_px, guess) == "identity"
    flipped = first.positions_px @ turn_matrix("rot90_cw").T
    assert relative_turn(first.amplitude, flipped, guess) == "rot90_ccw"


@pytest.mark.parametrize(
    "changes",
    [
        {"probe_kind": "zone_plate", "phase_rad": -0.8, "absorption": 0.1, "counts": 1e4},
        {"probe_kind": "pinhole", "phase_rad": 0.3, "absorption": 0.0},
        {"probe_kind": "mirrors", "phase_rad": -0.1, "counts": 1e3},
    ],
)
def test_a_simulated_scan_that_is_right_gives_no_finding(changes: dict[str, object]) -> None:
    scan = simulated(**changes)
    found = First(scan.amplitude[:25], scan.positions_px[:25], scan.probe).diagnose()
    assert found.sentence is None


def test_where_a_conjugate_probe_cannot_be_told_both_are_named() -> None:
    scan = simulated(probe_kind="aberrated", phase_rad=-0.8, absorption=0.0)
    found = First(scan.amplitude[:25], scan.positions_px[:25], scan.probe.conj().resolve_conj()).diagnose()
    assert found.sentence is not None
    assert "patterns look turned by 180 degrees, or the probe looks conjugated" in found.sentence


def test_dark_frames_on_one_place_are_passed_over(first: First) -> None:
    dark = torch.zeros(64, *first.amplitude.shape[1:])
    where = np.concatenate([np.repeat(first.positions_px[:1], 64, 0), first.positions_px])
    found = First(torch.cat([dark, first.amplitude]), where, first.probe).diagnose()
    assert found.frames == FRAMES
    assert found.sentence is None
    assert diagnose(dark, where[:64], first.probe) is None


def test_frames_that_do_not_overlap_give_no_diagnosis(first: First) -> None:
    apart = np.arange(50.0)[:, None] * np.array([[300.0, 0.0]])
    assert diagnose(first.amplitude, apart, first.probe) is None


def test_the_noise_is_that_of_photons() -> None:
    expected = torch.full((64, 64), 50.0)
    drawn = torch.poisson(expected.expand(40, -1, -1), generator=torch.Generator().manual_seed(0))
    misfit = (drawn.sqrt() - expected.sqrt()).abs().sum() / drawn.sqrt().sum()
    assert noise_rfactor(drawn.sqrt()) == pytest.approx(float(misfit), rel=0.05)
