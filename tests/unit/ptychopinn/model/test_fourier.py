"""The generator of the type FNO: a layer is exact for its frequencies; it is trained, stored and read back."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from ptychopinn.api import ConfigManager, InferenceEngine, PtychoModel
from ptychopinn.errors import ConfigurationError, ReconstructionError
from ptychopinn.model.cnn import Cnn, CnnOptions
from ptychopinn.model.fourier import SpectralLayer
from tests.support.training_scenes import experiment, fit, same_weights, small_configs

FNO = {"architecture": "fno", "fno_modes": 6, "fno_width": 8, "fno_blocks": 1}
SCAN = experiment(frames=16)


def test_a_layer_passes_its_frequencies_and_no_others() -> None:
    layer = SpectralLayer(1, 4)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[..., 0] = 1.0  # the unit matrix
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    turn = 2 * math.pi / 32
    low, high = torch.cos(turn * (3 * x - 2 * y)), torch.cos(turn * 5 * x)
    torch.testing.assert_close(layer((low + high)[None, None])[0, 0], low, atol=1e-5, rtol=0)


def test_it_is_trained_and_comes_back_from_its_bundle(tmp_path: Path) -> None:
    sections = {"model": FNO, "training": {"overlap_frames": 4, "batch_size": 2, "epochs": 3, "learning_rate": 3e-3}}
    configs = ConfigManager.from_dict({"data": {"grid_size": (1, 1)}, **small_sections(tmp_path, **sections)})
    model, trainer = fit(configs, SCAN)
    assert trainer.history[-1]["train_loss"] < 0.9 * trainer.history[0]["train_loss"]
    model.save(tmp_path / "m.zip")
    found = PtychoModel.load(tmp_path / "m.zip")
    assert (found.bundle.architecture, found.size_px) == ("fno", 64)
    assert same_weights(found, model)
    engine = InferenceEngine(found, device="cpu")
    picture = engine.predict_and_stitch(SCAN.amplitude, SCAN.positions_px, probe=SCAN.probe)
    assert picture.frames == 16
    assert picture.rfactors[-1] < 0.5
    tuned = trainer.finetune(found, [SCAN])
    encoder = [name for name in tuned.bundle.weights if ".encoder." in name]
    assert encoder
    assert all(torch.equal(tuned.bundle.weights[name], model.bundle.weights[name]) for name in encoder)
    assert not same_weights(tuned, model)


def small_sections(folder: Path, **sections: dict[str, object]) -> dict[str, dict[str, object]]:
    base = {name.removesuffix("_config"): part for name, part in small_configs(folder).to_dict().items()}
    model = {key: value for key, value in base["model"].items() if key != "n_filters_scale"}
    parts = {"data": base["data"], "model": model, "training": base["training"]}
    return {name: {**part, **sections.get(name, {})} for name, part in parts.items()}


@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_of_lightning_is_read(tmp_path: Path) -> None:
    sections = {"model": FNO, "training": {"framework": "Lightning", "epochs": 1, "batch_size": 8}}
    model, _ = fit(ConfigManager.from_dict(small_sections(tmp_path, **sections)), SCAN)
    found = PtychoModel.load(tmp_path / "last.ckpt")
    assert (found.bundle.architecture, found.bundle.options) == ("fno", model.bundle.options)
    assert same_weights(found, model)


def test_groups_of_four_and_cartesian_parts() -> None:
    images = torch.rand(2, 4, 64, 64)
    for output in ("polar", "cartesian"):
        options = CnnOptions(members=4, output=output, fourier_modes=5, fourier_width=8, fourier_blocks=1)  # type: ignore[arg-type]
        patches = Cnn(options)(images)
        assert (patches.shape, patches.dtype) == (images.shape, torch.complex64)
    assert "fourier_modes" not in Cnn(CnnOptions()).architecture


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"fno_modes": 8}, "ModelConfig.fno_modes is 8 but has no effect where architecture is cnn"),
        ({"architecture": "fno", "n_filters_scale": 1}, "ModelConfig.n_filters_scale is 1 but has no effect where"),
        ({"architecture": "fno", "fno_modes": 17}, "fno_modes is 17 but patterns of 64 px allow 16"),
    ],
)
def test_settings_of_another_generator_are_refused(model: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        ConfigManager.from_dict({"model": model})


def test_options_that_cannot_be_built_are_refused() -> None:
    with pytest.raises(ReconstructionError, match="17 modes are not within the N/4 = 16"):
        CnnOptions(fourier_modes=17)
