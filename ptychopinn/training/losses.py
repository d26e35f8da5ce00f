r"""Losses of the ``cnn`` network: amplitude regime, count regime, smoothness, supervised.

Predictions and observations are ``(B, C, N, N)``; pixels without data (negative) count nothing. Poisson losses include
ln(k!), so their value does not depend on the regime's units alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from tensordict import TensorDict
from torch import Tensor

from ptychopinn.errors import ReconstructionError
from ptychopinn.model.cnn import TrainableCnn

RATE_FLOOR = 1e-8
AMPLITUDE_LABEL_WEIGHT = 2.0
PHASE_LABEL_WEIGHT = 4.0

Smoothness = Literal["Total_Variation", "Mean_Deviation"]


def _negative_log_poisson(rate: Tensor, counts: Tensor) -> Tensor:
    """Return rate - k ln(rate) + ln(k!) of each pixel; k need not be whole; 0 where k is negative."""
    known = counts.clamp_min(0)
    rate = rate.clamp_min(torch.finfo(rate.dtype).tiny)
    value = rate - torch.xlogy(known, rate) + torch.lgamma(known + 1)
    return torch.where(counts < 0, 0, value)


def amplitude_poisson_loss(predicted: Tensor, observed: Tensor, factor: Tensor) -> Tensor:
    """Return the Poisson loss of amplitudes.

    Rate and observation are the squares of the amplitudes times ``factor`` (the physics factor); summed over a group, mean
    over the batch, divided by the mean observed amplitude.
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

    Summed over a group, divided by its scan's mean counts of a pixel ``(B or 1, 1, 1, 1)``, mean over the batch.
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
    """The loss of a training, and smoothness of either part of the object."""

    loss_function: Literal["Poisson", "MAE"] = "Poisson"
    amp_loss: Smoothness | None = None
    phase_loss: Smoothness | None = None
    amp_loss_coeff: float = 1.0
    phase_loss_coeff: float = 1.0


def physics_loss(
    network: TrainableCnn,
    group: TensorDict,
    probe: Tensor,
    probe_factor: Tensor,
    settings: LossSettings,
    physics_weight: float = 1.0,
) -> Tensor:
    """Return the unsupervised loss of a DiffractionGroup, differentiable.

    Parameters
    ----------
    group
        ``images (B, C, N, N)`` amplitudes, -1 = no data; ``coords_relative``, ``experiment_id``; the scaling constants of
        the regime: ``rms_scaling_constant`` and ``physics_scaling_constant``, or ``rms_input_scale`` and
        ``mean_measured_intensity``, all ``(B, 1, 1, 1)``.
    probe : (B or 1, C or 1, modes, N, N) complex64
        Normalised, see :func:`ptychopinn.model.cnn_scaling.normalise_probe`.
    probe_factor : (B or 1, 1, 1, 1)
        Its q; used in the count regime.
    physics_weight
        Below 1 the rest of the loss compares patterns scaled by the rms constant (:mod:`ptychopinn.training.loss_stages`); the
        amplitude regime has this.

    Raises
    ------
    ReconstructionError
        For MAE, or a physics weight below 1, in the count regime.
    """
    images, offsets, datasets = group["images"], group["coords_relative"], group["experiment_id"]
    model = network.forward_model
    if network.physics.regime == "counts":
        if settings.loss_function != "Poisson":
            raise ReconstructionError("the count regime is trained with the Poisson loss; set loss_function to Poisson")
        if physics_weight < 1:
            raise ReconstructionError("the count regime has one stage; set stage_1_epochs and stage_2_epochs to 0")
        counts = torch.where(images < 0, -1.0, images.square())
        first, second = network.parts(counts.clamp_min(0) * group["rms_input_scale"])
        rate = model.intensity(network.combine(first, second), offsets, probe, probe_factor, datasets)
        loss = count_poisson_loss(rate, counts, group["mean_measured_intensity"])
    else:
        factor = network.input_factor(group["rms_scaling_constant"])
        first, second = network.parts(images.clamp_min(0) * factor)
        predicted = model.amplitude(network.combine(first, second), offsets, probe, factor, datasets)
        of = amplitude_poisson_loss if settings.loss_function == "Poisson" else amplitude_mae_loss
        scales = {"physics_scaling_constant": physics_weight, "rms_scaling_constant": 1 - physics_weight}
        loss = sum(
            (w * of(predicted, images, group[name]) for name, w in scales.items() if w > 0), images.new_zeros(())
        )
    if settings.amp_loss is not None:
        loss = loss + settings.amp_loss_coeff * SMOOTHNESS[settings.amp_loss](first)
    if settings.phase_loss is not None:
        loss = loss + settings.phase_loss_coeff * SMOOTHNESS[settings.phase_loss](second)
    return loss


def first_scale(network: TrainableCnn, group: TensorDict, probe: Tensor, probe_factor: Tensor) -> float:
    """Return sqrt(mean counts / mean predicted counts) of a group: a first value of the count regime's s1 and s2."""
    images = group["images"].clamp_min(0)
    with torch.no_grad():
        patches = network.combine(*network.parts(images.square() * group["rms_input_scale"]))
        rate = network.forward_model.intensity(
            patches, group["coords_relative"], probe, probe_factor, group["experiment_id"]
        )
    return float((images.square().mean() / rate.mean()).sqrt())
