"""Running results of a training that a checkpoint stores: the mean losses of an epoch and the best epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypedDict

import torch
from torch import Tensor

from ptychopinn.data.loader import WorkerRank


class EpochMeanState(TypedDict):
    """State of an :class:`EpochMean`; ``groups`` is one number for all losses in checkpoints of version 0.2.0."""

    sums: dict[str, Tensor]
    groups: dict[str, int] | int


class BestEpochState(TypedDict):
    """State of a :class:`BestEpoch`."""

    loss: float
    stale_epochs: int


class EpochMean:
    """Mean of each loss over the groups of an epoch, over all workers.

    A loss that only some batches have is averaged over those batches.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._groups: dict[str, int] = {}

    def add(self, losses: Mapping[str, Tensor], groups: int) -> None:
        """Add the losses (scalar tensors, means over the batch) of a batch of ``groups`` groups."""
        for name, value in losses.items():
            part = value.detach().double() * groups
            self._sums[name] = self._sums[name] + part if name in self._sums else part
            self._groups[name] = self._groups.get(name, 0) + groups

    def take(self) -> dict[str, float]:
        """Return the means and reset; empty if no batch was added."""
        if not self._sums:
            return {}
        sums = torch.stack(list(self._sums.values()))
        values = torch.cat([sums, sums.new_tensor([float(n) for n in self._groups.values()])])
        if WorkerRank.current().workers > 1:
            torch.distributed.all_reduce(values)
        totals, groups = values.view(2, -1).tolist()
        found = {name: total / n for name, total, n in zip(self._sums, totals, groups, strict=True)}
        self._sums, self._groups = {}, {}
        return found

    def state_dict(self) -> EpochMeanState:
        """Return the state for :meth:`load_state_dict`."""
        return {"sums": dict(self._sums), "groups": dict(self._groups)}

    def load_state_dict(self, state: EpochMeanState) -> None:
        """Continue from a :meth:`state_dict`."""
        sums, groups = state["sums"], state["groups"]
        self._sums = dict(sums)
        self._groups = dict.fromkeys(sums, groups) if isinstance(groups, int) else dict(groups)


class BestEpoch:
    """The lowest loss so far and the number of epochs since then.

    Parameters
    ----------
    patience
        Number of epochs without improvement after which the training ends; None: it does not end early.
    """

    def __init__(self, patience: int | None) -> None:
        self._patience = patience
        self.loss = math.inf
        self.stale_epochs = 0

    def is_best(self, loss: float) -> bool:
        """Record the loss of an epoch; return whether it is the lowest so far."""
        if loss < self.loss:
            self.loss, self.stale_epochs = loss, 0
            return True
        self.stale_epochs += 1
        return False

    @property
    def is_over(self) -> bool:
        """Whether the training ends early."""
        return self._patience is not None and self.stale_epochs >= self._patience

    def state_dict(self) -> BestEpochState:
        """Return the state for :meth:`load_state_dict`."""
        return {"loss": self.loss, "stale_epochs": self.stale_epochs}

    def load_state_dict(self, state: BestEpochState) -> None:
        """Continue from a :meth:`state_dict`."""
        self.loss, self.stale_epochs = state["loss"], state["stale_epochs"]
