"""Every form of the cnn gives the numbers of PtychoPINN's own network, and its checkpoints load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ptychopinn.errors import FileFormatError, GeometryError, ReconstructionError
from ptychopinn.model.checkpoint_import import import_checkpoint, load_cnn
from ptychopinn.model.cnn import Cnn, TrainableCnn
from ptychopinn.model.cnn_options import CnnOptions, PhysicsOptions
from tests.support.cnn_fill import filled, patterns, sampled
from tests.support.cnn_scenes import NETWORKS, PHYSICS, digest, upstream_configs

GOLDEN = json.loads((Path(__file__).parents[3] / "data" / "cnn_family_golden.json").read_text())["networks"]


def options(case: str) -> CnnOptions:
    return CnnOptions(**{"width_factor": 1, **NETWORKS[case]})


def made(case: str) -> TrainableCnn:
    net = TrainableCnn(options(case))
    net.load_state_dict(filled(net.state_dict()))
    return net.eval()


def check(case: str, net: Cnn) -> None:
    images = patterns(net.options.size_px, net.options.members)
    with torch.no_grad():
        patches = net.forward_predict(images, None, None, torch.full((2, 1, 1, 1), 0.7))
    wanted = np.array(GOLDEN[case]["values"])
    assert np.abs(wanted).max() > 0.03
    np.testing.assert_allclose(np.array(sampled(patches)[: len(wanted)]), wanted, atol=1e-5)


@pytest.mark.parametrize("case", NETWORKS)
def test_names_counts_and_outputs_are_upstreams(case: str):
    net = made(case)
    assert digest(net.state_dict()) == GOLDEN[case]["names"]
    assert sum(p.numel() for p in net.parameters()) == GOLDEN[case]["parameters"]
    check(case, net)


def test_switches_that_are_idle_change_no_result():
    wanted = GOLDEN["C 4"]["values"]
    for case in ("idle CBAM", "idle ECA", "idle spatial"):
        assert GOLDEN[case]["values"] == wanted
        assert GOLDEN[case]["parameters"] > GOLDEN["C 4"]["parameters"]


@pytest.mark.parametrize(
    ("size_px", "members", "width", "parameters"),
    [
        (64, 4, 2, 2_351_734),
        (64, 1, 2, 2_339_896),
        (128, 4, 2, 4_738_874),
        (128, 1, 2, 4_727_900),
        (128, 1, 1, 1_184_077),
        (256, 4, 1, 3_256_405),
    ],
)
def test_parameter_counts_are_the_published_ones(size_px: int, members: int, width: int, parameters: int):
    net = TrainableCnn(CnnOptions(size_px=size_px, members=members, width_factor=width))
    assert sum(p.numel() for p in net.parameters()) == parameters


@pytest.mark.parametrize("case", NETWORKS)
def test_a_lightning_checkpoint_becomes_the_network(case: str, tmp_path: Path):
    net = made(case)
    model, data = upstream_configs(NETWORKS[case], {}, {})
    content: dict[str, Any] = {"state_dict": {f"model.{k}": v for k, v in net.state_dict().items()}}
    content["hyper_parameters"] = {"model_config": model, "data_config": data, "generator_output": "amp_phase"}
    torch.save(content, tmp_path / "last.ckpt")
    found = load_cnn(tmp_path / "last.ckpt").network
    assert not found.training
    assert not found.options.sees_counts
    check(case, found)
    alone, scalars = import_checkpoint(tmp_path / "last.ckpt")
    assert set(scalars) == {f"forward_model.{n}" for n in ("alpha", "beta", "rect_scaler.s1", "rect_scaler.s2")}
    assert not any("forward_model" in name for name in alone.state_dict())
    check(case, alone)


@pytest.mark.parametrize("prefix", ["", "model."])
def test_a_bare_state_dict_says_what_its_shapes_say(prefix: str, tmp_path: Path):
    case = "shared, cartesian"
    torch.save({prefix + k: v for k, v in made(case).state_dict().items()}, tmp_path / "bare.pth")
    check(case, load_cnn(tmp_path / "bare.pth", output="cartesian").network)
    assert load_cnn(tmp_path / "bare.pth").network.options.output == "polar"
    network = TrainableCnn(options(case))
    network.load_state_dict(torch.load(tmp_path / "bare.pth", weights_only=True), strict=True)
    check(case, network.eval())


def test_physics_of_a_checkpoint_are_kept(tmp_path: Path):
    network, physics, loss, _ = PHYSICS["counts, probe weights, mask"]
    model, data = upstream_configs({**network, "width_factor": 1}, physics, loss)
    net = TrainableCnn(CnnOptions(width_factor=1, **network), PhysicsOptions(**physics))
    content = {
        "state_dict": {f"model.{k}": v for k, v in net.state_dict().items()},
        "hyper_parameters": {"model_config": model, "data_config": data},
        "ci_statistics": {"rms_input_scale": torch.tensor([0.25]), "mean_measured_intensity": 7.0},
    }
    torch.save(content, tmp_path / "counts.ckpt")
    found = load_cnn(tmp_path / "counts.ckpt")
    assert found.network.physics == PhysicsOptions(**{**physics, "object_big": True})
    assert found.network.options.sees_counts
    assert found.network.input_scale_factor == 0.25
    assert found.statistics is not None
    assert found.statistics.mean_measured_intensity == 7.0


def test_a_supervised_checkpoint_lacks_the_physics(tmp_path: Path):
    state = {k: v for k, v in made("C 1").state_dict().items() if not k.startswith("forward_model.")}
    torch.save({"state_dict": state}, tmp_path / "supervised.ckpt")
    check("C 1", load_cnn(tmp_path / "supervised.ckpt").network)


def test_what_is_no_checkpoint_is_refused_in_one_sentence(tmp_path: Path):
    state = made("C 1").state_dict()
    torch.save({"state_dict": {"other.weight": torch.ones(2)}}, tmp_path / "other.ckpt")
    torch.save({"state_dict": {"x": Path("code")}}, tmp_path / "objects.ckpt")
    torch.save(torch.ones(3), tmp_path / "tensor.ckpt")
    torch.save({k: v for k, v in state.items() if "decoder_phase.phase" not in k}, tmp_path / "part.ckpt")
    torch.save({**state, "autoencoder.extra": torch.ones(1)}, tmp_path / "more.ckpt")
    torch.save({k: v for k, v in state.items() if "encoder.blocks.2" not in k}, tmp_path / "short.ckpt")
    (tmp_path / "text.ckpt").write_text("text")
    for name, words in (
        ("other.ckpt", "autoencoder.*is missing"),
        ("objects.ckpt", "is not loaded"),
        ("tensor.ckpt", "has no state_dict"),
        ("part.ckpt", "Missing key"),
        ("more.ckpt", "Unexpected key"),
        ("short.ckpt", "of an unknown form"),
        ("text.ckpt", "is not loaded"),
        ("none.ckpt", "no such file"),
    ):
        with pytest.raises(FileFormatError, match=words) as caught:
            load_cnn(tmp_path / name)
        assert "\n" not in str(caught.value)


def group(images: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"images": images}


@pytest.mark.parametrize("case", ["C 4", "C 1", "cartesian"])
def test_predict_does_not_depend_on_the_batch(case: str):
    net = made(case)
    images = torch.cat((5 * patterns(64, 4), 40 * patterns(64, 4)))
    images[:, :, 5, 5] = -1.0
    together = net.predict(group(images))
    assert together.shape == images.shape
    assert together.dtype == torch.complex64
    for one, patches in zip(images, together, strict=True):
        torch.testing.assert_close(net.predict(group(one[None]))[0], patches, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(net.predict(group(images.clamp_min(0))), together)


def test_predict_scales_amplitudes_or_counts():
    for case in ("C 1", "cartesian"):
        net = made(case)
        images = 5 * patterns(64, net.options.members)
        seen = images.square() if net.options.sees_counts else images
        net.input_scale_factor = 0.3
        with torch.no_grad():
            torch.testing.assert_close(net.predict(group(images)), net(0.3 * seen))


def test_a_single_frame_for_a_network_of_four_and_four_for_one_of_singles():
    images = 5 * patterns(64, 4)
    four, one = made("C 4"), made("C 1")
    torch.testing.assert_close(
        four.predict(group(images[:, :1])), four.predict(group(images[:, :1].expand(-1, 4, -1, -1)))[:, :1]
    )
    singles = one.predict(group(images.flatten(0, 1)[:, None]))
    torch.testing.assert_close(one.predict(group(images)), singles.view(images.shape))


def test_frames_that_do_not_fit_are_refused():
    with pytest.raises(GeometryError, match="32 x 64 px"):
        made("C 1").predict(group(torch.ones(1, 1, 32, 64)))
    with pytest.raises(GeometryError, match="groups of 2"):
        made("C 4").predict(group(torch.ones(1, 2, 64, 64)))


def test_options_that_do_not_fit_are_refused():
    with pytest.raises(ReconstructionError, match="64, 128 or 256 px, not 96"):
        CnnOptions(size_px=96)
    with pytest.raises(ReconstructionError, match="not 3"):
        CnnOptions(members=3)
    with pytest.raises(ReconstructionError, match='"cartesian"'):
        TrainableCnn(CnnOptions(), PhysicsOptions(regime="counts"))
    with pytest.raises(ReconstructionError, match="amplitude_gain"):
        TrainableCnn(CnnOptions(output="cartesian"), PhysicsOptions(regime="counts", amplitude_gain=2.0))


def test_without_physics_shares_the_weights():
    net = made("C 1")
    alone = net.without_physics()
    assert not alone.training
    assert alone.architecture == net.architecture
    assert all(
        value is net.state_dict(keep_vars=True)[name] for name, value in alone.state_dict(keep_vars=True).items()
    )
