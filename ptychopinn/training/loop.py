"""The plain loop: one process, no framework. An interrupted training goes on to the same weights, bit for bit on a CPU.

Files in its folder: ``checkpoint.pt`` (everything to go on from, after every epoch, from time to time, and when it is
stopped) and ``best.pt`` (the weights of the epoch with the least loss of the validation, or without one of the training).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ptychopinn.atomic import atomic_path
from ptychopinn.config.sections import TrainingConfig
from ptychopinn.data.loader import TensorDictLoader
from ptychopinn.errors import FileFormatError, TrainingInterruptedError
from ptychopinn.training.freeze import set_training
from ptychopinn.training.loss_stages import Stages
from ptychopinn.training.optimise import bound_gradient, make_optimiser, make_scheduler
from ptychopinn.training.progress import Best, EpochMean
from ptychopinn.training.task import Moment, Task
from ptychopinn.training.watch import Plan, Watchers

CHECKPOINT, BEST = "checkpoint.pt", "best.pt"
CHECKPOINT_S = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A training, whoever runs it.

    Parameters
    ----------
    rate
        Learning rate at factor 1.
    is_frozen
        Whether the encoder stays as it is.
    identity
        What the data and settings are; a checkpoint of another one is refused.
    should_stop
        Asked after every step.
    """

    task: Task
    training: TensorDictLoader
    validation: TensorDictLoader | None
    config: TrainingConfig
    epochs: int
    rate: float
    folder: Path
    watchers: Watchers
    identity: str
    is_frozen: bool = False
    is_resumed: bool = False
    should_stop: Callable[[], bool] = lambda: False

    @property
    def monitor(self) -> str:
        """Name of the loss that chooses the best epoch."""
        return "train_loss" if self.validation is None else "val_loss"

    def facts(self, epoch: int) -> dict[str, float]:
        """Return number and stage of an epoch."""
        stage, weight = Stages.of(self.config).get_current_stage_and_weight(epoch)
        return {"epoch": epoch, "stage": stage, "physics_weight": weight}

    def is_step(self, batch: int) -> bool:
        """Whether the weights move after batch ``batch`` of an epoch."""
        return (batch + 1) % self.config.accum_steps == 0 or batch + 1 == len(self.training)


class PlainLoop:
    """Runs one job."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._epoch = self._batch = 0
        self._optimiser = make_optimiser(job.task.network, job.config, job.rate)
        self._scheduler = make_scheduler(self._optimiser, job.config)
        self._mean = EpochMean()
        self._best = Best(job.config.early_stop_patience)
        self._saved_s = time.monotonic()
        job.folder.mkdir(parents=True, exist_ok=True)
        if job.is_resumed:
            self._restore()

    def run(self) -> list[dict[str, float]]:
        """Train to the end; return the metrics of each epoch of this sitting.

        Raises
        ------
        TrainingInterruptedError
            If it is told to stop; the checkpoint is written.
        FileFormatError
            If a checkpoint to go on from is none, or of another training.
        """
        job = self._job
        lines = []
        if self._epoch == self._batch == 0:
            job.task.prepare(next(iter(job.training)))
        job.watchers.begin(Plan(job.epochs, len(job.training), self._epoch, self._batch))
        try:
            while self._epoch < job.epochs and not self._best.is_over:
                lines.append(self._run_epoch())
        finally:
            job.watchers.end()
        return lines

    def _run_epoch(self) -> dict[str, float]:
        job, network = self._job, self._job.task.network
        begun = time.monotonic()
        groups = 0
        set_training(network, is_frozen=job.is_frozen)
        rate = self._optimiser.param_groups[0]["lr"]
        job.training.set_epoch(self._epoch)
        for batch in job.training:
            losses = job.task.loss(batch, Moment(self._epoch, self._batch))
            (losses["loss"] / job.config.accum_steps).backward()  # type: ignore[no-untyped-call]
            self._mean.add(losses, len(batch.group))
            groups += len(batch.group)
            is_step = job.is_step(self._batch)
            if is_step:
                bound_gradient(network.parameters(), job.config)
                self._optimiser.step()
                self._optimiser.zero_grad(set_to_none=True)
            self._batch += 1
            job.watchers.batch()
            if is_step and self._batch < len(job.training):
                self._look_up()
        metrics = {**job.facts(self._epoch), **{f"train_{name}": value for name, value in self._mean.take().items()}}
        metrics |= {"learning_rate": rate, "groups_per_s": groups / (time.monotonic() - begun)}
        metrics |= validate(job)
        if isinstance(self._scheduler, ReduceLROnPlateau):
            self._scheduler.step(metrics[job.monitor])
        else:
            self._scheduler.step()
        if self._best.is_best(metrics[job.monitor]):
            save(job.folder / BEST, network.state_dict())
        self._epoch, self._batch = self._epoch + 1, 0
        self._save()
        job.watchers.epoch(metrics)
        if self._epoch < job.epochs:
            self._look_up()
        return metrics

    def _look_up(self) -> None:
        """After a step: save from time to time, and stop if that is wanted."""
        is_stopped = self._job.should_stop()
        if is_stopped or time.monotonic() - self._saved_s > CHECKPOINT_S:
            self._save()
        if is_stopped:
            raise TrainingInterruptedError(
                f"the training was stopped in epoch {self._epoch + 1} of {self._job.epochs}; "
                f"{self._job.folder / CHECKPOINT} holds what it has reached, so it can go on"
            )

    def _save(self) -> None:
        state = {
            "identity": self._job.identity,
            "network": self._job.task.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "scheduler": self._scheduler.state_dict(),
            "loader": {"epoch": self._epoch, "batch": self._batch},
            "epoch": self._epoch,
            "batch": self._batch,
            "mean": self._mean.state_dict(),
            "best": self._best.state_dict(),
        }
        save(self._job.folder / CHECKPOINT, state)
        self._saved_s = time.monotonic()

    def _restore(self) -> None:
        state = load_checkpoint(self._job.folder / CHECKPOINT, self._job.identity)
        self._job.task.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._scheduler.load_state_dict(state["scheduler"])
        self._job.training.load_state_dict(state["loader"])
        self._epoch, self._batch = state["epoch"], state["batch"]
        self._mean.load_state_dict(state["mean"])
        self._best.load_state_dict(state["best"])


def validate(job: Job) -> dict[str, float]:
    """Return the losses of the groups held out, by names with ``val_``; nothing if none is."""
    if job.validation is None:
        return {}
    mean = EpochMean()
    job.task.network.eval()
    with torch.no_grad():
        for batch in job.validation:
            mean.add(job.task.loss(batch, None), len(batch.group))
    return {f"val_{name}": value for name, value in mean.take().items()}


def save(path: Path, state: Any) -> None:
    """Write a file of tensors that takes its name whole or never."""
    with atomic_path(path) as part:
        torch.save(state, part)


def load_checkpoint(path: Path, identity: str) -> dict[str, Any]:
    """Return what :class:`PlainLoop` saved.

    Raises
    ------
    FileFormatError
        If there is none, it is damaged, or of other data or settings.
    """
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
        found = state["identity"]
    except FileNotFoundError:
        raise FileFormatError(f"{path}: there is no training to go on with; start it without resuming") from None
    except Exception as fault:  # whatever an unpickler meets
        raise FileFormatError(f"{path}: is no checkpoint of a training, or is damaged; start anew") from fault
    if found != identity:
        raise FileFormatError(f"{path}: is of other data or settings; give the same ones, or start anew")
    return state
