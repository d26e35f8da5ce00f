"""Training on neighbourhoods: the overlap-aware physics loss, for the lift and for a cnn of single frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ptychopinn.config.sections import DataConfig
from ptychopinn.data.dataset import Batch
from ptychopinn.model.base import Network
from ptychopinn.model.cnn import Cnn
from ptychopinn.model.network import CorrectionNet, look, stitched_start
from ptychopinn.training.lift_training import losses as true_losses
from ptychopinn.training.overlap_loss import CONTRAST_FLOOR, Neighbourhood, overlap_losses
from ptychopinn.training.simulated_batches import Batch as TrueBatch
from ptychopinn.training.task import Moment


def neighbourhood_config(data: DataConfig, frames: int) -> DataConfig:
    """Return the configuration of a data set whose groups are each frame with its nearest neighbours, ``frames`` in all."""
    whole = (0.0, 1.0)
    return replace(
        data,
        grid_size=(1, frames),
        K=max(1, frames - 1),
        neighbor_function="Nearest",
        n_subsample=1,
        x_bounds=whole,
        y_bounds=whole,
        phase_subtraction=False,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlapSettings:
    """Weight of the agreement of patches with their stitched neighbours; shares of training of the first, second look
    (lift); whether the truth is learned from; seed of the choice of looks.

    Agreement is best without contrast: ten times its weight makes weak samples flat.
    """

    agreement: float = 0.01
    looks: tuple[float, ...] = (0.6, 0.4)
    is_supervised: bool = False
    seed: int = 0


class OverlapTask:
    """A network whose patches of a neighbourhood are stitched before they are compared with the patterns.

    Parameters
    ----------
    predict
        The patches ``(G, M, N, N)`` of a neighbourhood, the last of a number of looks with gradients.
    """

    def __init__(
        self, network: Network, predict: Callable[[Batch, Neighbourhood, int], Tensor], settings: OverlapSettings
    ) -> None:
        self.network = network
        self._predict = predict
        self._settings = settings

    def loss(self, batch: Batch, moment: Moment | None) -> dict[str, Tensor]:
        """Return the loss and its parts; that of the validation is the mean over the numbers of looks."""
        group = batch.group
        probe = batch.probe[:, 0] / batch.probe_scaling
        seen = Neighbourhood.of(group["images"], group["coords_global"][:, :, 0], probe)
        possible = len(self._settings.looks)
        if moment is None:
            parts = [self._of_look(batch, seen, looks) for looks in range(1, possible + 1)]
            return {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}
        rng = np.random.default_rng((self._settings.seed, *moment))
        return self._of_look(batch, seen, 1 + int(rng.choice(possible, p=self._settings.looks)))

    def _of_look(self, batch: Batch, seen: Neighbourhood, looks: int) -> dict[str, Tensor]:
        patches = self._predict(batch, seen, looks)
        if self._settings.is_supervised:
            truth = torch.polar(batch.group["label_amp"], batch.group["label_phase"])
            whole = TrueBatch(seen.amplitude, seen.optics.lit(truth), seen.optics, seen.overlap)
            parts = true_losses(patches, whole, CONTRAST_FLOOR)
        else:
            parts = overlap_losses(patches, seen)
        total = parts["physics"] + self._settings.agreement * parts["agreement"]
        return {"loss": total + parts.get("supervised", 0.0), **parts}

    def prepare(self, batch: Batch) -> None:
        """Do nothing: all scales are in the physics."""


def lift_task(network: CorrectionNet, projections: int, settings: OverlapSettings) -> OverlapTask:
    """Return the training of the lift's network."""

    def predict(batch: Batch, seen: Neighbourhood, looks: int) -> Tensor:
        del batch
        start: Tensor | None = None
        support: Tensor | None = None
        with torch.no_grad():
            for _ in range(looks - 1):
                patches = look(network, seen.optics, seen.amplitude, start, support, projections)
                start, support = stitched_start(patches, seen.overlap, seen.optics)
        return look(network, seen.optics, seen.amplitude, start, support, projections)

    return OverlapTask(network, predict, settings)


def scaled_frames(network: Cnn, batch: Batch) -> Tensor:
    """Return frames as the network takes them: one by one, ``(B M, 1, N, N)``, or in its groups ``(B, C, N, N)``."""
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

    Agreement has no weight: a network without contrast agrees best, and a new one would stay there.
    """

    def predict(batch: Batch, seen: Neighbourhood, looks: int) -> Tensor:
        del seen, looks
        patches: Tensor = network(scaled_frames(network, batch))
        return patches.view(batch.group["images"].shape)

    return OverlapTask(network, predict, replace(settings, looks=(1.0,), agreement=0.0))
