"""Fine-tuning of a cnn on the frames of running scans: encoder and batch statistics are frozen, the decoders are trained.

It is trained as in :mod:`ptychopinn.training.task`, on groups of four neighbouring frames whose patches are merged by |P|^2
as in the mosaic; a network for single frames gets the members one by one. The input is scaled as in
:meth:`ptychopinn.model.cnn.Cnn.predict`. The scale between patches and patterns is found once from the frames and then kept,
so that patches of a promoted network have the same brightness.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ptychopinn.config.manager import ConfigManager
from ptychopinn.config.sections import DataConfig, ModelConfig
from ptychopinn.data.dataset import GroupBatch
from ptychopinn.data.gather import ExperimentFrames, gather
from ptychopinn.errors import ConfigurationError
from ptychopinn.model.cnn import Cnn, TrainableCnn
from ptychopinn.model.cnn_config import physics_options
from ptychopinn.model.cnn_options import CnnOptions, PhysicsOptions
from ptychopinn.model.cnn_scaling import normalise_probe, soft_probe_mask
from ptychopinn.training.freeze import freeze_encoder, set_training
from ptychopinn.training.loss_stages import Stages
from ptychopinn.training.networks import with_physics
from ptychopinn.training.replay_buffer import Key, ReplayBuffer, ReplayFrame
from ptychopinn.training.task import GroupTask
from ptychopinn.training.tuner import FinetuneOptions, Tuner

MEMBERS = 4
"""Frames of a group, as in PtychoPINN's training of groups (2 x 2)."""
REACH = 0.5
"""Greatest distance of a member from the first of its group, as a share of the patch side."""
FARTHEST = 1.25 * REACH
"""Greatest distance of a member from the mean of its group that follows, as a share of the patch side."""
SCALE_GROUPS = 8
"""Number of groups from which the scale is found: 32 frames average their noise out."""


