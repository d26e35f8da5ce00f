"""One's own ``lightning.Trainer`` trains the module on the data module to the weights of our trainer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer as LightningTrainer
from lightning.pytorch.callbacks import ModelCheckpoint

from ptychopinn.api import PtychoDataModule, PtychoLightningModule, PtychoModel
from ptychopinn.errors import ConfigurationError
from tests.support.training_scenes import experiment, fit, same_weights, small_configs

SCAN = experiment(frames=16)
TRAINING = {"epochs": 1, "scheduler": "WarmupCosine", "gradient_clip_val": 1.0, "batch_size": 8, "num_workers": 0}


def own_trainer(folder: Path, **options: object) -> LightningTrainer:
    return LightningTrainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=folder, num_sanity_val_steps=0, **options,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_ones_own_trainer_gives_the_same_weights(tmp_path: Path) -> None:
    ours, trainer = fit(small_configs(tmp_path / "ours", training=TRAINING), SCAN)
    configs = small_configs(tmp_path / "own", training=TRAINING)
    module, data = PtychoLightningModule(configs), PtychoDataModule(configs, [SCAN])
    own = own_trainer(tmp_path, max_epochs=1, callbacks=[ModelCheckpoint(tmp_path, "kept")])
    own.fit(module, data)
    found = module.trained_model()
    assert same_weights(found, ours)
    assert float(own.callback_metrics["val_loss"]) == pytest.approx(trainer.history[-1]["val_loss"], rel=1e-6)
    assert found.bundle.provenance["trained_on"] == ["one"]
    kept = PtychoModel.load(tmp_path / "kept.ckpt").bundle.weights
    assert all(torch.equal(kept[name], weight) for name, weight in found.bundle.weights.items())
    found.save(tmp_path / "m.zip")
    assert same_weights(PtychoModel.load(tmp_path / "m.zip"), found)


@pytest.mark.filterwarnings("ignore")
def test_a_module_without_its_data_module_says_so(tmp_path: Path) -> None:
    module = PtychoLightningModule(small_configs(tmp_path))
    with pytest.raises(ConfigurationError, match=r"give fit a PtychoDataModule too: fit\(module, data\)"):
        own_trainer(tmp_path, max_epochs=1).fit(module, [])
