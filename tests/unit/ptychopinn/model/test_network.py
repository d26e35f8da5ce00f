"""Lift network: gauges, batch independence, second look, overlap, held-out scores."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptychopinn.model.lift import Lift
from ptychopinn.model.network import CorrectionNet, load_network, predict_look, save_network, stitched_start
from ptychopinn.model.optics import ProbeOptics, lit_side_px
from ptychopinn.model.overlap import Overlap
from ptychopinn.simulate import Recipe, simulate_scan
from ptychopinn.training.heldout import heldout_recipes, phase_correlation, predict_looks, score_scan, summary


@pytest.fixture(scope="module")
def network():
    """Return a small network whose answer is not zero."""
    torch.manual_seed(0)
    net = CorrectionNet(widths=(16, 32), depths=(1, 1))
    with torch.no_grad():
        net.head.weight.normal_(std=0.02)
        net.head.bias.normal_(std=0.05)
    return net


@pytest.fixture(scope="module")
def scan():
    return simulate_scan(Recipe(frames=16, modes=2, counts=1e5, phase_rad=1.0, seed=3))


def frames_of(scan):
    return torch.fft.ifftshift(scan.amplitude, dim=(-2, -1))[None]


@pytest.mark.parametrize("modes", [1, 2])
@pytest.mark.parametrize("projections", [1, 2, 3])
def test_without_network_it_is_the_lift(modes, projections):
    scan = simulate_scan(Recipe(frames=6, probe_kind="gaussian", modes=modes, counts=1e7, seed=1))
    want = Lift(scan.probe, projections=projections).predict({"images": scan.amplitude[:, None]})[:, 0]
    got = predict_look(None, ProbeOptics(scan.probe[None]), frames_of(scan), projections=projections)[0]
    lit = scan.probe.abs().square().sum(0) > 0.1 * scan.probe.abs().square().sum(0).max()
    assert float((got - want)[:, lit].abs().square().mean().sqrt()) < 0.02


@pytest.mark.parametrize("modes", [1, 2])
@pytest.mark.parametrize("projections", [1, 2, 4])
def test_the_short_form_of_the_lift_is_the_long_one_where_pixels_have_no_data_too(modes, projections):
    scan = simulate_scan(Recipe(frames=3, probe_kind="gaussian", modes=modes, counts=1e5, seed=2))
    optics, amplitude = ProbeOptics(scan.probe[None]), frames_of(scan)[0].clone()
    amplitude[:, 3:9, 5] = -1.0
    amplitude[1, ::7] = -1.0
    patches = 1 + optics.first(amplitude[None]).update
    for _ in range(projections - 1):
        patches = patches + optics.project(patches, amplitude[None]).update
    torch.testing.assert_close(optics.lifted(amplitude, projections), patches[0], rtol=1e-4, atol=1e-4)


def test_the_answer_does_not_depend_on_the_probes_phase(network, scan):
    patches = predict_look(network, ProbeOptics(scan.probe[None]), frames_of(scan))
    turned = predict_look(network, ProbeOptics(scan.probe[None] * np.exp(2.1j)), frames_of(scan))
    torch.testing.assert_close(patches, turned, rtol=1e-3, atol=2e-3)
    lift = predict_look(None, ProbeOptics(scan.probe[None]), frames_of(scan))
    assert float((patches - lift).abs().detach().max()) > 0.01


def test_the_answer_turns_with_the_start(network, scan):
    optics = ProbeOptics(scan.probe[None])
    overlap = Overlap(torch.from_numpy(scan.corners_px)[None], 64)
    start, support = stitched_start(predict_look(None, optics, frames_of(scan)), overlap, optics)
    one = predict_look(network, optics, frames_of(scan), start, support)
    other = predict_look(network, optics, frames_of(scan), start * np.exp(0.7j), support)
    torch.testing.assert_close(one * np.exp(0.7j), other, rtol=1e-3, atol=2e-3)


def test_a_linear_phase_of_the_probe_leaves_the_planes(scan):
    axis = torch.arange(64) * (2 * torch.pi * 2 / 64)
    ramp = torch.polar(torch.ones(64, 64), axis[:, None] + axis[None] * 0)
    plain, tilted = ProbeOptics(scan.probe[None]).planes, ProbeOptics((scan.probe * ramp)[None]).planes
    inside = plain[:, :1] > 0.3
    torch.testing.assert_close(
        (plain * inside)[..., 2:-2, 2:-2], (tilted * inside)[..., 2:-2, 2:-2], rtol=0.05, atol=0.03
    )


def test_batch_split_and_groups(network, scan):
    model, images = Lift(scan.probe, network), scan.amplitude[:, None]
    parts = torch.cat([model.predict({"images": some}) for some in images.split(3)])
    torch.testing.assert_close(model.predict({"images": images}), parts, rtol=1e-4, atol=1e-4)
    where = torch.from_numpy(scan.positions_px[:4]).float()
    four = {"images": scan.amplitude[None, :4], "coords_relative": (where - where.mean(0))[None, :, None]}
    together = Lift(scan.probe, network).predict(four)
    assert together.shape == (1, 4, 64, 64)
    corners = torch.from_numpy(scan.corners_px[:4] - scan.corners_px[:4].min(0))
    second = predict_looks(network, ProbeOptics(scan.probe[None]), scan.amplitude[:4], Overlap(corners[None], 64), 2)[1]
    torch.testing.assert_close(together, second, rtol=1e-3, atol=1e-3)


def test_only_the_lit_square_is_corrected(network, scan):
    optics = ProbeOptics(scan.probe[None])
    assert optics.side_px < 64
    assert optics.side_px % 16 == 0
    assert optics.side_px == lit_side_px(optics.weight[0, 0])
    changed = predict_look(network, optics, frames_of(scan)) != predict_look(None, optics, frames_of(scan))
    low = 32 - optics.side_px // 2
    assert changed[..., low:-low, low:-low].any()
    changed[..., low:-low, low:-low] = False
    assert not changed.any()


def test_overlap_stitches_what_it_cut():
    corners = torch.tensor([[[0, 0], [3, 5]], [[1, 2], [2, 0]]])
    overlap = Overlap(corners, 8)
    canvas = torch.randn(2, *overlap.shape, dtype=torch.complex64)
    patches = overlap.cut(canvas).requires_grad_()
    weight = torch.rand(2, 1, 8, 8) + 0.5
    merged, total = overlap.stitch(patches, weight)
    laid = total > 0
    torch.testing.assert_close(merged[laid], canvas[laid], rtol=1e-4, atol=1e-4)
    assert (merged[~laid] == 1).all()
    torch.testing.assert_close(total.sum((1, 2)), 2 * weight.sum((1, 2, 3)))
    merged.abs().sum().backward()
    assert float(patches.grad.abs().min()) > 0


def test_saved_networks_answer_alike(network, scan, tmp_path):
    save_network(network, tmp_path / "n.pt", training={"steps": 3})
    group = {"images": scan.amplitude[:4, None]}
    want = Lift(scan.probe, network).predict(group)
    torch.testing.assert_close(Lift(scan.probe, load_network(tmp_path / "n.pt")).predict(group), want)


def test_half_precision_answers_nearly_alike(network, scan):
    group = {"images": scan.amplitude[:4, None]}
    want = Lift(scan.probe, network).predict(group)
    half = CorrectionNet(**network.architecture)
    half.load_state_dict(network.state_dict())
    got = Lift(scan.probe, half.bfloat16()).predict(group)
    assert got.dtype == torch.complex64
    assert float((got - want).abs().square().mean().sqrt()) < 0.02


def test_heldout_scores_read_the_truth():
    recipes = heldout_recipes()
    assert len({r.seed for r in recipes}) == len(recipes) == 30
    scan = simulate_scan(replace(recipes[0], frames=9))
    scores = score_scan(None, scan, looks=1)
    assert -1 <= scores[0]["correlation"] <= 1
    everything = torch.ones(scan.object.shape, dtype=torch.bool)
    assert phase_correlation(scan.object * np.exp(0.4j), scan.object, everything) == pytest.approx(1, abs=1e-3)
    assert set(summary(recipes[:1], [scores])["all"]) == {"correlation", "above_0.95", "rfactor"}
