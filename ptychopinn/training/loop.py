"""The plain loop: trains a task without a framework, in one process or in several.

An interrupted training resumes to the same weights, bit for bit on a CPU. Files in its folder: ``checkpoint.pt`` (the
whole state; written after epochs, every minute, and when the training is stopped) and ``best.pt`` (the weights of the
epoch with the lowest validation loss, or training loss if nothing is held out).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NotRequired, TypedDict, cast

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ptychopinn.atomic import atomic_path
from ptychopinn.data.loader import WorkerRank
from ptychopinn.errors import FileFormatError, TrainingInterruptedError
from ptychopinn.training.freeze import set_training
from ptychopinn.training.optimise import Course
from ptychopinn.training.progress import BestEpoch, BestEpochState, EpochMean, EpochMeanState
from ptychopinn.training.task import B, BatchIndex, BatchSource, State, Task
from ptychopinn.training.watch import Plan, Watchers
from ptychopinn.training.workers import average_gradients, from_first_worker, gather_states

CHECKPOINT, BEST = "checkpoint.pt", "best.pt"
CHECKPOINT_S = 60.0
"""Longest time between checkpoints, s: the work that a crash loses; a checkpoint takes well under a second."""


class Checkpoint(TypedDict):
    """The whole state of a training, as it is stored; ``optimiser`` and ``scheduler`` are torch's own."""

    identity: str
    network: dict[str, Tensor]
    task: NotRequired[State]
    optimiser: dict[str, object]
    scheduler: dict[str, object] | None
    sources: NotRequired[list[State]]
    loader: NotRequired[State]
    """In place of ``sources`` in version 0.2.0: the position of the only worker."""
    epoch: int
    batch: int
    mean: EpochMeanState
    best: BestEpochState


@dataclass(frozen=True, slots=True, eq=False)
class Job(Generic[B]):
    """A training for either loop.

    Parameters
    ----------
    course
        Optimiser, learning rate and clipping.
    identity
        Describes data and settings; a checkpoint with another identity is refused.
    checkpoint_epochs
        Number of epochs between checkpoints (and once a minute).
    keeps_best
        Whether the weights of the best epoch are stored in ``best.pt``.
    is_frozen
        Whether the encoder is not trained.
    is_open_ended
        Whether a source that ends within an epoch completes it; else the epoch can be resumed.
    should_stop
        Called after every step; True stops the training.
    after_epoch
        Called on every worker with the number of epochs done.
    """

    task: Task[B]
    training: BatchSource[B]
    validation: BatchSource[B] | None
    course: Course
    epochs: int
    folder: Path
    watchers: Watchers
    identity: str
    checkpoint_epochs: int = 1
    keeps_best: bool = True
    is_frozen: bool = False
    is_resumed: bool = False
    is_open_ended: bool = False
    should_stop: Callable[[], bool] = lambda: False
    after_epoch: Callable[[int], None] = lambda epochs: None

    @property
    def monitor(self) -> str:
        """Name of the loss that selects the best epoch."""
        return "train_loss" if self.validation is None else "val_loss"

    def is_step(self, batch: int) -> bool:
        """Return whether the weights change after batch ``batch`` of an epoch."""
        return (batch + 1) % self.course.accum_steps == 0 or batch + 1 == len(self.training)


