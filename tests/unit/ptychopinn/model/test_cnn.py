"""The cnn family gives the numbers of PtychoPINN's own network, from its own checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ptychopinn.errors import FileFormatError, ReconstructionError
from ptychopinn.model.checkpoint_import import import_checkpoint
from ptychopinn.model.cnn import Cnn, CnnOptions
from ptychopinn.mosaic.groups import GroupBuilder, GroupFrame
from tests.support.cnn_fill import CASES, filled, patterns, sampled

GOLDEN = json.loads((Path(__file__).parents[3] / "data" / "cnn_golden.json").read_text())


def network(case: str) -> Cnn:
    net = Cnn(CnnOptions(**{"width_factor": 1, **CASES[case]}))
    net.load_state_dict(filled(net.state_dict()))
    return net.eval()


@pytest.mark.parametrize("case", CASES)
def test_names_and_outputs_are_upstreams(case: str):
    net = network(case)
    assert sorted(net.state_dict()) == GOLDEN[case]["names"]
    images = patterns(net.options.size_px, net.options.members)
    with torch.no_grad():
        patches = net.forward_predict(images, images, images, torch.full((len(images), 1, 1, 1), 0.7))
    found, wanted = np.array(sampled(patches)), np.array(GOLDEN[case]["values"])
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(found, wanted, atol=1e-5 * max(1.0, np.abs(wanted).max()))


@pytest.mark.parametrize(
    ("size_px", "members", "parameters"),
    [(64, 4, 2_351_734), (64, 1, 2_339_896), (128, 4, 4_738_874), (128, 1, 4_727_900)],
)
def test_parameter_counts_are_the_published_ones(size_px: int, members: int, parameters: int):
    net = Cnn(CnnOptions(size_px=size_px, members=members))
    assert sum(p.numel() for p in net.parameters()) == parameters - 4  # four scalars belong to the physics


@pytest.mark.parametrize("holder", ["state_dict", "model_state_dict", None])
@pytest.mark.parametrize(
    "wrapped",
    ["{}", "module.{}", "_orig_mod.{}", "module._orig_mod.{}", "model._orig_mod.{}", "model.module.{}", "inner"],
)
def test_names_of_wrappers_are_taken_off(wrapped: str, holder: str | None, tmp_path: Path):
    state = network("64 px, C 1, cartesian").state_dict()
    named = {
        name.replace("encoder.", "encoder._orig_mod.") if wrapped == "inner" else wrapped.format(name): value
        for name, value in state.items()
    }
    named["n_averaged"] = torch.tensor(3)
    torch.save(named if holder is None else {holder: named, "epoch": 3}, tmp_path / "last.pth")
    found, _ = import_checkpoint(tmp_path / "last.pth", "cartesian")
    for name, value in found.state_dict().items():
        assert torch.equal(value, state[name])


def test_weights_that_are_there_twice_are_refused(tmp_path: Path):
    state = network("64 px, C 1, cartesian").state_dict()
    torch.save({**state, **{f"module.{name}": value for name, value in state.items()}}, tmp_path / "twice.pth")
    with pytest.raises(FileFormatError, match="twice, with and without a wrapper"):
        import_checkpoint(tmp_path / "twice.pth")


@pytest.mark.parametrize("case", ["64 px, C 4, batch norm", "64 px, C 1, cartesian"])
def test_a_lightning_checkpoint_becomes_the_network(case: str, tmp_path: Path):
    net = network(case)
    state = {f"model.{name}": value for name, value in net.state_dict().items()}
    state["model.forward_model.alpha"] = torch.ones(1)
    mode = "real_imag" if net.options.output == "cartesian" else "amp_phase"
    content = {"state_dict": state, "hyper_parameters": {"model_config": {"cnn_output_mode": mode}}}
    torch.save(content, tmp_path / "last.ckpt")
    found, scalars = import_checkpoint(tmp_path / "last.ckpt")
    assert found.options == net.options
    assert scalars == {"forward_model.alpha": [1.0]}
    images = patterns(64, net.options.members)
    with torch.no_grad():
        assert torch.equal(found(images), net(images))


def test_what_is_no_checkpoint_is_refused_in_one_sentence(tmp_path: Path):
    torch.save({"state_dict": {"other.weight": torch.ones(2)}}, tmp_path / "other.ckpt")
    torch.save({"state_dict": {"x": Path("code")}}, tmp_path / "objects.ckpt")
    (tmp_path / "text.ckpt").write_text("text")
    for name, words in (
        ("other.ckpt", "autoencoder.*is missing"),
        ("objects.ckpt", "is not loaded"),
        ("text.ckpt", "is not loaded"),
        ("none.ckpt", "no such file"),
    ):
        with pytest.raises(FileFormatError, match=words) as caught:
            import_checkpoint(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_only_the_sizes_of_the_family():
    with pytest.raises(ReconstructionError, match="64, 128 or 256 px, not 96"):
        CnnOptions(size_px=96)


def test_predict_takes_a_group_and_holes_count_as_dark():
    net = network("64 px, C 4")
    amplitude = 10 * patterns(64, 4)[0].numpy()
    frames = [GroupFrame(i, a, (float(i % 2) * 8, float(i // 2) * 8)) for i, a in enumerate(amplitude)]
    groups = [g for g in GroupBuilder(2, 32.0, torch.device("cpu")).add(frames) if g["images"].shape[1] == 4]
    patches = net.predict(groups[0])
    assert patches.shape == (len(groups[0]), 4, 64, 64)
    holed, dark = groups[0].clone(), groups[0].clone()
    holed["images"][..., 5, 5] = -1.0
    dark["images"][..., 5, 5] = 0.0
    assert torch.equal(net.predict(holed), net.predict(dark))
