"""The Python interface behaves as the command line: Ctrl-C, resumed runs, trained weights as a start, probes in any unit."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from ptychopinn import api
from ptychopinn.api import InferenceEngine, PtychoModel, Trainer, TrainingInterruptedError
from ptychopinn.config.mlflow_client import mlflow_client
from ptychopinn.training.watch import Metrics, Plan
from tests.support.training_scenes import experiment, small_configs


class _CtrlC:
    """A watcher that presses Ctrl-C after the first batch."""

    def begin(self, plan: Plan) -> None: ...

    def batch(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    def epoch(self, metrics: Metrics) -> None: ...

    def end(self) -> None: ...


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("framework", ["Default", "Lightning"])
def test_ctrl_c_leaves_a_checkpoint_and_the_run_goes_on(framework: str, tmp_path: Path) -> None:
    scan, uri = experiment(frames=9), str(tmp_path / "runs")
    configs = small_configs(tmp_path / "work", framework, training={"epochs": 1, "batch_size": 2})
    stopped = Trainer(configs, tracking_uri=uri, watchers=[_CtrlC()])
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(TrainingInterruptedError, match="resume it from"):
        stopped.fit([scan])
    assert signal.getsignal(signal.SIGINT) is before
    resumed = Trainer(configs, tracking_uri=uri)
    resumed.fit([scan], is_resumed=True)
    assert resumed.run_ids == stopped.run_ids
    client = mlflow_client(uri)
    run = client.get_run(resumed.run_ids[0])
    assert (run.info.status, run.data.tags["resumed"]) == ("FINISHED", "1")
    assert len(client.search_runs([run.info.experiment_id])) == 1  # no orphan


def test_a_trained_model_is_trained_on_with_all_its_weights(tmp_path: Path) -> None:
    scan = experiment(frames=9)
    configs = small_configs(tmp_path / "a", training={"epochs": 1})
    first = Trainer(configs).fit([scan])
    second = Trainer(configs.update(training_config={"output_dir": str(tmp_path / "b")})).fit([scan], start=first)
    assert second.bundle.provenance["started_from"] == first.bundle.sha256
    assert second.bundle.provenance["is_fine_tuned"] is False
    begun, ended = first.bundle.weights, second.bundle.weights
    moved = {name for name, value in begun.items() if not torch.equal(value, ended[name])}
    assert any("encoder" in name for name in moved)
    change = max(float((begun[name] - ended[name]).abs().max()) for name in begun)
    assert change < 0.1  # an epoch of small steps from there, not another beginning


def test_the_engine_takes_probes_in_any_unit(caplog: pytest.LogCaptureFixture) -> None:
    scan = experiment(frames=9)
    engine = InferenceEngine(PtychoModel.load(Path(api.__file__).parent / "model/bundles/lift.zip"))
    own = engine.predict_and_stitch(scan.amplitude, scan.positions_px, probe=scan.probe)
    assert not caplog.records
    foreign = engine.predict_and_stitch(scan.amplitude, scan.positions_px, probe=scan.probe * 1e3)
    assert "the probe was scaled to the brightest frame" in caplog.text
    assert foreign.rfactors[0] == pytest.approx(own.rfactors[0], rel=0.2)
    patches = engine.predict(scan.amplitude[:, None], probe=scan.probe * 1e3)
    assert 0.3 < np.abs(patches).mean() < 3


def test_errors_and_comparison_are_public() -> None:
    for name in ("ReconstructionError", "FileFormatError", "ConfigurationError", "TrainingInterruptedError", "compare"):
        assert name in api.__all__
        assert getattr(api, name).__name__ == name
    assert all(hasattr(api, name) for name in api.__all__)
