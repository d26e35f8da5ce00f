"""Batches of a stream as the source of a training: as they come, until the stream ends or all epochs are done."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import chain, islice

import torch

from ptychopinn.config.manager import ConfigManager
from ptychopinn.config.sections import DataConfig
from ptychopinn.data.dataset import GroupBatch
from ptychopinn.data.gather import CONSTANTS
from ptychopinn.data.store import ExperimentFacts
from ptychopinn.data.stream import StreamDataset
from ptychopinn.errors import ConfigurationError, GeometryError
from ptychopinn.physics.probe_units import photon_factor, unit_sentence
from ptychopinn.training.neighbourhood import neighbourhood_config
from ptychopinn.training.task import State, group_size, neighbourhood_frames

log = logging.getLogger(__name__)
EPOCH_GROUPS = 1024
"""Groups of an epoch of a stream, unless ``n_groups`` says otherwise: a line of the log in a minute or so."""
REACH_MARGIN = 1.5
"""Factor of the extent of the first groups, since later ones may be wider."""


def stream_config(configs: ConfigManager) -> DataConfig:
    """Return the configuration of a :class:`StreamDataset` that a training with these configurations takes."""
    frames = neighbourhood_frames(configs.training_config, configs.model_config)
    return neighbourhood_config(configs.data_config, frames) if frames else configs.data_config


class StreamStart:
    """The first groups of a stream, from which a network's initial weights and the size of its regions are set."""

    def __init__(self, batch: GroupBatch) -> None:
        self._batch = batch
        constants = {name: float(batch.group[name][0]) for name in CONSTANTS}
        self.facts: list[ExperimentFacts] = [
            {"name": "stream", "frames": 0, "groups": 0, "held_out": 0, "modes": batch.probe.shape[2], "has_truth": False,
             "constants": constants}
        ]  # fmt: skip

    def __len__(self) -> int:
        return len(self._batch.group)

    def __getitem__(self, index: slice) -> GroupBatch:
        """Return some of the groups."""
        group, probe, scaling = self._batch
        return GroupBatch(group[index], probe[index], scaling[index])

    def farthest_px(self) -> float:
        """Return a distance, along an axis, that members of later groups hardly exceed from their centre."""
        return REACH_MARGIN * float(self._batch.group["coords_relative"].abs().max())


class StreamSource:
    """The batches of a stream, on a device; each epoch takes the next ones. A probe in other units is brought to photons.

    Raises
    ------
    ConfigurationError
        If the groups of the stream are not those of the configurations.
    GeometryError
        If it has too few frames for a group.
    """

    def __init__(self, stream: StreamDataset, configs: ConfigManager, device: torch.device | str) -> None:
        training = configs.training_config
        wanted = group_size(configs.data_config, training, configs.model_config)
        if wanted != stream.config.C:
            raise ConfigurationError(
                f"the stream makes groups of {stream.config.C} frames but the configurations ask for {wanted}; "
                "make the StreamDataset with Trainer.stream_config"
            )
        if configs.model_config.mode == "Supervised":
            raise ConfigurationError("a stream has no truth, which mode Supervised needs; set mode to Unsupervised")
        self._device = device
        self._batches = max(1, (training.n_groups or EPOCH_GROUPS) // stream.batch_size)
        incoming = iter(stream)
        first = next(incoming, None)
        if first is None:
            raise GeometryError(f"the stream ended before it had a group of {wanted} frames; give more frames")
        frames = first.group["images"].flatten(0, 1)
        self._factor = photon_factor(stream.probe, frames)
        if self._factor != 1.0:
            log.warning("%s", unit_sentence(stream.probe, frames))
        self._incoming = map(self._in_photons, chain([first], incoming))
        self.start = StreamStart(self._in_photons(first))

    def _in_photons(self, batch: GroupBatch) -> GroupBatch:
        return GroupBatch(batch.group, batch.probe, batch.probe_scaling / self._factor)

    def __len__(self) -> int:
        return self._batches

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: a stream has one order."""

    def __iter__(self) -> Iterator[GroupBatch]:
        about = self.start.facts[0]
        for batch in islice(self._incoming, self._batches):
            about["groups"] += len(batch.group)
            about["frames"] = max(about["frames"], 1 + int(batch.group["nn_indices"].max()))
            yield batch.to(self._device)

    def state_dict(self) -> State:
        """Return nothing: a stream cannot be wound back."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Do nothing: a resumed training goes on with the batches that come."""
