"""Reconstructors that run the command: the lift, whose shipped network needs no training, and the cnn, which does."""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ptychodus.api.io import StandardFileLayout
from ptychodus.api.product import LossValue
from ptychodus.api.reconstruct import ReconstructInput, ReconstructOutput, TrainableReconstructor, TrainOutput

from ptycholive_ptychodus.command import run
from ptycholive_ptychodus.exchange import with_result, write_scan
from ptycholive_ptychodus.settings import PtycholiveSettings

logger = logging.getLogger("ptycholive")
MODEL_NAME = "model.zip"


class BatchReconstructor(TrainableReconstructor):
    """Predicts, stitches and refines a whole scan.

    Parameters
    ----------
    shipped
        Name of the bundle used while none is loaded; empty: one must be loaded or trained.
    """

    def __init__(self, name: str, shipped: str, settings: PtycholiveSettings) -> None:
        self._name, self._shipped, self._settings = name, shipped, settings
        self._model: Path | None = None

    @property
    def name(self) -> str:
        """The name in lists and, after the library's, in settings."""
        return self._name

    def get_progress_goal(self) -> int:
        """Return the steps of a reconstruction."""
        return 1

    def reconstruct(self, parameters: ReconstructInput) -> Iterator[ReconstructOutput]:
        """Yield the product of the whole scan."""
        settings = self._settings
        with tempfile.TemporaryDirectory(prefix="ptycholive-") as folder:
            scan, product = Path(folder) / "scan.npz", Path(folder) / StandardFileLayout.PRODUCT
            write_scan(scan, parameters)
            options = ["--bundle", self._bundle(), "--looks", settings.looks.get_value()]
            options += ["--sweeps", settings.sweeps.get_value(), "--output", product, "--json"]
            (done,) = run(settings.command.get_value(), "predict", scan, *options)
            logger.info("%d frames, R-factor %.4f, model %s", done["frames"], done["rfactor"], done["model"])
            yield ReconstructOutput(product=with_result(parameters.product, product), progress=1)

    def is_model_loaded(self) -> bool:
        """Whether a reconstruction can begin."""
        return bool(self._shipped) or self._model is not None

    def get_model_file_filter(self) -> str:
        """Return which files a dialogue shows."""
        return "Ptycholive Bundles and PtychoPINN Checkpoints (*.zip *.ckpt)"

    def get_model_file_extension(self) -> str:
        """Return the ending of saved models."""
        return ".zip"

    def load_model_from_file(self, file_path: Path) -> None:
        """Take a bundle, or a checkpoint of PtychoPINN; it is read when it is used."""
        if not file_path.is_file():
            raise FileNotFoundError(f"{file_path}: there is no such file; give a bundle or a checkpoint")
        self._model = file_path

    def save_model(self, file_path: Path) -> None:
        """Copy the model in use to a file."""
        run(self._settings.command.get_value(), "model", "export", self._bundle(), file_path)

    def get_training_data_file_filter(self) -> str:
        """Return which files a dialogue shows."""
        return "NumPy Zipped Archive (*.npz)"

    def export_training_data(self, file_path: Path, parameters: ReconstructInput) -> None:
        """Write a training file."""
        write_scan(file_path, parameters)

    def train(self, input_path: Path, output_path: Path) -> Iterator[TrainOutput]:
        """Train on the files in a directory; the model is used from then on.

        The lift's network is fine-tuned from the model in use, the cnn is trained from its beginning.
        """
        files = [input_path] if input_path.is_file() else sorted(input_path.glob("*.npz"))
        if not files and (input_path / StandardFileLayout.DIFFRACTION).is_file():
            files = [input_path / StandardFileLayout.DIFFRACTION]
        if not files:
            raise FileNotFoundError(f"{input_path}: holds no training file (NPZ); export training data there first")
        output_path.mkdir(parents=True, exist_ok=True)
        target = output_path / MODEL_NAME
        what = ["finetune", self._bundle()] if self._shipped else ["train"]
        settings = self._settings
        options = ["--output", target, "--json"]
        for setting in (
            f"training.epochs={settings.epochs.get_value()}",
            *settings.training_settings.get_value().split(),
        ):
            options += ["--set", setting]
        done = run(settings.command.get_value(), *what, *files, *options)
        self._model = target
        yield TrainOutput(
            training_loss=_losses(done, "training_loss"),
            validation_loss=_losses(done, "validation_loss"),
            progress=1,
        )

    def _bundle(self) -> str:
        if self._model is None and not self._shipped:
            raise RuntimeError(f"{self._name} has no model; load or train one")
        return str(self._model or self._shipped)


def _losses(done: Any, key: str) -> list[LossValue]:
    values = done.get(key) if isinstance(done, dict) else None
    return [LossValue(epoch=epoch, value=float(value)) for epoch, value in enumerate(values or [])]
