"""Stages of a training (rms loss, blend, physics loss), and the learning rate over epochs.

The rms loss compares patterns scaled to an rms of 1 per pixel, so its gradients are large from the start; the physics loss
weighs pixels by their photons.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ptychopinn.config.sections import TrainingConfig

Ramp = Literal["linear", "cosine", "exponential"]
STEEPNESS = 5.0
"""Steepness of the exponential ramp: half of the weight comes in the last seventh."""
REFERENCE_BATCH = 16
"""Groups of a step for which learning rates are stated."""
EXPONENTIAL_GAMMA = 0.95
"""Factor of the learning rate after each epoch (scheduler Exponential)."""
WARMUP_START = 0.1
"""First factor of the learning rate in the warm-up."""


def ramp(progress: float, schedule: Ramp) -> float:
    """Return a weight from 0 to 1 for a ``progress`` from 0 to 1."""
    x = min(1.0, max(0.0, progress))
    if schedule == "cosine":
        return (1 - math.cos(math.pi * x)) / 2
    if schedule == "exponential":
        return math.expm1(STEEPNESS * x) / math.expm1(STEEPNESS)
    return x


@dataclass(frozen=True, slots=True)
class Stages:
    """Number of epochs of each stage; if all are 0, every epoch is in stage 3."""

    rms_epochs: int = 0
    blend_epochs: int = 0
    physics_epochs: int = 0
    schedule: Ramp = "cosine"
    fixed: tuple[int, float] | None = None
    """Stage and weight of every epoch, if they do not change."""

    @classmethod
    def of(cls, config: TrainingConfig) -> Stages:
        """Return the stages of a configuration."""
        return cls(config.stage_1_epochs, config.stage_2_epochs, config.stage_3_epochs, config.physics_weight_schedule)

    def epochs(self, otherwise: int) -> int:
        """Return the number of epochs of all stages, or ``otherwise`` if they have none."""
        return self.rms_epochs + self.blend_epochs + self.physics_epochs or otherwise

    def last(self) -> Stages:
        """Return stages whose every epoch is as the last one of these: that of fine-tuning and of the validation."""
        epochs = self.epochs(0)
        return Stages(fixed=self.get_current_stage_and_weight(epochs - 1) if epochs else (3, 1.0))

    def get_current_stage_and_weight(self, epoch: int) -> tuple[int, float]:
        """Return the stage, 1 to 3, and the weight of the physics loss, 0 to 1; epochs count from 0."""
        if self.fixed is not None:
            return self.fixed
        if epoch < self.rms_epochs:
            return 1, 0.0
        blended = epoch - self.rms_epochs
        if blended < self.blend_epochs:
            return 2, ramp((blended + 1) / (self.blend_epochs + 1), self.schedule)
        return 3, 1.0


def find_learning_rate(base: float, devices: int, batch_size: int, reference: int = REFERENCE_BATCH) -> float:
    """Return the learning rate for ``devices`` times ``batch_size`` groups in a step.

    It is ``base``, which holds for ``reference`` groups, times the square root of the ratio.
    """
    return base * math.sqrt(devices * batch_size / reference)


def rate_factor(config: TrainingConfig, epoch: int) -> float:
    """Return the factor of the learning rate in an epoch, for schedulers that depend only on the epoch."""
    stages = Stages.of(config)
    if config.scheduler == "Exponential":
        return EXPONENTIAL_GAMMA**epoch
    if config.scheduler == "WarmupCosine":
        return _warmup_cosine(config, epoch, stages.epochs(config.epochs))
    if config.scheduler == "MultiStage":
        stage, weight = stages.get_current_stage_and_weight(epoch)
        return config.stage_3_lr_factor if stage == 3 else 1 - weight * (1 - config.stage_3_lr_factor)
    return 1.0


def _warmup_cosine(config: TrainingConfig, epoch: int, epochs: int) -> float:
    warm = config.lr_warmup_epochs
    if epoch < warm:
        return WARMUP_START + (1 - WARMUP_START) * epoch / warm
    falling = ramp((epoch - warm) / max(1, epochs - warm - 1), "cosine")
    return 1 - falling * (1 - config.lr_min_ratio)