class PlainLoop(Generic[B]):
    """Runs one job."""

    def __init__(self, job: Job[B]) -> None:
        self._job = job
        self._epoch = self._batch = 0
        self._optimiser = job.course.make_optimiser(job.task.network)
        self._scheduler = job.course.make_scheduler(self._optimiser)
        self._mean = EpochMean()
        self._best = BestEpoch(job.course.patience)
        self._saved_s = time.monotonic()
        job.folder.mkdir(parents=True, exist_ok=True)
        if job.is_resumed:
            self._restore()

    def run(self) -> list[dict[str, float]]:
        """Train to the end; return the metrics of each epoch since the start or the resumption.

        Raises
        ------
        TrainingInterruptedError
            If ``should_stop`` returned True; the checkpoint is written.
        FileFormatError
            If the checkpoint to resume from is missing, damaged, or of another training.
        """
        job = self._job
        lines: list[dict[str, float]] = []
        if self._epoch == self._batch == 0:
            job.task.prepare(job.training)
        job.watchers.begin(Plan(job.epochs, len(job.training), self._epoch, self._batch))
        try:
            while self._epoch < job.epochs and not self._best.is_over:
                begun = time.monotonic()
                groups = self._run_batches()
                has_ended = self._batch < len(job.training)  # the source ended the training within the epoch
                if has_ended and not (job.is_open_ended and groups):
                    self._save()
                    break
                lines.append(self._end_epoch(groups / (time.monotonic() - begun)))
                if has_ended:
                    break
        finally:
            job.watchers.end()
        return lines

    def _run_batches(self) -> int:
        """Train on the remaining batches of the epoch; return the number of their groups."""
        job = self._job
        groups = 0
        set_training(job.task.network, is_frozen=job.is_frozen)
        job.training.set_epoch(self._epoch)
        for batch in job.training:
            groups += job.task.size(batch)
            self._train_on(batch)
        return groups

    def _train_on(self, batch: B) -> None:
        job = self._job
        losses = job.task.loss(batch, BatchIndex(self._epoch, self._batch))
        (losses["loss"] / job.course.accum_steps).backward()  # type: ignore[no-untyped-call]
        is_step = job.is_step(self._batch)
        if not is_step or self._step():
            self._mean.add(losses, job.task.size(batch))
        self._batch += 1
        job.watchers.batch()
        if is_step and self._batch < len(job.training):
            self._save_or_stop()

    def _step(self) -> bool:
        """Change the weights by the gradients; False if these are not finite and the step was skipped."""
        job, network = self._job, self._job.task.network
        steps_done = self._epoch * len(job.training) + self._batch
        average_gradients(network.parameters())
        job.course.before_step(self._optimiser, steps_done)
        is_taken = job.course.clip_gradients(network.parameters())
        if is_taken:
            self._optimiser.step()
            job.task.after_step(steps_done + 1)
        self._optimiser.zero_grad(set_to_none=True)
        return is_taken

    def _end_epoch(self, groups_per_s: float) -> dict[str, float]:
        """Validate, adapt the rate, store the results; return the metrics of the epoch."""
        job, rate = self._job, self._optimiser.param_groups[0]["lr"]
        metrics = {f"train_{name}": value for name, value in self._mean.take().items()}
        metrics = {
            **job.course.epoch_facts(self._epoch),
            **metrics,
            "learning_rate": rate,
            "groups_per_s": groups_per_s,
        }
        metrics |= validate(job)
        if isinstance(self._scheduler, ReduceLROnPlateau):
            self._scheduler.step(metrics[job.monitor])
        elif self._scheduler is not None:
            self._scheduler.step()
        if job.keeps_best and self._best.is_best(metrics[job.monitor]):
            self._write(BEST, job.task.network.state_dict())
        self._epoch, self._batch = self._epoch + 1, 0
        if self._epoch % job.checkpoint_epochs == 0:
            self._save()
        job.watchers.epoch(metrics)
        job.after_epoch(self._epoch)
        if self._epoch < job.epochs:
            self._save_or_stop()
        return metrics

    def _save_or_stop(self) -> None:
        """After a step: write a checkpoint if the last one is old; stop if that was asked for."""
        is_stopped = bool(from_first_worker(self._job.should_stop()))
        is_late = bool(from_first_worker(time.monotonic() - self._saved_s > CHECKPOINT_S))
        if is_stopped or is_late:
            self._save()
        if is_stopped:
            raise TrainingInterruptedError(
                f"the training was stopped in epoch {self._epoch + 1} of {self._job.epochs}; "
                f"resume it from {self._job.folder / CHECKPOINT}"
            )

    def _save(self) -> None:
        job, scheduler = self._job, self._scheduler
        state: Checkpoint = {
            "identity": job.identity,
            "network": job.task.network.state_dict(),
            "task": job.task.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "scheduler": None if scheduler is None else scheduler.state_dict(),
            "sources": gather_states(job.training.state_dict()),
            "epoch": self._epoch,
            "batch": self._batch,
            "mean": self._mean.state_dict(),
            "best": self._best.state_dict(),
        }
        self._write(CHECKPOINT, state)
        self._saved_s = time.monotonic()

    def _write(self, name: str, state: Checkpoint | dict[str, Tensor]) -> None:
        """Write a file of tensors, on the first worker."""
        if WorkerRank.current().rank == 0:
            with atomic_path(self._job.folder / name) as part:
                torch.save(state, part)

    def _restore(self) -> None:
        job = self._job
        state = load_checkpoint(job.folder / CHECKPOINT, job.identity)
        job.task.network.load_state_dict(state["network"])
        job.task.load_state_dict(state.get("task", {}))
        self._optimiser.load_state_dict(state["optimiser"])
        if self._scheduler is not None:
            self._scheduler.load_state_dict(state["scheduler"] or {})
        sources = state.get("sources") or [state["loader"]]
        job.training.load_state_dict(sources[WorkerRank.current().rank])
        self._epoch, self._batch = state["epoch"], state["batch"]
        self._mean.load_state_dict(state["mean"])
        self._best.load_state_dict(state["best"])


def validate(job: Job[B]) -> dict[str, float]:
    """Return the mean losses of the held-out groups, their names with ``val_``; empty if nothing is held out."""
    if job.validation is None:
        return {}
    mean = EpochMean()
    job.task.network.eval()
    with torch.no_grad():
        for batch in job.validation:
            mean.add(job.task.loss(batch, None), job.task.size(batch))
    return {f"val_{name}": value for name, value in mean.take().items()}


def load_checkpoint(path: Path, identity: str) -> Checkpoint:
    """Return the checkpoint of a :class:`PlainLoop`.

    Raises
    ------
    FileFormatError
        If the file is missing, damaged, of another program version, or of other data or settings.
    """
    try:
        found: object = torch.load(path, weights_only=True)
    except FileNotFoundError:
        raise FileFormatError(f"{path}: there is no training to resume; start it without resuming") from None
    except Exception as fault:  # an unpickler raises errors of any kind
        raise FileFormatError(f"{path}: not a checkpoint, or damaged; start a new training") from fault
    state = found if isinstance(found, dict) else {}
    if "learner" in state:
        raise FileFormatError(
            f"{path}: written by version 0.2.0 or earlier, which cannot be resumed; start in another folder "
            f"(the weights in {path.with_name('network.pt')} can be the start)"
        )
    if "identity" not in state:
        raise FileFormatError(f"{path}: not a checkpoint of a training; start a new training")
    if state["identity"] != identity:
        raise FileFormatError(f"{path}: of other data or settings; use the same ones, or start a new training")
    return cast(Checkpoint, state)
