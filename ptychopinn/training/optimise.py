"""Optimiser, course of the learning rate, and the gradient's bound."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from ptychopinn.config.sections import TrainingConfig
from ptychopinn.training.loss_stages import rate_factor

Scheduler = LambdaLR | ReduceLROnPlateau
PLATEAU = ("ReduceLROnPlateau", "Adaptive")
"""Schedulers that follow the validation loss."""
NORM_FLOOR = 1e-3


def make_optimiser(network: nn.Module, config: TrainingConfig, rate: float) -> Optimizer:
    """Return the optimiser of the weights that are trained, fused into one pass over them."""
    weights = [p for p in network.parameters() if p.requires_grad and p.numel()]
    if config.optimizer == "sgd":
        return torch.optim.SGD(weights, rate, momentum=config.momentum, weight_decay=config.weight_decay, fused=True)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    betas = (config.adam_beta1, config.adam_beta2)
    return kind(weights, rate, betas=betas, weight_decay=config.weight_decay, fused=True)


def make_scheduler(optimiser: Optimizer, config: TrainingConfig) -> Scheduler:
    """Return what changes the learning rate after each epoch."""
    if config.scheduler in PLATEAU:
        return ReduceLROnPlateau(
            optimiser,
            factor=config.plateau_factor,
            patience=config.plateau_patience,
            min_lr=config.plateau_min_lr,
            threshold=config.plateau_threshold,
        )
    return LambdaLR(optimiser, lambda epoch: rate_factor(config, epoch))


def bound_gradient(parameters: Iterable[Tensor], config: TrainingConfig) -> None:
    """Bound the gradients: their common norm, each value, or (``agc``) each row's norm by that of its weights."""
    bound = config.gradient_clip_val
    moved = [p for p in parameters if p.grad is not None]
    if bound is None or not moved:
        return
    if config.gradient_clip_algorithm == "norm":
        nn.utils.clip_grad_norm_(moved, bound)
    elif config.gradient_clip_algorithm == "value":
        nn.utils.clip_grad_value_(moved, bound)
    else:
        for weight, gradient in _pairs(moved):
            largest = bound * _row_norm(weight.detach()).clamp_min(NORM_FLOOR)
            gradient.mul_((largest / _row_norm(gradient).clamp_min(1e-12)).clamp_max(1.0))


def _pairs(parameters: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    for parameter in parameters:
        if parameter.grad is not None:
            yield parameter, parameter.grad


def _row_norm(value: Tensor) -> Tensor:
    """Return the norm over all axes but the first, which it keeps."""
    axes = tuple(range(1, value.ndim))
    return value.norm(dim=axes, keepdim=True) if axes else value.abs()
