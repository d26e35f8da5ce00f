"""The same training with Lightning, for several processes or devices.

Files in its folder: ``last.ckpt`` to resume from, ``best.ckpt`` of the best epoch. Both store the network under ``model.``
and the configurations, as in PtychoPINN.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint, EarlyStopping, ModelCheckpoint
from torch import Tensor
from torch.optim import Optimizer

from ptychopinn.config.sections import TrainingConfig
from ptychopinn.data.dataset import GroupBatch
from ptychopinn.errors import FileFormatError, TrainingInterruptedError
from ptychopinn.training.freeze import set_training
from ptychopinn.training.loop import CHECKPOINT_S, Job
from ptychopinn.training.progress import EpochMean, EpochMeanState
from ptychopinn.training.task import BatchIndex, BatchSource
from ptychopinn.training.watch import Plan

LAST, BEST = "last.ckpt", "best.ckpt"


class TrainedTask(LightningModule):
    """A job as a LightningModule.

    Parameters
    ----------
    about
        Further content of every checkpoint.
    """

    def __init__(self, job: Job[GroupBatch], about: Mapping[str, Any]) -> None:
        super().__init__()
        self.take(job, about)

    def take(self, job: Job[GroupBatch], about: Mapping[str, Any]) -> None:
        """Begin with a job."""
        self.model = job.task.network
        self.lines: list[dict[str, float]] = []
        self._job = job
        self._about = about
        self._mean = EpochMean()
        self._validated = EpochMean()
        self._metrics: dict[str, float] = {}
        self._begun = (time.monotonic(), 0)
        self.batches = 0
        """Number of batches of the epoch that are done."""

    def configure_optimizers(self) -> Any:
        """Return the optimiser and its scheduler, which is stepped after every epoch."""
        optimiser = self._job.course.make_optimiser(self.model)
        scheduler = self._job.course.make_scheduler(optimiser)
        course = {"scheduler": scheduler, "interval": "epoch", "monitor": self._job.monitor}
        return {"optimizer": optimiser, "lr_scheduler": course}

    def transfer_batch_to_device(self, batch: GroupBatch, device: torch.device, dataloader_idx: int) -> GroupBatch:
        """Return the batch on a device."""
        del dataloader_idx
        return batch.to(device)

    def on_train_start(self) -> None:
        """Set the training mode, also when resuming within an epoch."""
        self._begin_epoch()

    def on_train_epoch_start(self) -> None:
        """Select the order of the epoch and set the training mode."""
        self._job.training.set_epoch(self.current_epoch)
        self.batches = 0
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        set_training(self.model, is_frozen=self._job.is_frozen)
        self._begun = (time.monotonic(), 0)
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        self._metrics = {**self._job.course.epoch_facts(self.current_epoch), "learning_rate": rate}

    def training_step(self, batch: GroupBatch, batch_idx: int) -> Tensor:
        """Return the loss of a batch."""
        losses = self._job.task.loss(batch, BatchIndex(self.current_epoch, batch_idx))
        groups = self._job.task.size(batch)
        self._mean.add(losses, groups)
        self._begun = (self._begun[0], self._begun[1] + groups)
        self.batches = batch_idx + 1
        return losses["loss"]

    def configure_gradient_clipping(self, optimizer: Optimizer, *bounds: Any, **named: Any) -> None:
        """Clip the gradients as the plain loop does."""
        del optimizer, bounds, named
        self._job.course.clip_gradients(self.model.parameters())

    def validation_step(self, batch: GroupBatch, batch_idx: int) -> None:
        """Add the losses of a held-out batch."""
        del batch_idx
        self._validated.add(self._job.task.loss(batch, None), self._job.task.size(batch))

    def on_validation_epoch_end(self) -> None:
        """Log the losses of the validation."""
        found = {f"val_{name}": value for name, value in self._validated.take().items()}
        self._metrics |= found
        self.log_dict(found)

    def on_train_epoch_end(self) -> None:
        """Log the losses of the training."""
        begun, groups = self._begun
        found = {f"train_{name}": value for name, value in self._mean.take().items()}
        self.log_dict(found)
        workers = self.trainer.world_size
        self._metrics |= {**found, "groups_per_s": workers * groups / (time.monotonic() - begun)}
        self.lines.append(self._metrics)
        self.batches = 0

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Add the state of the epoch and the identity of the training."""
        checkpoint |= {**self._about, "identity": self._job.identity, "epoch_mean": self._mean.state_dict()}
        checkpoint["batches"] = self.batches

    def on_load_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Refuse the checkpoint of another training; restore the state of the epoch."""
        if checkpoint.get("identity") != self._job.identity:
            raise FileFormatError(
                f"{self._job.folder / LAST}: of other data or settings; use the same ones, or start a new training"
            )
        self._mean.load_state_dict(cast(EpochMeanState, checkpoint["epoch_mean"]))
        self.batches = cast(int, checkpoint["batches"])

    def train_dataloader(self) -> BatchSource[GroupBatch]:
        """Return the loader, which stores its position."""
        return self._job.training

    def val_dataloader(self) -> BatchSource[GroupBatch] | list[Any]:
        """Return the loader of the held-out groups."""
        return [] if self._job.validation is None else self._job.validation


class _LoopCallback(Checkpoint):
    """Calls the watchers, writes checkpoints, and stops on request.

    As a Checkpoint it is called after the module and the other checkpoints when an epoch ends.
    """

    def __init__(self, job: Job[GroupBatch], module: TrainedTask) -> None:
        self._job = job
        self._module = module
        self._saved_s = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            batches = len(self._job.training)
            self._job.watchers.begin(Plan(self._job.epochs, batches, trainer.current_epoch, self._module.batches))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.is_global_zero:
            self._job.watchers.batch()
        is_last = batch_idx + 1 == len(self._job.training)
        if self._job.is_step(batch_idx):
            self._job.task.after_step(trainer.global_step)
            if not is_last:
                self._save_or_stop(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer)
        if trainer.is_global_zero:
            self._job.watchers.epoch(self._module.lines[-1])
        if trainer.current_epoch + 1 < self._job.epochs:
            self._save_or_stop(trainer)

    def _save_or_stop(self, trainer: Trainer) -> None:
        late = time.monotonic() - self._saved_s > CHECKPOINT_S
        wishes = (self._job.should_stop(), late) if trainer.is_global_zero else (False, False)
        is_stopped, is_late = trainer.strategy.broadcast(wishes)
        if is_stopped or is_late:
            self._save(trainer)
        if is_stopped:
            raise TrainingInterruptedError(
                f"the training was stopped in epoch {trainer.current_epoch + 1} of {self._job.epochs}; "
                f"resume it from {self._job.folder / LAST}"
            )

    def _save(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self._job.folder / LAST)
        self._saved_s = time.monotonic()


def run_lightning(job: Job[GroupBatch], config: TrainingConfig, about: Mapping[str, Any]) -> list[dict[str, float]]:
    """Train to the end with Lightning; return the metrics of each epoch since the start or the resumption.

    Parameters
    ----------
    config
        Says which devices, and how many.
    about
        Further content of every checkpoint.

    Raises
    ------
    TrainingInterruptedError, FileFormatError
        As in the plain loop.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    module = TrainedTask(job, about)
    resumed = job.folder / LAST if job.is_resumed else None
    if resumed is not None:
        _check_readable(resumed)
    if not job.is_resumed:
        job.task.prepare(job.training)
    trainer = _trainer(job, config, module)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.|pytorch_lightning\.")  # its deprecations and hints
            trainer.fit(module, ckpt_path=resumed)
    finally:
        job.watchers.end()
    return module.lines


