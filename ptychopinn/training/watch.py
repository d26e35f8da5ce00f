"""What looks on while a training runs: a bar on a terminal, a log file."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

Metrics = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Plan:
    """Epochs and batches of a training, and where it begins."""

    epochs: int
    batches: int
    epoch: int = 0
    batch: int = 0


class Watcher(Protocol):
    """Is told of every batch and epoch, in the main process alone."""

    def begin(self, plan: Plan) -> None:
        """See a training start or go on."""
        ...

    def batch(self) -> None:
        """See one more batch done."""
        ...

    def epoch(self, metrics: Metrics) -> None:
        """See an epoch end."""
        ...

    def end(self) -> None:
        """See the training end or break off."""
        ...


class ProgressBar:
    """A bar of batches on stderr, shown where a person looks at it."""

    def __init__(self, what: str = "training", *, is_shown: bool | None = None) -> None:
        self._what = what
        self._is_shown = sys.stderr.isatty() if is_shown is None else is_shown
        self._bar: tqdm[Any] | None = None

    def begin(self, plan: Plan) -> None:
        """Show the bar."""
        done = plan.epoch * plan.batches + plan.batch
        total = plan.epochs * plan.batches
        self._bar = tqdm(
            total=total, initial=done, desc=self._what, unit="steps", disable=not self._is_shown, leave=False
        )

    def batch(self) -> None:
        """Move it."""
        if self._bar is not None:
            self._bar.update()

    def epoch(self, metrics: Metrics) -> None:
        """Show the losses beside it."""
        if self._bar is not None:
            shown = {name: f"{metrics[name]:.4g}" for name in ("train_loss", "val_loss") if name in metrics}
            self._bar.set_postfix(shown)

    def end(self) -> None:
        """Take it away."""
        if self._bar is not None:
            self._bar.close()


class LogFile:
    """One JSON object a line for each epoch."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def begin(self, plan: Plan) -> None:
        """Start the file anew, unless a training goes on."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if plan.epoch == 0 and plan.batch == 0:
            self._path.write_text("")

    def batch(self) -> None:
        """Do nothing."""

    def epoch(self, metrics: Metrics) -> None:
        """Write a line."""
        with self._path.open("a") as file:
            file.write(json.dumps(dict(metrics)) + "\n")

    def end(self) -> None:
        """Do nothing."""


class Watchers:
    """Several as one."""

    def __init__(self, watchers: tuple[Watcher, ...]) -> None:
        self._all = watchers

    def begin(self, plan: Plan) -> None:
        """Tell all."""
        for one in self._all:
            one.begin(plan)

    def batch(self) -> None:
        """Tell all."""
        for one in self._all:
            one.batch()

    def epoch(self, metrics: Metrics) -> None:
        """Tell all."""
        for one in self._all:
            one.epoch(metrics)

    def end(self) -> None:
        """Tell all."""
        for one in self._all:
            one.end()
