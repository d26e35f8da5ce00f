"""Optimiser, learning rate and gradient clipping of a training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from ptychopinn.config.sections import TrainingConfig
from ptychopinn.training.loss_stages import Stages, rate_factor

Scheduler = LambdaLR | ReduceLROnPlateau
PLATEAU = ("ReduceLROnPlateau", "Adaptive")
"""Schedulers that follow the validation loss."""
NORM_FLOOR = 1e-3
"""Lowest norm of a row of weights for adaptive clipping (agc), so that a row of zeros can still change."""
TINY_NORM = 1e-12
"""Lowest norm of a gradient that is divided by; avoids 0 / 0."""


class Course(Protocol):
    """How the weights are changed: optimiser, learning rate over time, gradient clipping."""

    @property
    def accum_steps(self) -> int:
        """Number of batches whose gradients make one step."""
        ...

    @property
    def patience(self) -> int | None:
        """Number of epochs without improvement that end the training; None: unlimited."""
        ...

    def make_optimiser(self, network: nn.Module) -> Optimizer:
        """Return the optimiser of the trainable weights."""
        ...

    def make_scheduler(self, optimiser: Optimizer) -> Scheduler | None:
        """Return the scheduler that is stepped after every epoch; None if the rate does not depend on the epoch."""
        ...

    def before_step(self, optimiser: Optimizer, steps_done: int) -> None:
        """Set the learning rate of the next step, if it depends on the step."""
        ...

    def clip_gradients(self, weights: Iterable[Tensor]) -> bool:
        """Clip the gradients; False if they are not finite, so that the loop skips the step."""
        ...

    def epoch_facts(self, epoch: int) -> dict[str, float]:
        """Return the numbers that describe an epoch in the log."""
        ...


class ConfiguredCourse:
    """The course that a :class:`TrainingConfig` describes: the rate changes after each epoch."""

    def __init__(self, config: TrainingConfig, rate: float, stages: Stages | None = None) -> None:
        self._config = config
        self._rate = rate
        self._stages = stages or Stages.of(config)
        self.accum_steps = config.accum_steps
        self.patience = config.early_stop_patience

    def make_optimiser(self, network: nn.Module) -> Optimizer:
        """Return the optimiser of the trainable weights."""
        return make_optimiser(network, self._config, self._rate)

    def make_scheduler(self, optimiser: Optimizer) -> Scheduler:
        """Return the scheduler that is stepped after every epoch."""
        return make_scheduler(optimiser, self._config)

    def before_step(self, optimiser: Optimizer, steps_done: int) -> None:
        """Do nothing: the rate changes only between epochs."""

    def clip_gradients(self, weights: Iterable[Tensor]) -> bool:
        """Clip the gradients; every step is taken."""
        clip_gradients(weights, self._config)
        return True

    def epoch_facts(self, epoch: int) -> dict[str, float]:
        """Return number, stage and physics weight of an epoch."""
        stage, weight = self._stages.get_current_stage_and_weight(epoch)
        return {"epoch": epoch, "stage": stage, "physics_weight": weight}


def make_optimiser(network: nn.Module, config: TrainingConfig, rate: float) -> Optimizer:
    """Return the optimiser of the trainable weights; ``fused`` updates all of them in one pass."""
    weights = [p for p in network.parameters() if p.requires_grad and p.numel()]
    if config.optimizer == "sgd":
        return torch.optim.SGD(weights, rate, momentum=config.momentum, weight_decay=config.weight_decay, fused=True)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    betas = (config.adam_beta1, config.adam_beta2)
    return kind(weights, rate, betas=betas, weight_decay=config.weight_decay, fused=True)


def make_scheduler(optimiser: Optimizer, config: TrainingConfig) -> Scheduler:
    """Return the scheduler that changes the learning rate after each epoch."""
    if config.scheduler in PLATEAU:
        return ReduceLROnPlateau(
            optimiser,
            factor=config.plateau_factor,
            patience=config.plateau_patience,
            min_lr=config.plateau_min_lr,
            threshold=config.plateau_threshold,
        )
    return LambdaLR(optimiser, lambda epoch: rate_factor(config, epoch))


def clip_gradients(weights: Iterable[Tensor], config: TrainingConfig) -> None:
    """Clip the gradients: their common norm (``norm``), each value (``value``), or the norm of each row relative to the
    norm of its weights (``agc``, adaptive gradient clipping).
    """
    bound = config.gradient_clip_val
    moved = [w for w in weights if w.grad is not None]
    if bound is None or not moved:
        return
    if config.gradient_clip_algorithm == "norm":
        nn.utils.clip_grad_norm_(moved, bound)
    elif config.gradient_clip_algorithm == "value":
        nn.utils.clip_grad_value_(moved, bound)
    else:
        for weight, gradient in _pairs(moved):
            largest = bound * _row_norm(weight.detach()).clamp_min(NORM_FLOOR)
            gradient.mul_((largest / _row_norm(gradient).clamp_min(TINY_NORM)).clamp_max(1.0))


def _pairs(parameters: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    for parameter in parameters:
        if parameter.grad is not None:
            yield parameter, parameter.grad


def _row_norm(value: Tensor) -> Tensor:
    """Return the norm over all axes except the first; the axes are kept."""
    axes = tuple(range(1, value.ndim))
    return torch.linalg.vector_norm(value, dim=axes, keepdim=True) if axes else value.abs()
