"""Watchers of a training: a progress bar on the terminal, a log file."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

Metrics = Mapping[str, float]
LINE_S = 30.0
"""Longest time without a line of progress, s: a log shows that the training runs, and stays short."""


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


class ProgressLines:
    """Progress on stderr as lines, for a log or a pipe: at the start, at most one every :data:`LINE_S`, and after each epoch.

    Silent where stderr is a terminal, which has a :class:`ProgressBar`.
    """

    def __init__(self, what: str = "training", *, is_shown: bool | None = None) -> None:
        self._what = what
        self._is_shown = not sys.stderr.isatty() if is_shown is None else is_shown
        self._plan = Plan(0, 0)
        self._done = 0
        self._begun_s = self._told_s = 0.0

    def begin(self, plan: Plan) -> None:
        """Say how much there is to do."""
        self._plan, self._done = plan, plan.epoch * plan.batches + plan.batch
        self._begun_s = self._told_s = time.monotonic()
        self._say(f"{plan.epochs} epochs of {plan.batches} steps" + (f", {self._done} done" if self._done else ""))

    def batch(self) -> None:
        """Count a step; say so if nothing was said for a while."""
        self._done += 1
        if time.monotonic() - self._told_s >= LINE_S:
            minutes = (time.monotonic() - self._begun_s) / 60
            self._say(f"{self._done} of {self._plan.epochs * self._plan.batches} steps, {minutes:.1f} min")

    def epoch(self, metrics: Metrics) -> None:
        """Say the losses."""
        losses = [f"{name} {metrics[name]:.4g}" for name in ("train_loss", "val_loss") if name in metrics]
        done = self._done // max(1, self._plan.batches)
        self._say(", ".join([f"epoch {done} of {self._plan.epochs}", *losses]))

    def end(self) -> None:
        """Do nothing."""

    def _say(self, words: str) -> None:
        self._told_s = time.monotonic()
        if self._is_shown:
            sys.stderr.write(f"{self._what}: {words}\n")
            sys.stderr.flush()


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
