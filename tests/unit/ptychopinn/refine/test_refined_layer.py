"""The refined layer on simulated scans whose truth is known."""

import numpy as np
import pytest
import torch

from ptychopinn.model import Lift
from ptychopinn.model.bundle import find_bundle, load_model
from ptychopinn.mosaic.canvas import Box
from ptychopinn.physics.diffraction import rfactor_parts
from ptychopinn.refine import frame_buffer, moving_probe, prior
from ptychopinn.refine.refined_layer import BLOCK_PASSES, Refiner
from ptychopinn.simulate import Recipe, simulate_scan
from ptychopinn.training.heldout import phase_correlation
from ptychopinn.workflow.inference import reconstruct

N = 64


@pytest.fixture(scope="module")
def scan():
    return simulate_scan(Recipe(size_px=N, frames=49, counts=1e6, phase_rad=1.5, probe_error=0.0, seed=5))


def feed(refiner, scan, indexes):
    for i in indexes:
        y, x = scan.positions_px[i]
        refiner.add(i, scan.amplitude[i], (float(y), float(x)))


def sweep(refiner, visits):
    while refiner.least_visits < visits:
        assert refiner.step() > 0


def rfactor(refiner, scan):
    patches = torch.stack([refiner.cut(tuple(p)) for p in scan.positions_px.tolist()])
    misfit, total = rfactor_parts(refiner.probe, patches, scan.amplitude)
    return misfit / total


def correlation(refiner, scan):
    value, coverage = refiner.read()
    y, x = refiner.origin_px
    truth = torch.ones_like(value)
    here = scan.object[max(y, 0) : y + value.shape[0], max(x, 0) : x + value.shape[1]]
    truth[max(-y, 0) : max(-y, 0) + here.shape[0], max(-x, 0) : max(-x, 0) + here.shape[1]] = here
    return phase_correlation(value, truth, coverage > 0.3 * coverage.max())


def noise_floor(scan):
    """R of the true object."""
    n = N // 2
    corners = [(round(y) - n, round(x) - n) for y, x in scan.positions_px.tolist()]
    patches = torch.stack([scan.object[y : y + N, x : x + N] for y, x in corners])
    misfit, total = rfactor_parts(scan.probe, patches, scan.amplitude)
    return misfit / total


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e4])
def test_a_frame_that_cannot_be_true_is_left_out_alone(scan, value):
    bad = 20
    good, spoilt = (Refiner(scan.probe) for _ in range(2))
    feed(good, scan, [i for i in range(49) if i != bad])
    feed(spoilt, scan, range(49))
    spoilt._buffer._frames[bad].pattern = scan.amplitude[bad] * value
    for refiner in (good, spoilt):
        sweep(refiner, 10)
    assert (good.left_out, spoilt.left_out) == (set(), {bad})
    assert spoilt.rfactor == pytest.approx(good.rfactor, rel=0.02)
    assert correlation(spoilt, scan) > correlation(good, scan) - 0.002


def test_thirty_passes_from_nothing_find_a_strong_phase(scan):
    refiner = Refiner(scan.probe)
    feed(refiner, scan, range(49))
    sweep(refiner, 30)
    assert correlation(refiner, scan) > 0.97
    assert rfactor(refiner, scan) < 1.2 * noise_floor(scan)
    assert refiner.rfactor == pytest.approx(rfactor(refiner, scan), rel=0.05)


@pytest.mark.parametrize("spread", [1, 40])
def test_frames_that_are_admitted_together_find_the_start_that_each_alone_would(scan, spread):
    """Close together, and so far apart that each is blended alone."""
    wide = torch.view_as_complex(torch.randn(4096, 4096, 2, generator=torch.Generator().manual_seed(1)))
    together, alone = (
        Refiner(scan.probe, lambda box: wide[Box(box.y + 64, box.x + 64, box.h, box.w).window]) for _ in "ab"
    )
    for i, (y, x) in enumerate(scan.positions_px.tolist()):
        for refiner in (together, alone):
            refiner.add(i, scan.amplitude[i], (spread * y, spread * x))
        alone.admit_all()
    together.admit_all()
    places = [(spread * y, spread * x) for y, x in scan.positions_px.tolist()]
    mine, its = (torch.stack([refiner.cut(place) for place in places]) for refiner in (together, alone))
    torch.testing.assert_close(mine, its, rtol=1e-5, atol=1e-5)
    covered, also_covered = (float(refiner.read()[1].sum()) for refiner in (together, alone))
    assert covered == pytest.approx(also_covered, rel=1e-5)


def test_frames_that_come_while_it_runs_are_taken_in(scan):
    refiner = Refiner(scan.probe)
    for i in range(49):
        feed(refiner, scan, [i])
        refiner.step()  # in the middle of passes, and while the canvas grows
    refiner.admit_all()
    sweep(refiner, 30)
    assert correlation(refiner, scan) > 0.97
    assert refiner.read()[1].sum() == pytest.approx(49 * float(scan.probe.abs().square().sum(0).sum() / peak(scan)))


def peak(scan):
    return scan.probe.abs().square().sum(0).max()


def test_blocks_of_few_frames_come_to_the_same_picture(scan, monkeypatch):
    monkeypatch.setattr(frame_buffer, "BLOCK_FRAMES", 16)
    refiner = Refiner(scan.probe)
    feed(refiner, scan, range(49))
    sweep(refiner, 30)
    assert correlation(refiner, scan) > 0.95
    assert rfactor(refiner, scan) < 1.5 * noise_floor(scan)


