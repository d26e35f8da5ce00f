"""Tracked runs: what a store holds of a training, a fine-tuning beside it, and what becomes of those without mlflow."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from ptychopinn.api import ConfigManager, PtychoModel, Trainer
from ptychopinn.config import mlflow_client
from ptychopinn.errors import ConfigurationError, TrainingInterruptedError
from tests.support.training_scenes import StopAfter, experiment, same_weights, small_configs

SECTIONS = {"training": {"epochs": 1, "epochs_fine_tune": 1, "experiment_name": "stars", "notes": "a first try"}}


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_store_holds_all_of_a_training_and_its_fine_tuning(tmp_path: Path) -> None:
    uri = str(tmp_path / "runs")
    trainer = Trainer(small_configs(tmp_path / "work", **SECTIONS), tracking_uri=uri)
    model = trainer.fit([experiment(frames=16)])
    client = mlflow_client.mlflow_client(uri)
    first, second = (client.get_run(run_id) for run_id in trainer.run_ids)
    assert ConfigManager.from_mlflow(first.info.run_id, uri) == trainer.configs
    assert first.data.params["training_config.batch_size"] == "4"
    assert {name.split(".")[0] for name in first.data.params if "." in name} == set(trainer.configs.to_dict())
    assert {"train_loss", "val_loss", "learning_rate", "stage"} <= set(first.data.metrics)
    assert first.data.tags["stage"] == "training"
    assert first.data.tags["mlflow.note.content"] == "a first try"
    assert second.data.tags["stage"] == "fine-tuning"
    assert second.data.tags["fine_tune_of"] == first.info.run_id
    assert [run.info.status for run in (first, second)] == ["FINISHED", "FINISHED"]
    assert same_weights(PtychoModel.from_mlflow(second.info.run_id, uri), model)
    assert not same_weights(PtychoModel.from_mlflow(first.info.run_id, uri), model)
    found = client.search_runs([client.get_experiment_by_name("stars").experiment_id])
    assert len(found) == 2


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_stopped_training_is_marked(tmp_path: Path) -> None:
    uri = str(tmp_path / "runs")
    trainer = Trainer(small_configs(tmp_path / "work"), tracking_uri=uri, should_stop=StopAfter(1))
    with pytest.raises(TrainingInterruptedError):
        trainer.fit([experiment(frames=16)])
    assert mlflow_client.mlflow_client(uri).get_run(trainer.run_ids[0]).info.status == "FAILED"


def test_another_process_than_the_first_tracks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configs, scans = small_configs(tmp_path, training={"epochs": 1}), [experiment(frames=16)]
    Trainer(configs).fit(scans)  # builds the data set
    monkeypatch.setenv("LOCAL_RANK", "1")
    trainer = Trainer(configs, tracking_uri=str(tmp_path / "runs"))
    trainer.fit(scans)
    assert not trainer.run_ids
    assert not (tmp_path / "runs").exists()


def test_without_mlflow_only_tracking_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = importlib.import_module

    def missing(name: str, *rest: Any) -> Any:
        if name == "mlflow":
            raise ImportError(name)
        return known(name, *rest)

    monkeypatch.setattr(importlib, "import_module", missing)
    configs = small_configs(tmp_path, training={"epochs": 1})
    assert Trainer(configs).fit([experiment(frames=16)]).bundle.weights
    with pytest.raises(ConfigurationError, match=r"install ptycholive\[mlflow\]"):
        Trainer(configs, tracking_uri=str(tmp_path / "runs")).fit([experiment(frames=16)])


def test_without_lightning_one_process_trains_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ptychopinn.training import front

    monkeypatch.setattr(front, "find_spec", lambda name: None)
    trainer = Trainer(small_configs(tmp_path, "Lightning", training={"epochs": 1}))
    trainer.fit([experiment(frames=16)])
    assert (tmp_path / "best.pt").exists()
    assert not (tmp_path / "best.ckpt").exists()
    with pytest.raises(ConfigurationError, match=r"install ptycholive\[lightning\]"):
        Trainer(small_configs(tmp_path, "Lightning", training={"n_devices": 2}))


def test_another_orchestrator_tracks_nothing(tmp_path: Path) -> None:
    configs = small_configs(tmp_path, training={"epochs": 1, "orchestrator": "Lightning"})
    trainer = Trainer(configs, tracking_uri=str(tmp_path / "runs"))
    trainer.fit([experiment(frames=16)])
    assert not trainer.run_ids
    assert not (tmp_path / "runs").exists()
