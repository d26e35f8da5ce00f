r"""Losses of the ``cnn`` network: amplitude regime, count regime, smoothness, supervised.

Predictions and observations are ``(B, C, N, N)``; pixels without data (negative) are ignored. Poisson losses include
ln(k!), so that values of the two regimes are comparable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ptychopinn.data.dataset import GroupBatch
from ptychopinn.errors import ReconstructionError
from ptychopinn.model.cnn import TrainableCnn

RATE_FLOOR = 1e-8
"""Lowest expected count of a pixel in the Poisson loss; keeps ln(rate) finite."""
AMPLITUDE_LABEL_WEIGHT = 2.0
"""Weight of the amplitude in the supervised loss."""
PHASE_LABEL_WEIGHT = 4.0
"""Weight of the phase in the supervised loss: most samples show in the phase."""

Smoothness = Literal["Total_Variation", "Mean_Deviation"]


def _negative_log_poisson(rate: Tensor, counts: Tensor) -> Tensor:
    """Return rate - k ln(rate) + ln(k!) of each pixel; k may be fractional; 0 where k is negative (no data)."""
    known = counts.clamp_min(0)
    rate = rate.clamp_min(torch.finfo(rate.dtype).tiny)
    value = rate - torch.xlogy(known, rate) + torch.lgamma(known + 1)
    return torch.where(counts < 0, 0, value)


def amplitude_poisson_loss(predicted: Tensor, observed: Tensor, factor: Tensor) -> Tensor:
    """Return the Poisson loss of amplitudes.

    Rate and observation are the squares of the amplitudes times ``factor`` (the physics factor). The loss is summed over a
    group, averaged over the batch and divided by the mean observed amplitude.
    """
    rate, counts = (factor * predicted).square(), (factor * observed.clamp_min(0)).square()
    loss = _negative_log_poisson(rate, torch.where(observed < 0, -1.0, counts))
    return loss.sum((1, 2, 3)).mean() / _mean_observed(observed)


def amplitude_mae_loss(predicted: Tensor, observed: Tensor, factor: Tensor) -> Tensor:
    """Return the mean absolute difference of amplitudes times ``factor``, divided by the mean observed amplitude."""
    valid = observed >= 0
    misfit = torch.where(valid, (factor * (predicted - observed)).abs(), 0.0)
    return misfit.sum() / valid.sum() / _mean_observed(observed)


def _mean_observed(observed: Tensor) -> Tensor:
    valid = observed >= 0
    return torch.where(valid, observed, 0.0).sum() / valid.sum()


def count_poisson_loss(rate: Tensor, counts: Tensor, mean_measured_intensity: Tensor) -> Tensor:
    """Return the Poisson loss of counts, in float64.

    It is summed over a group, divided by ``mean_measured_intensity`` ``(B or 1, 1, 1, 1)``, the mean counts of a pixel in
    the scan, and averaged over the batch.
    """
    loss = _negative_log_poisson(rate.double().clamp_min(RATE_FLOOR), counts.double()).sum((1, 2, 3))
    return (loss / mean_measured_intensity.double().flatten()).mean()


def total_variation(image: Tensor) -> Tensor:
    """Return the sum of absolute differences of neighbouring pixels, mean over the batch."""
    rows = image.diff(dim=-2).abs().sum((1, 2, 3))
    columns = image.diff(dim=-1).abs().sum((1, 2, 3))
    return (rows + columns).mean()


def mean_deviation(image: Tensor) -> Tensor:
    """Return the sum of absolute differences from each image's mean, mean over the batch."""
    return (image - image.mean((-2, -1), keepdim=True)).abs().sum((1, 2, 3)).mean()


SMOOTHNESS = {"Total_Variation": total_variation, "Mean_Deviation": mean_deviation}


def supervised_loss(amplitude: Tensor, phase: Tensor, label_amp: Tensor, label_phase: Tensor) -> Tensor:
    """Return 2 sum |amplitude - label| + 4 sum |phase - label|."""
    misfit_amplitude = (amplitude - label_amp).abs().sum()
    misfit_phase = (phase - label_phase).abs().sum()
    return AMPLITUDE_LABEL_WEIGHT * misfit_amplitude + PHASE_LABEL_WEIGHT * misfit_phase


@dataclass(frozen=True, slots=True, kw_only=True)
class LossSettings:
    """Which loss is trained, and the weights of the smoothness terms of the two parts of the object."""

    loss_function: Literal["Poisson", "MAE"] = "Poisson"
    amp_loss: Smoothness | None = None
    phase_loss: Smoothness | None = None
    amp_loss_coeff: float = 1.0
    phase_loss_coeff: float = 1.0


