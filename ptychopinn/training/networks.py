"""Tasks for training the network of a model, and models of trained networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from ptychopinn.config.manager import ConfigManager
from ptychopinn.data.dataset import GroupBatch
from ptychopinn.data.store import ExperimentFacts
from ptychopinn.errors import ConfigurationError
from ptychopinn.model.base import Network
from ptychopinn.model.bundle import Bundle
from ptychopinn.model.cnn import PHYSICS_PREFIX, Cnn, TrainableCnn
from ptychopinn.model.cnn_config import physics_options
from ptychopinn.model.cnn_options import PhysicsOptions
from ptychopinn.model.cnn_scaling import TINY
from ptychopinn.model.network import CorrectionNet
from ptychopinn.model.ptycho_model import PtychoModel
from ptychopinn.training.beginning import begin_empty
from ptychopinn.training.loss_stages import Stages
from ptychopinn.training.neighbourhood import OverlapSettings, cnn_task, lift_task, scaled_frames
from ptychopinn.training.task import GroupTask, Task, neighbourhood_frames

BEGINNING_GROUPS = 8
"""Number of groups, about, from which initial weights are set."""


class Groups(Protocol):
    """Groups from which initial weights and the size of the regions are set: a data set, or the start of a stream."""

    facts: list[ExperimentFacts]

    def __len__(self) -> int:
        """Return their number."""
        ...

    def __getitem__(self, index: slice, /) -> GroupBatch:
        """Return some of them."""
        ...

    def farthest_px(self) -> float:
        """Return the greatest distance, along an axis, of a member from its group's centre."""
        ...


def make_task(
    model: PtychoModel,
    configs: ConfigManager,
    dataset: Groups,
    *,
    is_new: bool = False,
    stages: Stages | None = None,
    reach_px: float = 0.0,
) -> Task[GroupBatch]:
    """Return the task of training a model's network on a data set; a new cnn gets its initial weights.

    Parameters
    ----------
    stages
        None: those of the configuration.
    reach_px
        Greatest distance of a member from its group's centre in other data sets that the task evaluates, px.

    Raises
    ------
    ConfigurationError
        If the configuration does not fit the network of the model, or its groups.
    """
    if model.bundle.architecture == CorrectionNet.architecture_name:
        return _lift_task(model, configs)
    return _cnn_task(
        model, configs, dataset, stages or Stages.of(configs.training_config), is_new=is_new, reach_px=reach_px
    )


def _overlap_settings(configs: ConfigManager) -> OverlapSettings:
    is_supervised = configs.model_config.mode == "Supervised"
    return OverlapSettings(is_supervised=is_supervised, seed=configs.training_config.seed)


def _lift_task(model: PtychoModel, configs: ConfigManager) -> Task[GroupBatch]:
    network = cast(CorrectionNet, model.network)
    return lift_task(network, model.bundle.projections, _overlap_settings(configs))


def _cnn_task(
    model: PtychoModel, configs: ConfigManager, dataset: Groups, stages: Stages, *, is_new: bool, reach_px: float
) -> Task[GroupBatch]:
    training, wanted, settings = configs.training_config, configs.model_config, _overlap_settings(configs)
    network = cast(Cnn, model.network)
    trainable = _with_physics(network, model, configs, dataset, reach_px)
    sees_groups = not neighbourhood_frames(training, wanted)
    if network.options.members > 1 and not sees_groups:
        raise ConfigurationError(
            f"the network takes groups of {network.options.members} frames but overlap_frames asks for single ones; "
            "set grid_size to (1, 1), or overlap_frames to 0"
        )
    if is_new:
        some = dataset[:: max(1, len(dataset) // BEGINNING_GROUPS)]
        has_own_units = sees_groups and not settings.is_supervised and trainable.physics.regime == "amplitude"
        empty = _empty_amplitude(trainable, some) if has_own_units else 1.0
        begin_empty(trainable, scaled_frames(trainable, some), training.seed, empty)
    if not sees_groups:
        return cnn_task(trainable, settings)
    return GroupTask(trainable, wanted if training.nll else replace(wanted, loss_function="MAE"), stages)


@torch.no_grad()
def _empty_amplitude(network: TrainableCnn, batch: GroupBatch) -> float:
    """Return the amplitude of an empty object whose patterns have as many photons as the measured ones."""
    group, model = batch.group, network.forward_model
    images, factor = group["images"].clamp_min(0), network.input_factor(group["rms_scaling_constant"])
    ones = torch.ones_like(images, dtype=torch.complex64)
    bare = model.amplitude(ones, group["coords_relative"], batch.probe, factor, group["experiment_id"])
    return float((images.square().sum() / bare.square().sum().clamp_min(TINY)).sqrt())


def _with_physics(
    network: Cnn, model: PtychoModel, configs: ConfigManager, dataset: Groups, reach_px: float
) -> TrainableCnn:
    """Return a cnn with the forward model of the configuration, with a region large enough for the groups of the data set."""
    data = configs.data_config
    options = network.options
    if (options.size_px, options.members) != (data.N, data.C):
        raise ConfigurationError(
            f"the network takes groups of {options.members} frames of {options.size_px} px but N is {data.N} and "
            f"grid_size {data.grid_size}; set them to fit"
        )
    physics = physics_options(data, configs.model_config)
    far = max(physics.max_neighbor_distance_px, 2 * dataset.farthest_px(), 2 * reach_px)
    physics = replace(physics, max_neighbor_distance_px=far, datasets=max(physics.datasets, len(dataset.facts)))
    return with_physics(network, physics, model.bundle.scaling)


def with_physics(
    network: Cnn, physics: PhysicsOptions, scaling: Mapping[str, Any], members: int | None = None
) -> TrainableCnn:
    """Return a cnn with a forward model for groups of ``members`` frames; None: as many as the network takes.

    Scales trained before (``scaling`` of a bundle) are the initial ones, if their number fits.
    """
    trainable = TrainableCnn(network.options, physics, members)
    trainable.input_scale_factor = network.input_scale_factor
    start = {name: value for name, value in trainable.state_dict().items() if name.startswith(PHYSICS_PREFIX)}
    known = {
        name: torch.tensor(value)
        for name, value in scaling.items()
        if name in start and isinstance(value, list) and len(value) == len(start[name])
    }
    trainable.load_state_dict({**start, **known, **network.state_dict()})
    return trainable


def trained_model(network: Network, of: PtychoModel, configs: ConfigManager, **facts: Any) -> PtychoModel:
    """Return the model of a trained network; ``facts`` become its provenance."""
    weights, scaling = network.without_physics().state_dict(), network.trained_scaling()
    plain: dict[str, Tensor] = {name: value.detach().cpu().clone() for name, value in weights.items()}
    sections = {name.removesuffix("_config"): part for name, part in configs.to_dict().items()}
    if network.uses_projections:
        sections["training"]["projections"] = of.bundle.projections
    bundle = Bundle(
        name=configs.training_config.model_name,
        architecture=of.bundle.architecture,
        options=of.bundle.options,
        weights=plain,
        configs=sections,
        scaling={**scaling, **_constants(facts)},
        provenance=facts,
    )
    return PtychoModel(bundle, of.path)


def _constants(facts: Mapping[str, Any]) -> dict[str, float]:
    """Return the scaling constants of the first experiment, which inference in the count regime uses."""
    experiments = facts.get("experiments", [])
    return dict(experiments[0]["constants"]) if experiments else {}
