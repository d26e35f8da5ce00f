"""Watchers of a training: a progress bar on the terminal, a log file."""

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
    """Number of epochs and batches of a training, and the epoch and batch at which it starts."""

    epochs: int
    batches: int
    epoch: int = 0
    batch: int = 0


class Watcher(Protocol):
    """Callbacks for every batch and epoch, only in the first process."""

    def begin(self, plan: Plan) -> None:
        """Called when a training starts or resumes."""
        ...

    def batch(self) -> None:
        """Called after each batch."""
        ...

    def epoch(self, metrics: Metrics) -> None:
        """Called after each epoch."""
        ...

    def end(self) -> None:
        """Called when the training ends, also after an error."""
        ...


class ProgressBar:
    """Progress bar of batches on stderr, if it is a terminal."""

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
        """Advance the bar."""
        if self._bar is not None:
            self._bar.update()

    def epoch(self, metrics: Metrics) -> None:
        """Show the losses beside the bar."""
        if self._bar is not None:
            shown = {name: f"{metrics[name]:.4g}" for name in ("train_loss", "val_loss") if name in metrics}
            self._bar.set_postfix(shown)

    def end(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()


class LogFile:
    """Log file with one line for each epoch, a JSON object."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def begin(self, plan: Plan) -> None:
        """Empty the file, unless a training is resumed."""
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
    """Several watchers as one."""

    def __init__(self, watchers: tuple[Watcher, ...]) -> None:
        self._all = watchers

    def begin(self, plan: Plan) -> None:
        """Call all watchers."""
        for one in self._all:
            one.begin(plan)

    def batch(self) -> None:
        """Call all watchers."""
        for one in self._all:
            one.batch()

    def epoch(self, metrics: Metrics) -> None:
        """Call all watchers."""
        for one in self._all:
            one.epoch(metrics)

    def end(self) -> None:
        """Call all watchers."""
        for one in self._all:
            one.end()
