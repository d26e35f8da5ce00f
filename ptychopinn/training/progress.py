"""What a training has reached: sums of its losses, the best epoch. All of it is part of a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class EpochMean:
    """The mean of losses over the groups of an epoch, over all processes."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._groups = 0

    def add(self, losses: Mapping[str, Tensor], groups: int) -> None:
        """Count a batch of so many groups."""
        for name, value in losses.items():
            part = value.detach().double() * groups
            self._sums[name] = self._sums[name] + part if name in self._sums else part
        self._groups += groups

    def take(self) -> dict[str, float]:
        """Return the means and start anew."""
        sums_so_far = list(self._sums.values())
        values = torch.stack([*sums_so_far, sums_so_far[0].new_tensor(float(self._groups))])
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(values)
        *sums, total = values.tolist()
        found = {name: value / total for name, value in zip(self._sums, sums, strict=True)}
        self._sums, self._groups = {}, 0
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return what :meth:`load_state_dict` needs."""
        return {"sums": dict(self._sums), "groups": self._groups}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a :meth:`state_dict`."""
        self._sums, self._groups = dict(state["sums"]), state["groups"]


class Best:
    """The least loss so far, and how many epochs ago it was.

    Parameters
    ----------
    patience
        Epochs without gain that end the training; None: it never ends so.
    """

    def __init__(self, patience: int | None) -> None:
        self._patience = patience
        self.loss = math.inf
        self.stale_epochs = 0

    def is_best(self, loss: float) -> bool:
        """Take the loss of an epoch; whether it is the least yet."""
        if loss < self.loss:
            self.loss, self.stale_epochs = loss, 0
            return True
        self.stale_epochs += 1
        return False

    @property
    def is_over(self) -> bool:
        """Whether patience is at its end."""
        return self._patience is not None and self.stale_epochs >= self._patience

    def state_dict(self) -> dict[str, Any]:
        """Return what :meth:`load_state_dict` needs."""
        return {"loss": self.loss, "stale_epochs": self.stale_epochs}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a :meth:`state_dict`."""
        self.loss, self.stale_epochs = state["loss"], state["stale_epochs"]
