"""Two halves of a scan's frames: their resolution beside that against the truth; when they begin again; when there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ptychopinn.diagnosis.comparison import PlacedPicture, compare_pictures
from ptychopinn.model import Lift
from ptychopinn.mosaic.mosaic import Mosaic
from ptychopinn.refine.refined_layer import Refiner
from ptychopinn.simulate import Recipe, SimulatedScan, simulate_scan
from ptychopinn.workflow import half_pictures
from ptychopinn.workflow.file_resolution import half_correlation
from ptychopinn.workflow.half_pictures import FEWEST_FRAMES, HalfPictures
from ptychopinn.workflow.inference import reconstruct

FRAMES = 81


def scan_with(counts: float) -> SimulatedScan:
    recipe = Recipe(
        size_px=48, frames=FRAMES, counts=counts, phase_rad=1.0, overlap_ratio=0.75, probe_error=0.0, seed=7
    )
    return simulate_scan(recipe)


@pytest.fixture(scope="module")
def scan() -> SimulatedScan:
    return scan_with(3e3)


def refiner_of(scan: SimulatedScan, frames: int = FRAMES) -> Refiner:
    refiner = Refiner(scan.probe)
    for index in range(frames):
        y, x = scan.positions_px[index].tolist()
        refiner.add(index, scan.amplitude[index], (y, x))
    return refiner


def halves_of(refiner: Refiner, visits: float = 6) -> HalfPictures:
    halves = HalfPictures(update_probe=False, is_subpixel=False)
    halves.keep_up(refiner)
    while halves.visits < visits and halves.step():
        pass
    return halves


def test_the_resolution_follows_the_counts_and_is_near_that_against_the_truth(scan: SimulatedScan) -> None:
    found = {3e3: halves_of(refiner_of(scan), 10).measure().known_resolution_px()}
    for counts in (3e2, 1e4):
        found[counts] = halves_of(refiner_of(scan_with(counts)), 10).measure().known_resolution_px()
    assert found[3e2] is None  # noise alone
    assert 1 < found[1e4] < found[3e3]
    whole = refiner_of(scan)
    while whole.least_visits < 10:
        whole.step()
    value, coverage = (plane.numpy() for plane in whole.read())
    truth = scan.object.numpy()
    placed = PlacedPicture(value, coverage > 0.3 * coverage.max(), whole.origin_px)
    against = compare_pictures(placed, PlacedPicture(truth, np.ones(truth.shape, dtype=bool))).frc_px
    assert against < found[3e3] * 1.2  # all frames are sharper than half of them
    assert found[3e3] < 3 * against


def test_a_whole_scan_is_measured_as_a_live_one_is(scan: SimulatedScan) -> None:
    positions_px = np.asarray(scan.positions_px, dtype=np.float64)

    def lifted(amplitude: torch.Tensor, places: np.ndarray) -> Mosaic:
        return reconstruct(Lift(scan.probe), scan.probe, amplitude, places).mosaic

    live = halves_of(refiner_of(scan), 10).measure().known_resolution_px()
    found = half_correlation(scan.amplitude, positions_px, scan.probe, lifted, 10).known_resolution_px()
    assert found == pytest.approx(live, rel=0.1)
    unknown = np.where(np.arange(FRAMES)[:, None] < FRAMES - FEWEST_FRAMES + 1, np.nan, positions_px)
    assert half_correlation(scan.amplitude, unknown, scan.probe, lifted, 0) is None
    assert half_correlation(torch.zeros_like(scan.amplitude), positions_px, scan.probe, lifted, 0) is None


def test_each_frame_is_in_one_half_and_the_halves_share_nothing(scan: SimulatedScan) -> None:
    halves = halves_of(refiner_of(scan), 1)
    kept = [set(half.refiner.places()) for half in halves._halves]
    assert kept[0] | kept[1] == set(range(FRAMES))
    assert not kept[0] & kept[1]
    assert abs(len(kept[0]) - len(kept[1])) <= 1
    assert {index % 2 for index in kept[0]} == {0}


def test_there_is_none_of_few_frames_or_before_some_visits(scan: SimulatedScan) -> None:
    few = halves_of(refiner_of(scan, FEWEST_FRAMES - 1))
    assert few.measure() is None
    assert not few.step()
    assert halves_of(refiner_of(scan), 4).measure() is None
    lonely = refiner_of(scan)
    halves = halves_of(lonely)
    for half in halves._halves:
        half.refiner.setbacks = 99
    assert halves.measure() is None


def test_new_frames_are_taken_until_the_halves_are_full(scan: SimulatedScan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(half_pictures, "HALF_FRAMES", 20)
    refiner = refiner_of(scan, 34)
    halves = halves_of(refiner, 1)
    assert (halves.frames, halves.begun) == (34, 1)
    for index in range(34, FRAMES):
        refiner.add(index, scan.amplitude[index], tuple(scan.positions_px[index].tolist()))
        halves.keep_up(refiner)
        while halves.visits < 1:
            halves.step()
        assert halves.frames == 40 if halves.begun == 2 else halves.frames == min(index + 1, 40)
    assert halves.begun == 2  # at 80 frames: the nearest to the middle of all
    middle = scan.positions_px[:80].mean(axis=0)
    away = np.hypot(*(scan.positions_px - middle).T)
    kept = [index for half in halves._halves for index in half.refiner.places()]
    assert away[kept].max() < np.sort(away)[42]


def test_moved_frames_and_another_refiner_begin_again(scan: SimulatedScan, monkeypatch: pytest.MonkeyPatch) -> None:
    refiner = refiner_of(scan)
    halves = halves_of(refiner, 1)
    halves.keep_up(refiner)
    assert halves.begun == 1
    told = refiner.places()
    monkeypatch.setattr(refiner, "places", lambda: {index: (y + 0.4, x) for index, (y, x) in told.items()})
    halves.keep_up(refiner)
    assert halves.begun == 1
    monkeypatch.setattr(refiner, "places", lambda: {index: (y + 0.6, x) for index, (y, x) in told.items()})
    halves.keep_up(refiner)
    assert halves.begun == 2
    halves.keep_up(refiner_of(scan))
    assert halves.begun == 3


def test_a_frame_that_is_gone_is_left_out(scan: SimulatedScan, monkeypatch: pytest.MonkeyPatch) -> None:
    refiner = refiner_of(scan)
    halves = HalfPictures(update_probe=False, is_subpixel=False)
    halves.keep_up(refiner)
    monkeypatch.setattr(refiner, "pattern", lambda index: None if index == 5 else scan.amplitude[index])
    while halves.visits < 1:
        assert halves.step()
    assert halves.frames == FRAMES - 1
    assert torch.isfinite(halves._halves[0].refiner.read()[0].abs()).all()
