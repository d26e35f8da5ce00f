"""Exchange between the processes (workers) that train one network together; with one process nothing is exchanged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import Tensor

from ptychopinn.data.loader import WorkerRank

State = TypeVar("State")


def average_gradients(weights: Iterable[Tensor]) -> None:
    """Replace the gradients of each worker by their mean over the workers."""
    workers = WorkerRank.current().workers
    if workers == 1:
        return
    gradients = [w.grad for w in weights if w.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    torch.distributed.all_reduce(flat)
    for gradient, mean in zip(gradients, torch.split(flat / workers, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def from_first_worker(value: float) -> float:
    """Return the value of the first worker on all workers."""
    if WorkerRank.current().workers == 1:
        return value
    shared = torch.tensor([value], dtype=torch.float64)
    torch.distributed.broadcast(shared, 0)
    return float(shared)


def gather_states(state: State) -> list[State]:
    """Return the state of every worker, in their order, on all workers."""
    workers = WorkerRank.current().workers
    if workers == 1:
        return [state]
    gathered: list[State | None] = [None] * workers
    torch.distributed.all_gather_object(gathered, state)
    return [one for one in gathered if one is not None]