def _check_readable(path: Path) -> None:
    """Refuse a missing or damaged checkpoint, as the plain loop does."""
    if not path.exists():
        raise FileFormatError(f"{path}: there is no training to resume; start it without resuming")
    try:
        torch.load(path, weights_only=True, map_location="cpu")
    except Exception as fault:  # an unpickler raises errors of any kind
        raise FileFormatError(f"{path}: not a checkpoint, or damaged; start a new training") from fault


def _trainer(job: Job[GroupBatch], config: TrainingConfig, module: TrainedTask) -> Trainer:
    best = ModelCheckpoint(
        job.folder, Path(BEST).stem, job.monitor, save_on_train_epoch_end=True, enable_version_counter=False
    )
    callbacks: list[Callback] = [best, _LoopCallback(job, module)]
    if job.course.patience is not None:
        callbacks.append(EarlyStopping(job.monitor, 0.0, job.course.patience, check_on_train_epoch_end=True))
    accelerator = {"auto": "auto", "cpu": "cpu"}.get(config.device, "gpu")
    return Trainer(
        accelerator=accelerator,
        devices=config.n_devices,
        strategy=config.strategy or "auto" if config.n_devices != 1 else "auto",
        max_epochs=job.epochs,
        accumulate_grad_batches=job.course.accum_steps,
        callbacks=callbacks,
        default_root_dir=job.folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