def physics_loss(
    network: TrainableCnn, batch: GroupBatch, settings: LossSettings, physics_weight: float = 1.0
) -> Tensor:
    """Return the unsupervised loss of a batch, a differentiable scalar.

    Parameters
    ----------
    batch
        Its group has ``images (B, C, N, N)`` amplitudes, -1 = no data; ``coords_relative``, ``experiment_id``; the scaling
        constants of the regime, all ``(B, 1, 1, 1)``: ``rms_scaling_constant`` and ``physics_scaling_constant``, or
        ``rms_input_scale`` and ``mean_measured_intensity``. Its probe ``(B or 1, C or 1, modes, N, N)`` complex64 is
        normalised (:func:`ptychopinn.model.cnn_scaling.normalise_probe`); ``probe_scaling (B or 1, 1, 1, 1)`` is q.
    physics_weight
        Weight of the loss in physical units, 0 to 1; the rest compares patterns scaled by the rms constant
        (:mod:`ptychopinn.training.loss_stages`). Below 1 only in the amplitude regime.

    Raises
    ------
    ReconstructionError
        For MAE, or a physics weight below 1, in the count regime.
    """
    if network.physics.regime == "counts":
        loss, (first, second) = _count_loss(network, batch, settings, physics_weight)
    else:
        loss, (first, second) = _amplitude_loss(network, batch, settings, physics_weight)
    if settings.amp_loss is not None:
        loss = loss + settings.amp_loss_coeff * SMOOTHNESS[settings.amp_loss](first)
    if settings.phase_loss is not None:
        loss = loss + settings.phase_loss_coeff * SMOOTHNESS[settings.phase_loss](second)
    return loss


def _count_loss(
    network: TrainableCnn, batch: GroupBatch, settings: LossSettings, physics_weight: float
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Return the loss of the count regime and the two parts of the patches."""
    if settings.loss_function != "Poisson":
        raise ReconstructionError("the count regime is trained with the Poisson loss; set loss_function to Poisson")
    if physics_weight < 1:
        raise ReconstructionError("the count regime has one stage; set stage_1_epochs and stage_2_epochs to 0")
    group, images = batch.group, batch.group["images"]
    counts = torch.where(images < 0, -1.0, images.square())
    first, second = network.parts(counts.clamp_min(0) * group["rms_input_scale"])
    rate = _expected_counts(network, network.combine(first, second), batch)
    return count_poisson_loss(rate, counts, group["mean_measured_intensity"]), (first, second)


def _amplitude_loss(
    network: TrainableCnn, batch: GroupBatch, settings: LossSettings, physics_weight: float
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Return the loss of the amplitude regime and the two parts of the patches."""
    group, images = batch.group, batch.group["images"]
    factor = network.input_factor(group["rms_scaling_constant"])
    first, second = network.parts(images.clamp_min(0) * factor)
    patches = network.combine(first, second)
    predicted = network.forward_model.amplitude(
        patches, group["coords_relative"], batch.probe, factor, group["experiment_id"]
    )
    loss_of = amplitude_poisson_loss if settings.loss_function == "Poisson" else amplitude_mae_loss
    scales = {"physics_scaling_constant": physics_weight, "rms_scaling_constant": 1 - physics_weight}
    loss = sum(
        (w * loss_of(predicted, images, group[name]) for name, w in scales.items() if w > 0), images.new_zeros(())
    )
    return loss, (first, second)


def _expected_counts(network: TrainableCnn, patches: Tensor, batch: GroupBatch) -> Tensor:
    """Return the expected counts ``(B, C, N, N)`` of patches ``(B, C, N, N)``."""
    group = batch.group
    return network.forward_model.intensity(
        patches, group["coords_relative"], batch.probe, batch.probe_scaling, group["experiment_id"]
    )


def first_scale(network: TrainableCnn, batch: GroupBatch) -> float:
    """Return sqrt(mean counts / mean predicted counts) of a batch: the initial value of s1 and s2 (count regime)."""
    images = batch.group["images"].clamp_min(0)
    with torch.no_grad():
        patches = network.combine(*network.parts(images.square() * batch.group["rms_input_scale"]))
        rate = _expected_counts(network, patches, batch)
    return float((images.square().mean() / rate.mean()).sqrt())