def test_fewer_passes_over_each_block_visit_all_frames_sooner(scan, monkeypatch):
    monkeypatch.setattr(frame_buffer, "BLOCK_FRAMES", 16)
    updates = {}
    for passes in (BLOCK_PASSES, 2):
        refiner = Refiner(scan.probe)
        refiner.block_passes = passes
        feed(refiner, scan, range(49))
        sweep(refiner, 2)
        updates[passes] = refiner.updates
    assert updates[2] < updates[BLOCK_PASSES] / 2


def test_the_oldest_frames_leave_the_buffer_and_what_they_gave_stays(scan):
    refiner = Refiner(scan.probe, buffer_bytes=20 * N * N * 4)
    feed(refiner, scan, range(20))
    sweep(refiner, 30)
    before = [refiner.cut(tuple(p)).clone() for p in scan.positions_px[:3].tolist()]
    feed(refiner, scan, range(20, 49))
    sweep(refiner, 10)
    assert refiner.updates >= 20 * 40
    centre = slice(N // 2 - 4, N // 2 + 4)
    for old, position in zip(before, scan.positions_px[:3].tolist(), strict=True):
        new = refiner.cut(tuple(position))
        assert float((new - old)[centre, centre].abs().mean()) < 0.1


def test_the_probe_follows_and_keeps_its_energy(scan, monkeypatch):
    monkeypatch.setattr(moving_probe, "PROBE_FRAMES", 10)
    wrong = torch.polar(scan.probe.abs(), scan.probe.angle() * 0.9)
    fixed, following = Refiner(wrong), Refiner(wrong, update_probe=True)
    for refiner in (fixed, following):
        feed(refiner, scan, range(49))
        sweep(refiner, 20)
    assert rfactor(following, scan) < 0.8 * rfactor(fixed, scan)
    energies = [float(p.abs().square().sum()) for p in (following.probe, wrong)]
    assert energies[0] == pytest.approx(energies[1], rel=0.02)
    assert torch.equal(fixed.probe, wrong)


def test_a_weak_sample_in_few_counts_stays_near_the_network(scan):
    flat = torch.ones(32, 32)
    random = np.random.default_rng(0)

    def strength(contrast, photons):
        picture = torch.from_numpy(np.exp(1j * contrast * random.normal(size=(32, 32)))).to(torch.complex64)
        return float(prior.prior_strength(picture, flat, photons))

    assert strength(0.05, 10.0) > 20 * strength(1.0, 10.0)
    assert strength(0.05, 1e5) == pytest.approx(prior.PRIOR, rel=0.3)
    assert strength(1.0, 10.0) < 0.1 * prior.PRIOR


def test_a_frame_too_far_away_is_left_out(scan):
    refiner = Refiner(scan.probe, max_side_px=1000)
    feed(refiner, scan, range(3))
    refiner.add(99, scan.amplitude[0], (1e5, 0.0))
    sweep(refiner, 2)
    assert refiner.least_visits >= 2
    assert max(refiner.shape) <= 1000


def test_patterns_finer_than_their_shift_do_not_turn_the_object():
    """A held-out scan whose common shift told chance: ramp upon ramp, R from 0.06 to 0.22 in sixty passes."""
    recipe = Recipe(
        size_px=N,
        probe_kind="gaussian",
        modes=2,
        footprint_ratio=0.548437285061433,
        texture="maze",
        phase_rad=-2.0954809512122985,
        absorption=0.0,
        counts=1e6,
        overlap_ratio=0.652331670890105,
        frames=64,
        jitter_px=0.5335856771790115,
        seed=4338392648085294138,
    )
    scan = simulate_scan(recipe)
    model, _ = load_model(find_bundle("shipped"), scan.probe)
    picture = reconstruct(model, scan.probe, scan.amplitude, scan.positions_px, looks=2).mosaic
    refiner = Refiner(scan.probe, picture.picture)
    feed(refiner, scan, range(64))
    sweep(refiner, 60)
    assert rfactor(refiner, scan) < 0.07
    assert correlation(refiner, scan) > 0.98


def test_smoothness_follows_the_sample_and_never_outweighs_the_photons():
    coverage = torch.full((N, N), 4.0)
    noise = torch.randn(N, N, generator=torch.Generator().manual_seed(1))
    steep, slight = (torch.polar(torch.ones(N, N), phase * noise) for phase in (0.2, 0.02))
    ratio = prior.smoothness(slight, coverage, 1e6) / prior.smoothness(steep, coverage, 1e6)
    assert ratio == pytest.approx(100, rel=0.05)
    assert prior.smoothness(slight, coverage, 0.5) == 2.0
    assert prior.smoothness(torch.ones(N, N, dtype=torch.complex64), coverage, 1e6) == 0.0


def test_smoothness_takes_noise_off_a_slight_sample(monkeypatch):
    scan = simulate_scan(Recipe(size_px=N, frames=49, counts=1e4, phase_rad=0.2, texture="cells", seed=3))
    lift = reconstruct(Lift(scan.probe), scan.probe, scan.amplitude, scan.positions_px).mosaic
    found = []
    for smoothness in (0.0, prior.SMOOTHNESS):
        monkeypatch.setattr(prior, "SMOOTHNESS", smoothness)
        refiner = Refiner(scan.probe, lift.picture)
        feed(refiner, scan, range(49))
        sweep(refiner, 30)
        found.append(correlation(refiner, scan))
    assert found[1] > found[0] + 0.02
