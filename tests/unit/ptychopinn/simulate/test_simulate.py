"""The simulator: gauge, physics of its scans, determinism, faults."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptychopinn.physics.diffraction import centroid_px, expected_counts, rfactor_parts
from ptychopinn.simulate import (
    PROBES,
    TEXTURES,
    TRACKS,
    Recipe,
    TextureBank,
    draw_neighbourhood,
    draw_recipe,
    footprint_px,
    make_probe,
    make_texture,
    scan_positions,
    simulate_scan,
)
from ptychopinn.simulate.detector import DetectorFaults, measure
from ptychopinn.simulate.probes import mistaken


@pytest.mark.parametrize("kind", PROBES)
@pytest.mark.parametrize("modes", [1, 3])
def test_probes_are_in_the_gauge_and_lit_as_asked(kind, modes):
    sizes = []
    for lit in (12.0, 36.0):
        found = [make_probe(kind, 64, lit, modes, np.random.default_rng(seed)) for seed in range(6)]
        for probe in found:
            assert probe.shape == (modes, 64, 64)
            assert float(probe.abs().square().sum()) == pytest.approx(1, abs=1e-4)
            assert max(abs(c) for c in centroid_px(probe)) <= 0.5001
            overlap = torch.einsum("ayx,byx->ab", probe.conj(), probe)
            assert float((overlap - torch.diag(torch.diag(overlap))).abs().max()) < 1e-4
            shares = torch.diag(overlap).real
            assert (shares.diff() <= 1e-6).all()
        sizes.append(np.median([footprint_px(p) for p in found]))
    assert sizes[1] > 1.5 * sizes[0]
    assert 0.5 * 36 < sizes[1] < 1.5 * 36


@pytest.mark.parametrize("kind", TEXTURES)
def test_textures_fill_their_range_and_repeat(kind):
    one, same, other = (make_texture(kind, 96, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert one.shape == (96, 96)
    assert one.dtype == np.float32
    assert one.min() == 0
    assert one.max() == pytest.approx(1)
    np.testing.assert_array_equal(one, same)
    assert abs(one - other).max() > 0.1


@pytest.mark.parametrize("track", TRACKS)
def test_tracks_have_the_mean_step(track):
    points = scan_positions(track, 100, 7.0, 0.0, np.random.default_rng(0))
    assert points.shape == (100, 2)
    area = np.ptp(points[:, 0]) * np.ptp(points[:, 1])
    assert 5.5 < np.sqrt(area / 100) < 8.5
    if track == "snake":
        assert np.hypot(*np.diff(points, axis=0).T).max() == pytest.approx(7.0)


@pytest.mark.parametrize("is_vacuum_gauge", [False, True])
def test_a_scan_agrees_with_its_truth(is_vacuum_gauge):
    recipe = Recipe(counts=1e6, absorption=0.6, modes=2, is_vacuum_gauge=is_vacuum_gauge, jitter_px=1.0, seed=5)
    scan = simulate_scan(recipe)
    corners = scan.corners_px
    np.testing.assert_array_equal(corners, scan.true_corners_px)
    assert corners.min() >= 0
    assert (corners + 64 <= np.array(scan.object.shape)).all()
    patches = torch.stack([scan.object[y : y + 64, x : x + 64] for y, x in corners.tolist()])
    misfit, whole = rfactor_parts(scan.probe, patches, scan.amplitude)
    noise = float(np.sqrt(1 / 4) * scan.amplitude.numel())
    assert misfit < min(0.1 * whole, noise)
    energy = float(scan.probe.abs().square().sum())
    if is_vacuum_gauge:
        assert energy == pytest.approx(1e6, rel=1e-3)
        assert float(scan.object.abs().max()) <= 1.0001
    else:
        assert energy < 0.98e6
        assert float(scan.object[16:-16, 16:-16].abs().mean()) == pytest.approx(1, abs=1e-3)
    again = simulate_scan(recipe)
    assert torch.equal(scan.amplitude, again.amplitude)
    assert torch.equal(scan.probe, again.probe)
    assert not torch.equal(scan.amplitude, simulate_scan(replace(recipe, seed=6)).amplitude)


def test_a_given_probe_is_used_and_scaled():
    probe = make_probe("gaussian", 64, 20, 1, np.random.default_rng(0)) * 17
    scan = simulate_scan(Recipe(counts=1e4, is_vacuum_gauge=True), probe=probe)
    torch.testing.assert_close(scan.probe, probe / 17 * 100, rtol=1e-4, atol=1e-4)


def test_faults_leave_no_data_and_noise_is_poisson():
    flat = torch.full((40, 64, 64), 9.0)
    clean = measure(flat, 9.0 * 64**2, DetectorFaults(), np.random.default_rng(1))
    counts = clean.square()
    assert (clean >= 0).all()
    assert float(counts.mean()) == pytest.approx(9, rel=0.02)
    assert float(counts.var()) == pytest.approx(9, rel=0.05)
    bad = DetectorFaults(dead_ratio=0.01, has_gap=True, stop_px=4, saturation=20)
    marred = measure(flat, 9.0 * 64**2, bad, np.random.default_rng(1))
    gone = marred == -1
    assert ((marred >= 0) | gone).all()
    assert gone[:, 30:34, 30:34].all()
    assert float(marred.max()) <= 20**0.5 + 1e-6
    assert 0.02 < float(gone.float().mean()) < 0.2
    lit = measure(flat, 9.0 * 64**2, DetectorFaults(background_ratio=1.0), np.random.default_rng(1))
    assert float(lit.square().mean()) == pytest.approx(18, rel=0.02)


def test_blur_keeps_the_counts_inside():
    spot = torch.zeros(1, 64, 64)
    spot[0, 20, 30] = 1e7
    blurred = measure(spot, 1e7, DetectorFaults(blur_px=0.6), np.random.default_rng(0)).square()
    assert float(blurred.sum()) == pytest.approx(1e7, rel=1e-3)
    assert 0.2e7 < float(blurred[0, 20, 30]) < 0.8e7


def test_a_mistaken_probe_is_off_by_what_is_said():
    probe = make_probe("zone_plate", 64, 30, 2, np.random.default_rng(0)) * 100
    off = mistaken(probe, 0.1, np.random.default_rng(1))
    assert float(off.abs().square().sum()) == pytest.approx(1e4, rel=1e-4)
    assert 0.05 < float((off - probe).abs().square().sum().sqrt()) / 100 < 0.11
    assert mistaken(probe, 0.0, np.random.default_rng(1)) is probe


def test_a_neighbourhood_overlaps_and_fits_its_texture():
    bank = TextureBank(160, 4, ["shapes", "noise"], (0, 1))
    rng = np.random.default_rng(2)
    for _ in range(8):
        recipe = replace(draw_recipe(64, rng, probe_kinds=list(PROBES), textures=["bank"]), frames=9)
        assert 1e2 <= recipe.counts <= 1e7
        scan = draw_neighbourhood(recipe, bank)
        assert scan.amplitude.shape == (9, 64, 64)
        assert max(scan.object.shape) <= 160
        near = np.hypot(*(scan.positions_px[:, None] - scan.positions_px[None]).T)
        near[np.diag_indices(9)] = np.inf
        assert np.median(near.min(axis=0)) < 0.75 * footprint_px(scan.probe)
    before = [bank.draw(160, np.random.default_rng(k))[1].sum() for k in range(8)]
    bank.renew(4)
    assert before != [bank.draw(160, np.random.default_rng(k))[1].sum() for k in range(8)]


def test_expected_counts_of_a_unit_object_are_the_probe_energy():
    probe = make_probe("mirrors", 64, 30, 3, np.random.default_rng(0)) * 1e3
    counts = expected_counts(probe, torch.ones(1, 64, 64, dtype=torch.complex64))
    assert float(counts.sum()) == pytest.approx(1e6, rel=1e-3)