class CnnTuner(Tuner[TrainableCnn]):
    """Fine-tunes a cnn for one probe ``(modes, N, N)`` complex64 in photon units.

    Parameters
    ----------
    configs, scaling
        Those of the network's bundle.
    """

    def __init__(
        self,
        network: Cnn,
        probe: Tensor,
        buffer: ReplayBuffer,
        options: FinetuneOptions,
        *,
        configs: Mapping[str, Any],
        scaling: Mapping[str, Any],
    ) -> None:
        data, model = _stated(configs)
        self._physics = _physics(network.options, data, model, _datasets(scaling))
        self._model = replace(model, mode="Unsupervised", **_poisson(self._physics))
        self._scaling = scaling
        modes, q = normalise_probe(probe, self._physics.probe_scale, _mask(self._physics, probe))
        self._probe = modes[None, None]
        self._probe_factor = torch.full((1, 1, 1, 1), q, device=probe.device)
        super().__init__(with_physics(network, self._physics, scaling, MEMBERS), buffer, options)

    def use(self, network: Cnn) -> None:
        """Take another active network."""
        self._has_scale = False
        super().use(with_physics(network, self._physics, self._scaling, MEMBERS))

    def _copied(self, network: TrainableCnn) -> TrainableCnn:
        other = copy.deepcopy(network).to(self._probe.device)
        other.requires_grad_(True)
        other.eval()
        return other

    def _set_training(self, network: TrainableCnn) -> None:
        set_training(network, is_frozen=True)
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eval()
        network.use_acting_weights_only()
        freeze_encoder(network)
        network.forward_model.requires_grad_(False)

    def weights(self) -> Mapping[str, Tensor]:
        """Return the active network's weights, without its physics."""
        return self.active.without_physics().state_dict()

    def _loss(self) -> Tensor:
        self._find_scale()
        groups = max(1, self._options.frames // MEMBERS)
        batch = self._batch([self._buffer.neighbourhood(MEMBERS) for _ in range(groups)])
        return GroupTask(self.candidate, self._model, Stages()).loss(batch, None)["loss"]

    def _compared(self, network: TrainableCnn, key: Key) -> tuple[Tensor, Tensor]:
        self._find_scale()
        batch = self._batch([self._buffer.around(key, MEMBERS)])
        return _predicted(network, batch)[0, 0], batch.group["images"][0, 0]

    def _batch(self, groups: Sequence[Sequence[ReplayFrame]]) -> GroupBatch:
        """Return groups of frames, the first of each with the others that are near it."""
        frames = [frame for group in groups for frame in _near(group)]
        images = torch.from_numpy(np.stack([frame.amplitude for frame in frames]))
        where = torch.tensor([frame.position_px for frame in frames], dtype=torch.float64)
        numbers = torch.arange(len(frames))
        kept = ExperimentFrames(
            images=images, positions_px=where, start_px=where, scan_index=numbers, truth=None, constants={}
        )
        config = DataConfig(normalize="Group")
        group = gather(kept, numbers.view(-1, MEMBERS), 0, config, has_labels=False).to(self._probe.device)
        known = group["images"].clamp_min(0)
        counts = known.square()
        factor = self.active.factor_of(counts if self.active.options.sees_counts else known)
        group["rms_scaling_constant"] = group["rms_input_scale"] = factor.expand(len(known), -1, -1, -1)
        group["mean_measured_intensity"] = counts.mean((1, 2, 3), keepdim=True)
        return GroupBatch(group, self._probe, self._probe_factor)

    @torch.no_grad()
    def _find_scale(self) -> None:
        """Scale the patterns of the active network to the brightness of the frames; the candidate gets the same factor."""
        if self._has_scale:
            return
        self._has_scale = True
        batch = self._batch([self._buffer.neighbourhood(MEMBERS) for _ in range(SCALE_GROUPS)])
        found, measured = _predicted(self.active, batch), batch.group["images"]
        found = torch.where(measured < 0, 0.0, found)
        scale = (found * measured).sum() / found.square().sum()
        if torch.isfinite(scale) and scale > 0:
            for network in (self.active, self.candidate):
                network.forward_model.rescale(float(scale))


def _stated(configs: Mapping[str, Any]) -> tuple[DataConfig, ModelConfig]:
    """Return the configurations of the cnn's training; defaults if they cannot be read."""
    try:
        stated = ConfigManager.from_foreign(configs)
    except ConfigurationError:
        stated = ConfigManager()
    return stated.data_config, stated.model_config


def _physics(options: CnnOptions, data: DataConfig, model: ModelConfig, datasets: int) -> PhysicsOptions:
    regime: Literal["amplitude", "counts"] = "counts" if options.sees_counts else "amplitude"
    stated = physics_options(data, model)
    return replace(
        stated,
        regime=regime,
        object_big=True,
        patch_weighting="probe",
        max_neighbor_distance_px=2 * FARTHEST * options.size_px,
        datasets=datasets,
        amplitude_gain=stated.amplitude_gain if regime == "amplitude" else 1.0,
        has_trained_scale=regime == "amplitude",
    )


def _datasets(scaling: Mapping[str, Any]) -> int:
    """Return the number of scans with trained scales in a bundle."""
    scales = scaling.get("forward_model.alpha")
    return max(1, len(scales)) if isinstance(scales, list) else 1


def _poisson(physics: PhysicsOptions) -> dict[str, Any]:
    return {"loss_function": "Poisson"} if physics.regime == "counts" else {}


def _mask(physics: PhysicsOptions, probe: Tensor) -> Tensor | None:
    """Return the soft disk of the forward model, if it has one."""
    if not physics.has_probe_mask:
        return None
    return soft_probe_mask(probe.shape[-1], physics.probe_mask_sigma_px).to(probe.device)


def _near(group: Sequence[ReplayFrame]) -> list[ReplayFrame]:
    """Return ``MEMBERS`` frames: the first, those near it, and the first again in free places."""
    first = group[0]
    reach_px = REACH * first.amplitude.shape[0]
    near = [frame for frame in group if np.hypot(*np.subtract(frame.position_px, first.position_px)) <= reach_px]
    return (near + [first] * MEMBERS)[:MEMBERS]


def _predicted(network: TrainableCnn, batch: GroupBatch) -> Tensor:
    """Return the amplitudes ``(B, C, N, N)`` that a network predicts for groups."""
    group, model = batch.group, network.forward_model
    known, offsets, datasets = group["images"].clamp_min(0), group["coords_relative"], group["experiment_id"]
    if network.physics.regime == "counts":
        patches = network(known.square() * group["rms_input_scale"])
        return model.intensity(patches, offsets, batch.probe, batch.probe_scaling, datasets).sqrt()
    factor = network.input_factor(group["rms_scaling_constant"])
    return model.amplitude(network(known * factor), offsets, batch.probe, factor, datasets)
