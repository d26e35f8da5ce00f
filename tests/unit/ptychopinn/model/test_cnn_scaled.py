"""A cnn whose object has a scale of its own is brought to photon units, frame by frame."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from ptychopinn.model.bundle import Bundle, build_network, model_for
from ptychopinn.model.cnn import Cnn, CnnOptions
from ptychopinn.model.cnn_scaled import ScaledCnn
from ptychopinn.model.network import CorrectionNet
from ptychopinn.physics.diffraction import expected_counts
from ptychopinn.simulate import Recipe, SimulatedScan, simulate_scan
from ptychopinn.tensor_dict import TensorDict
from ptychopinn.workflow.inference import reconstruct, single_group


@pytest.fixture(scope="module")
def scan() -> SimulatedScan:
    return simulate_scan(Recipe(size_px=64, frames=25, overlap_ratio=0.75, phase_rad=0.6, absorption=0.4, seed=5))


class TooBright(Cnn):
    """Answers with the true patches, 8 times too bright and turned by 0.3 rad."""

    def __init__(self, scan: SimulatedScan) -> None:
        super().__init__(CnnOptions(width_factor=1))
        corners = scan.true_corners_px.tolist()
        self.truth = torch.stack([scan.object[y : y + 64, x : x + 64] for y, x in corners])
        self._known = scan.amplitude

    def predict(self, group: TensorDict) -> Tensor:
        found = [int((self._known == image[0]).flatten(1).all(1).nonzero()[0, 0]) for image in group["images"]]
        return 8 * torch.polar(torch.ones(()), torch.tensor(0.3)) * self.truth[found][:, None]


def test_the_rfactor_of_a_free_scale_is_that_of_its_object(scan: SimulatedScan) -> None:
    network = TooBright(scan)
    free, bound = (
        reconstruct(model, scan.probe, scan.amplitude, scan.positions_px)
        for model in (network, ScaledCnn(network, scan.probe))
    )
    assert free.rfactors[0] > 5
    assert bound.rfactors[0] < 0.08  # photon noise
    patches = ScaledCnn(network, scan.probe).predict(single_group(scan.amplitude[:, None]))[:, 0]
    turned = torch.polar(torch.ones(()), torch.tensor(0.3)) * network.truth
    torch.testing.assert_close(patches, turned, rtol=0.02, atol=0)


def test_patterns_hold_the_photons_of_their_frames_where_these_have_data(scan: SimulatedScan) -> None:
    torch.manual_seed(2)
    images = scan.amplitude[:3, None].clone()
    images[1, 0, :20] = -1
    images[2] = 0
    model = ScaledCnn(Cnn(CnnOptions(width_factor=1)).eval(), scan.probe)
    patches = model.predict(single_group(images))
    counts = torch.where(images < 0, 0.0, expected_counts(scan.probe, patches)).sum((1, 2, 3))
    torch.testing.assert_close(counts, images.clamp_min(0).square().sum((1, 2, 3)), rtol=1e-4, atol=1e-4)
    assert torch.equal(patches[2], torch.zeros_like(patches[2]))
    alone = model.predict(single_group(images[1:2]))
    torch.testing.assert_close(alone[0], patches[1], rtol=1e-4, atol=1e-5)


def test_groups_stay_groups(scan: SimulatedScan) -> None:
    model = ScaledCnn(Cnn(CnnOptions(members=4, width_factor=1)).eval(), scan.probe)
    assert model.members == 4
    assert model.predict(single_group(scan.amplitude[:8].view(2, 4, 64, 64))).shape == (2, 4, 64, 64)


@pytest.mark.parametrize(
    ("configs", "is_free"),
    [
        ({}, True),
        ({"training": {"overlap_frames": 0}, "model": {"mode": "Unsupervised"}}, True),
        ({"training": {"overlap_frames": 6}}, False),
        ({"model": {"mode": "Supervised"}}, False),
    ],
)
def test_whose_scale_is_free(configs: dict[str, dict[str, object]], is_free: bool, scan: SimulatedScan) -> None:
    network = Cnn(CnnOptions(width_factor=1))
    bundle = Bundle("b", "cnn", network.architecture, network.state_dict(), configs=configs)
    model = model_for(build_network(bundle, Path("b")), bundle, Path("b"), scan.probe)
    assert isinstance(model, ScaledCnn) == is_free
    lift = CorrectionNet([8, 16], [1, 1])
    assert not Bundle("l", "lift-correction", lift.architecture, lift.state_dict(), configs=configs).has_own_scale


def test_the_count_regimes_trained_scales_act(scan: SimulatedScan) -> None:
    torch.manual_seed(3)
    network = Cnn(CnnOptions(output="cartesian", width_factor=1)).eval()
    scaling = {"forward_model.rect_scaler.s1": [1.0, 3.0], "forward_model.rect_scaler.s2": [0.5, 0.5]}
    bundle = Bundle("b", "cnn", network.architecture, network.state_dict(), scaling=scaling)
    group = single_group(scan.amplitude[:2, None])
    plain = network.predict(group)
    scaled = model_for(network, bundle, Path("b"), scan.probe).predict(group)
    assert bundle.part_scales == (2.0, 0.5)
    torch.testing.assert_close(scaled.imag / scaled.real, plain.imag / plain.real / 4, rtol=1e-3, atol=1e-4)
