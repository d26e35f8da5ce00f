"""Groups, lift and refiner on a simulated scan whose truth is known."""

import numpy as np
import pytest
import torch

from ptychopinn.model import Lift
from ptychopinn.mosaic.groups import GroupBuilder, GroupFrame, NeighbourIndex
from ptychopinn.mosaic.mosaic import Mosaic
from ptychopinn.physics.diffraction import expected_counts, rfactor_parts
from ptychopinn.refine.refined_layer import Refiner
from ptychopinn.refine.retrieve import retrieve

N = 32


@pytest.fixture(scope="module")
def scan():
    """Return probe, amplitudes, positions of a noise-free scan over a weak random object."""
    rng = np.random.default_rng(5)
    axis = np.arange(N) - N // 2
    radius = axis[:, None] ** 2 + axis[None] ** 2
    probe = np.exp(-radius / 50.0 + 0.02j * radius)
    probe *= np.sqrt(1e5 / (abs(probe) ** 2).sum())
    smooth = np.fft.ifft2(
        np.fft.fft2(rng.normal(size=(80, 80))) * np.exp(-60 * np.add.outer(*[np.fft.fftfreq(80) ** 2] * 2))
    )
    sample = torch.from_numpy(np.exp(2j * smooth.real).astype(np.complex64))
    corners = np.stack(np.meshgrid(np.arange(0, 48, 5), np.arange(0, 48, 5), indexing="ij"), -1).reshape(-1, 2)
    cuts = torch.stack([sample[y : y + N, x : x + N] for y, x in corners.tolist()])
    modes = torch.from_numpy(probe.astype(np.complex64))[None]
    return modes, expected_counts(modes, cuts).sqrt(), corners + N / 2.0


def frames_of(amplitude, positions, order):
    return [GroupFrame(int(i), amplitude[i].numpy(), tuple(positions[i])) for i in order]


def test_neighbour_index_equals_brute_force_whatever_the_batches():
    rng = np.random.default_rng(0)
    points, index, at = rng.normal(size=(200, 2)), NeighbourIndex(), 0
    for size in (1, 7, 30, 2, 100, 60):
        index.add(range(at, at + size), points[at : at + size])
        at += size
        keys, distance = index.nearest(points[:at], 3)
        far = np.linalg.norm(points[:at, None] - points[None, :at], axis=-1)
        want = np.sort(far, axis=1)[:, :3]
        np.testing.assert_allclose(distance[:, : want.shape[1]], want)
        assert (keys[:, 0] == np.arange(at)).all()
    assert len(index) == 200


@pytest.mark.parametrize("gridsize", [1, 2])
def test_groups_from_any_order(scan, gridsize):
    _, amplitude, positions = scan
    builder = GroupBuilder(gridsize, N / 2, torch.device("cpu"))
    order = np.random.default_rng(1).permutation(len(positions))
    seen = {1: [], 4: []}
    for i in range(0, len(order), 9):
        for group in builder.add(frames_of(amplitude, positions, order[i : i + 9])):
            c = group["images"].shape[1]
            assert group["images"].dtype == torch.float32
            assert group["coords_relative"].shape == (len(group), c, 1, 2)
            assert torch.allclose(group["coords_center"] + group["coords_relative"], group["coords_global"])
            for row, where in zip(group["nn_indices"].tolist(), group["coords_global"][:, :, 0].numpy(), strict=True):
                assert len(set(row)) == c
                np.testing.assert_allclose(where, positions[row])
            seen[c] += group["center_scan_id"].tolist()
    assert sorted(seen[1]) == list(range(len(positions)))
    assert sorted(seen[4]) == (list(range(len(positions))) if gridsize == 2 else [])


def test_groups_are_made_again_around_frames_that_are_kept(scan):
    _, amplitude, positions = scan
    builder = GroupBuilder(2, N / 2, torch.device("cpu"), keep_frames=90)
    far = len(positions) - 1
    positions = positions.copy()
    positions[far] += 1000.0
    builder.add(frames_of(amplitude, positions, range(len(positions))))
    groups, single = builder.again([0, 50, far])  # of 100 frames the first ten are forgotten
    assert single["nn_indices"].tolist() == [[far]]
    assert groups["center_scan_id"].tolist() == [50]
    distance = np.linalg.norm(positions - positions[50], axis=1)
    members = groups["nn_indices"][0].tolist()
    assert len(set(members)) == 4
    assert sorted(distance[members]) == sorted(distance)[:4]
    assert torch.equal(groups["images"][0], amplitude[members])
    assert builder.again([]) == []


@pytest.mark.parametrize("gridsize", [1, 2])
def test_lift_then_refiner_lower_the_rfactor(scan, gridsize):
    probe, amplitude, positions = scan
    mosaic = Mosaic(probe.abs().square().sum(0), keep_bytes=10**7)
    model = Lift(probe)
    builder = GroupBuilder(gridsize, N / 2, torch.device("cpu"))
    for group in builder.add(frames_of(amplitude, positions, range(len(positions)))):
        keys = group["center_scan_id"].tolist()
        assert mosaic.add(keys, model.predict(group)[:, 0], positions[keys]) == {}
    assert mosaic.total_weight == len(positions) * mosaic.patch_weight
    refiner = Refiner(probe, mosaic.picture)
    for i, position in enumerate(positions):
        refiner.add(i, amplitude[i], tuple(position))

    def rfactor(cut):
        numerator, denominator = rfactor_parts(probe, torch.stack([cut(tuple(p)) for p in positions]), amplitude)
        return numerator / denominator

    empty = rfactor(lambda p: torch.ones(N, N, dtype=torch.complex64))
    lifted = rfactor(mosaic.cut)
    while refiner.least_visits < 8:
        assert refiner.step()
    assert lifted < 0.75 * empty
    assert rfactor(refiner.cut) < 0.5 * lifted


def test_lift_does_not_depend_on_the_batch(scan):
    probe, amplitude, positions = scan
    model = Lift(probe)
    builder = GroupBuilder(1, N / 2, torch.device("cpu"))
    (whole,) = builder.add(frames_of(amplitude, positions, range(20)))
    (part,) = builder.add(frames_of(amplitude, positions, range(7, 9)))
    assert torch.allclose(model.predict(whole)[7:9], model.predict(part), atol=1e-5)


def test_retrieve_finds_probe_and_object_from_a_poor_guess(scan):
    probe, amplitude, positions = scan
    guess = torch.polar(probe.abs() ** 0.7, probe.angle() * 0.8)
    found = retrieve(amplitude, positions, guess, sweeps=25)
    fixed = retrieve(amplitude, positions, guess, sweeps=25, update_probe=False)
    assert found.rfactors[-1] < 0.3 * fixed.rfactors[-1]
    covered = found.weight > 0.05 * found.weight.max()
    assert float(found.object[covered].abs().mean()) == pytest.approx(1.0, abs=1e-4)
