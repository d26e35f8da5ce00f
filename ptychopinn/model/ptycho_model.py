"""A model of the Python API: new, from a bundle, a checkpoint or a tracked run; saved as a bundle."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptychopinn.config import legacy
from ptychopinn.config.manager import SECTIONS, ConfigManager
from ptychopinn.config.mlflow_client import mlflow_client, one_line
from ptychopinn.errors import ConfigurationError, FileFormatError, GeometryError
from ptychopinn.model import ARCHITECTURES, Model, Network
from ptychopinn.model.architectures import ForwardInputs
from ptychopinn.model.bundle import Bundle, build_network, model_for, read_model, write_bundle
from ptychopinn.model.cnn import Cnn
from ptychopinn.model.cnn_config import cnn_options
from ptychopinn.model.network import CorrectionNet, channels_last

PLACES = ("*.zip", "*.ckpt", "checkpoints/*.ckpt", "**/*.zip", "**/*.ckpt")
"""File patterns of models in a directory, in the order of search; of several files the newest is used."""


class PtychoModel:
    """A model, independent of a probe.

    Parameters
    ----------
    bundle
        Weights, architecture and provenance.
    path
        Its file, for error messages.
    """

    def __init__(self, bundle: Bundle, path: Path) -> None:
        self.bundle = bundle
        self.path = path
        self._network = build_network(bundle, path)

    @classmethod
    def new(cls, configs: ConfigManager | None = None, *, seed: int | None = None) -> PtychoModel:
        """Return an untrained model of ``ModelConfig.architecture``; the same seed gives the same weights.

        Parameters
        ----------
        seed
            None: ``TrainingConfig.seed``.
        """
        configs = configs or ConfigManager()
        legacy.update_params(configs)
        network: Network
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(configs.training_config.seed if seed is None else seed)
            if configs.model_config.architecture == "lift":
                network, name = channels_last(CorrectionNet()), "lift-correction"
            else:
                network, name = (
                    Cnn(cnn_options(configs.data_config, configs.model_config)),
                    configs.model_config.architecture,
                )
        title = configs.training_config.model_name
        bundle = Bundle(title, name, network.architecture, network.state_dict(), configs=_manifest_form(configs))
        return cls(bundle, Path(title))

    @classmethod
    def load(cls, path: Path | str) -> PtychoModel:
        """Return the model in a bundle, a Lightning checkpoint, a state_dict of PtychoPINN, or a directory with one.

        Raises
        ------
        FileFormatError
            If the file is missing, damaged, or of another kind.
        """
        path = _inside(Path(path))
        model = cls(read_model(path), path)
        configs = model.stated_configs()
        if configs is not None:
            legacy.update_params(configs)
        return model

    @classmethod
    def from_mlflow(cls, run_id: str, tracking_uri: str | None = None) -> PtychoModel:
        """Return the model among the artefacts of a tracked run.

        Raises
        ------
        ConfigurationError
            If mlflow is not installed, or there is no such run.
        FileFormatError
            If the run has no model that can be loaded safely.
        """
        client = mlflow_client(tracking_uri)
        with tempfile.TemporaryDirectory() as folder:
            try:
                names = _artefacts(client, run_id)
                name = next((n for end in (".zip", ".ckpt") for n in reversed(names) if n.endswith(end)), None)
                local = None if name is None else Path(client.download_artifacts(run_id, name, folder))
            except Exception as fault:  # whatever a tracking store raises
                raise ConfigurationError(f"mlflow run {run_id}: {one_line(fault)}") from fault
            if local is None:
                held = ", ".join(names) or "nothing"
                raise FileFormatError(
                    f"mlflow run {run_id}: has {held}, but no bundle (.zip) and no checkpoint (.ckpt)"
                )
            return cls.load(local)

    def save(self, path: Path | str) -> str:
        """Write the model as a bundle; return the SHA-256 of its weights."""
        bundle = replace(self.bundle, weights=self._network.state_dict())
        return write_bundle(Path(path), bundle)

    @property
    def network(self) -> Network:
        """The network; :meth:`save` writes its current weights."""
        return self._network

    @property
    def size_px(self) -> int | None:
        """Side N of the patterns that the network accepts; None: any."""
        return self._network.size_px

    @property
    def members(self) -> int:
        """Number of frames of a group that the network predicts together."""
        return self._network.members

    def stated_configs(self) -> ConfigManager | None:
        """Return the configurations of the model's training; None if they are unknown or of another program."""
        if self.size_px is None or not any(self.bundle.configs.values()):
            return None
        try:
            return ConfigManager.from_foreign(self.bundle.configs)
        except ConfigurationError:
            return None

    def for_probe(self, probe: Tensor) -> Model:
        """Return the model for a probe ``(modes, N, N)`` or ``(N, N)`` in photon units, on the device of the probe.

        Its patches are in photon units too: an empty object is 1, also if it was another number in the training.
        PtychoPINN's ``(B, C, modes, N, N)`` is accepted if all B * C probes are equal.

        Raises
        ------
        ProbeMismatchError
            If the network is for patterns of another size.
        """
        modes = one_probe(probe)
        return model_for(self._network, self.bundle, self.path, modes, gridsize=None)

    def forward_predict(self, images: Tensor, positions: Tensor, probe: Tensor, input_scale_factor: Tensor) -> Tensor:
        """Return patches ``(B, C, N, N)`` complex64 of ``images`` ``(B, C, N, N)``.

        For the lift ``images * input_scale_factor`` are amplitudes sqrt(counts), -1 = no data, in the probe's photon
        units; with ``positions`` ``(B, C, 1, 2)`` [y, x], pixels relative to the centre of the group, its members are
        stitched for a second look. A cnn uses neither positions nor probe; its patches have the scale of its training.
        """
        forward_predict = ARCHITECTURES[self.bundle.architecture].forward_predict
        inputs = ForwardInputs(images, positions, probe, input_scale_factor)
        return forward_predict(self._network, self.for_probe, inputs)


def one_probe(probe: Tensor) -> Tensor:
    """Return a probe as ``(modes, N, N)`` complex64."""
    modes = torch.as_tensor(probe, dtype=torch.complex64)
    if modes.ndim == 5:
        every = modes.flatten(0, 1)
        if not bool((every == every[:1]).all()):
            raise GeometryError(
                f"the batch has several probes (shape {tuple(modes.shape)}); predict the frames of each probe separately"
            )
        modes = every[0]
    modes = modes[None] if modes.ndim == 2 else modes
    if modes.ndim != 3 or modes.shape[1] != modes.shape[2]:
        raise GeometryError(f"the probe has shape {tuple(modes.shape)}; give (modes, N, N)")
    return modes


def _manifest_form(configs: ConfigManager) -> dict[str, Any]:
    return {name.removesuffix("_config"): part for name, part in configs.to_dict().items() if name in SECTIONS}


def _inside(path: Path) -> Path:
    """Return ``path``, or the newest model in it if it is a directory."""
    if not path.is_dir():
        return path
    for pattern in PLACES:
        found = sorted(path.glob(pattern), key=lambda file: file.stat().st_mtime)
        if found:
            return found[-1]
    raise FileFormatError(f"{path}: has neither a bundle (.zip) nor a checkpoint (.ckpt); give the directory of a run")


def _artefacts(client: Any, run_id: str, folder: str | None = None) -> list[str]:
    names: list[str] = []
    for found in client.list_artifacts(run_id, folder):
        names += _artefacts(client, run_id, found.path) if found.is_dir else [found.path]
    return names
