"""Tracking of runs with MLflow: configurations, metrics, tags, the model; only in the first process."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptychopinn.config.manager import ConfigManager
from ptychopinn.config.mlflow_client import mlflow_client, one_line
from ptychopinn.errors import ConfigurationError
from ptychopinn.model.ptycho_model import PtychoModel
from ptychopinn.training.watch import Metrics, Plan

PARENT_TAG = "mlflow.parentRunId"
VALUE_LENGTH = 500
"""Greatest length of a parameter that all versions of MLflow store."""


class TrackedRun:
    """A tracked run; a watcher of the training.

    Parameters
    ----------
    tracking_uri
        A directory or the address of a store.
    tags
        Further tags of the run.
    parent
        Identity of the run whose model is fine-tuned.
    resumed
        Identity of the run of the interrupted training, which goes on; a new one is started if it is gone.

    Raises
    ------
    ConfigurationError
        If mlflow is not installed, or the store refuses the run.
    """

    def __init__(
        self,
        tracking_uri: str,
        configs: ConfigManager,
        tags: Mapping[str, str],
        parent: str | None = None,
        *,
        resumed: str | None = None,
    ) -> None:
        self._uri = tracking_uri
        self._client: Any = mlflow_client(tracking_uri)
        training = configs.training_config
        if resumed is not None and self._goes_on(resumed):
            self.run_id: str = resumed
            return
        try:
            found = self._client.get_experiment_by_name(training.experiment_name)
            number = self._client.create_experiment(training.experiment_name) if found is None else found.experiment_id
            about = {**tags, "mlflow.note.content": training.notes, "model_name": training.model_name}
            about |= {} if parent is None else {PARENT_TAG: parent, "fine_tune_of": parent}
            run = self._client.create_run(number, tags=about, run_name=training.model_name)
            self.run_id = run.info.run_id
            if resumed is not None:
                self._client.set_tag(self.run_id, "resumed_from", resumed)
            self._log_parameters(configs)
        except Exception as fault:  # tracking stores raise errors of any kind
            raise ConfigurationError(
                f"the tracking store {tracking_uri} refused the run ({one_line(fault)})"
            ) from fault

    def _goes_on(self, run_id: str) -> bool:
        """Mark an interrupted run as running again; False if the store does not have it."""
        try:
            times = int(self._client.get_run(run_id).data.tags.get("resumed", 0))
            self._client.update_run(run_id, status="RUNNING")
            self._client.set_tag(run_id, "resumed", str(times + 1))
        except Exception:  # tracking stores raise errors of any kind
            return False
        return True

    def _log_parameters(self, configs: ConfigManager) -> None:
        """Log each section as a whole, to be read back, and each value, so that runs can be compared."""
        for name, text in configs.mlflow_parameters().items():
            self._client.log_param(self.run_id, name, text)
        for section, values in configs.to_dict().items():
            for name, value in values.items():
                self._client.log_param(self.run_id, f"{section}.{name}", str(value)[:VALUE_LENGTH])

    def begin(self, plan: Plan) -> None:
        """Log the number of epochs."""
        self._client.set_tag(self.run_id, "epochs", str(plan.epochs))

    def batch(self) -> None:
        """Do nothing."""

    def epoch(self, metrics: Metrics) -> None:
        """Log an epoch's metrics."""
        for name, value in metrics.items():
            self._client.log_metric(self.run_id, name, value, step=int(metrics["epoch"]))

    def end(self) -> None:
        """Do nothing: :meth:`finish` ends the run."""

    def finish(self, model: PtychoModel | None) -> None:
        """End the run: with its model as an artefact, or as failed if there is none."""
        if model is not None:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "model.zip"
                digest = model.save(file)
                self._client.log_artifact(self.run_id, str(file), "model")
                self._client.set_tag(self.run_id, "weights_sha256", digest)
        self._client.set_terminated(self.run_id, "FINISHED" if model is not None else "FAILED")
