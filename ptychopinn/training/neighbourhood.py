"""Training on neighbourhoods: the overlap-aware physics loss, for the lift and for a cnn of single frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ptychopinn.config.sections import DataConfig
from ptychopinn.data.dataset import GroupBatch
from ptychopinn.model.base import Network
from ptychopinn.model.cnn import Cnn
from ptychopinn.model.network import CorrectionNet
from ptychopinn.training.looks import predict_last_look
from ptychopinn.training.overlap_loss import CONTRAST_FLOOR, Neighbourhood, overlap_losses
from ptychopinn.training.task import BatchIndex, Task
from ptychopinn.training.truth_loss import truth_losses


def neighbourhood_config(data: DataConfig, frames: int) -> DataConfig:
    """Return the configuration of a data set whose groups are a frame and its nearest neighbours, ``frames`` in total.

    The whole scan is used unless bounds other than the default are set.
    """
    fresh, whole = DataConfig(), (0.0, 1.0)
    return replace(
        data,
        grid_size=(1, frames),
        K=max(1, frames - 1),
        neighbor_function="Nearest",
        n_subsample=1,
        x_bounds=whole if data.x_bounds == fresh.x_bounds else data.x_bounds,
        y_bounds=whole if data.y_bounds == fresh.y_bounds else data.y_bounds,
        phase_subtraction=False,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlapSettings:
    """Settings of the training on neighbourhoods.

    Parameters
    ----------
    agreement
        Weight of the agreement of patches with their stitched neighbours. The agreement is best without contrast: ten
        times this weight makes the pictures of weak samples flat.
    looks
        Shares of the steps that train the first look, the second look (lift only).
    is_supervised
        Whether the true object is used.
    seed
        Seed of the choice of looks.
    """

    agreement: float = 0.01
    looks: tuple[float, ...] = (0.6, 0.4)
    is_supervised: bool = False
    seed: int = 0


class OverlapTask(Task[GroupBatch]):
    """A network whose patches of a neighbourhood are stitched before they are compared with the patterns.

    Parameters
    ----------
    predict
        ``predict(batch, neighbourhood, looks)`` returns the patches ``(G, M, N, N)`` of the last look, with gradients.
    """

    def __init__(
        self, network: Network, predict: Callable[[GroupBatch, Neighbourhood, int], Tensor], settings: OverlapSettings
    ) -> None:
        self.network = network
        self._predict = predict
        self._settings = settings

    def loss(self, batch: GroupBatch, index: BatchIndex | None) -> dict[str, Tensor]:
        """Return the loss and its parts; in validation the mean over the numbers of looks."""
        group = batch.group
        probe = batch.probe[:, 0] / batch.probe_scaling
        seen = Neighbourhood.of(group["images"], group["coords_global"][:, :, 0], probe)
        possible = len(self._settings.looks)
        if index is None:
            parts = [self._loss_after(looks, batch, seen) for looks in range(1, possible + 1)]
            return {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}
        rng = np.random.default_rng((self._settings.seed, *index))
        return self._loss_after(1 + int(rng.choice(possible, p=self._settings.looks)), batch, seen)

    def _loss_after(self, looks: int, batch: GroupBatch, seen: Neighbourhood) -> dict[str, Tensor]:
        patches = self._predict(batch, seen, looks)
        if self._settings.is_supervised:
            truth = torch.polar(batch.group["label_amp"], batch.group["label_phase"])
            parts = truth_losses(patches, seen, seen.optics.lit(truth), CONTRAST_FLOOR)
        else:
            parts = overlap_losses(patches, seen)
        total = parts["physics"] + self._settings.agreement * parts["agreement"]
        return {"loss": total + parts.get("supervised", 0.0), **parts}

    def size(self, batch: GroupBatch) -> int:
        """Return the number of neighbourhoods of a batch."""
        return len(batch.group)


def lift_task(network: CorrectionNet, projections: int, settings: OverlapSettings) -> OverlapTask:
    """Return the training of the lift's network."""

    def predict(batch: GroupBatch, seen: Neighbourhood, looks: int) -> Tensor:
        del batch
        return predict_last_look(network, seen, looks, projections)

    return OverlapTask(network, predict, settings)


def scaled_frames(network: Cnn, batch: GroupBatch) -> Tensor:
    """Return the input of a cnn: single frames ``(B M, 1, N, N)``, or its groups ``(B, C, N, N)``."""
    images = batch.group["images"].clamp_min(0)
    factor = network.input_factor(batch.group["rms_scaling_constant"])
    if network.options.sees_counts:
        images, factor = images.square(), batch.group["rms_input_scale"]
    scaled: Tensor = images * factor
    if network.options.members == 1:
        scaled = scaled.flatten(0, 1)[:, None]
    return scaled.contiguous(memory_format=torch.channels_last)


def cnn_task(network: Cnn, settings: OverlapSettings) -> OverlapTask:
    """Return the training of a cnn of single frames on neighbourhoods.

    The agreement has weight 0: it is best for a network without contrast, and a new network would stay there.
    """

    def predict(batch: GroupBatch, seen: Neighbourhood, looks: int) -> Tensor:
        del seen, looks
        patches: Tensor = network(scaled_frames(network, batch))
        return patches.view(batch.group["images"].shape)

    return OverlapTask(network, predict, replace(settings, looks=(1.0,), agreement=0.0))
