"""Training of the network of the ``lift`` on simulated neighbourhoods, by the plain loop, in one or several processes.

A step uses G scans of M neighbouring frames each. Frames are looked at one to three times; the last look is trained
(:mod:`ptychopinn.training.looks`). The losses are those of :mod:`ptychopinn.training.truth_loss`.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypedDict, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ptychopinn.atomic import atomic_path
from ptychopinn.data.loader import WorkerRank
from ptychopinn.errors import ConfigurationError
from ptychopinn.model.network import CorrectionNet, channels_last, load_network, save_network
from ptychopinn.simulate import simulate_scan
from ptychopinn.training.heldout import heldout_recipes, score_scan, summary
from ptychopinn.training.looks import predict_last_look
from ptychopinn.training.loop import CHECKPOINT, Job, PlainLoop
from ptychopinn.training.overlap_loss import CONTRAST_FLOOR
from ptychopinn.training.simulated_batches import BatchSettings, SimulatedBatch, SimulatedSource
from ptychopinn.training.task import BatchIndex, State, Task
from ptychopinn.training.truth_loss import truth_losses
from ptychopinn.training.watch import Metrics, Plan, Watchers
from ptychopinn.training.workers import from_first_worker, gather_states

LOG, NETWORK = "log.jsonl", "network.pt"
ADAM_BETAS = (0.9, 0.98)
"""Decay rates of AdamW; the second is lower than usual, since batches of few scans vary much."""
LEAST_RATE, FALLING_RATE = 0.01, 0.495
"""The learning rate falls as a half cosine from 1 to 0.01 of the greatest: 0.01 + 0.495 (1 + cos)."""
FIRST_STEPS = 10
"""The average of the weights follows them faster in the first steps: its decay is (n + 1) / (n + 10) at most."""
SCORED_LOOKS = 2
"""Number of looks at held-out scans, as in the live chain."""
CHANGEABLE = ("minutes", "steps", "start", "checkpoint_steps", "score_steps")
"""Settings that may differ when a training is resumed."""


@dataclass(frozen=True, slots=True)
class LiftTrainingSettings:
    """Settings of the training.

    Parameters
    ----------
    minutes, steps
        Length of the training. With ``minutes`` the learning rate falls with the clock; with ``steps`` (not 0) the
        training is repeatable.
    rate
        Greatest learning rate, reached after ``warmup_steps``.
    average
        Decay of the averaged weights, which are the result.
    clip
        Greatest norm of the gradient.
    looks
        Shares of the steps that train the first, second, third look.
    physics, agreement
        Weights of these two losses; the supervised loss has weight 1.
    contrast_floor
        Contrast below which a scan counts less.
    projections
        Number of projections of a look.
    start
        A network.pt whose weights are the start; empty: random weights.
    log_steps, checkpoint_steps, score_steps
        Number of steps between lines of the log, checkpoints, and scores of held-out scans; the latter two are multiples
        of the first.
    """

    minutes: float = 90.0
    steps: int = 0
    seed: int = 1
    rate: float = 1.5e-3
    warmup_steps: int = 200
    weight_decay: float = 1e-3
    average: float = 0.999
    clip: float = 1.0
    looks: tuple[float, ...] = (0.45, 0.3, 0.25)
    physics: float = 1.0
    agreement: float = 0.1
    contrast_floor: float = CONTRAST_FLOOR
    projections: int = 2
    start: str = ""
    log_steps: int = 50
    checkpoint_steps: int = 500
    score_steps: int = 2500
    batches: BatchSettings = field(default_factory=BatchSettings)

    def __post_init__(self) -> None:
        for name in ("checkpoint_steps", "score_steps"):
            if getattr(self, name) % self.log_steps:
                raise ConfigurationError(
                    f"{name} is {getattr(self, name)} but log_steps {self.log_steps}; set a multiple of log_steps"
                )

    def identity(self, workers: int) -> str:
        """Return the text that identifies a training; a checkpoint of another one is refused."""
        fixed = {name: value for name, value in asdict(self).items() if name not in CHANGEABLE}
        return json.dumps({"workers": workers, **fixed})


class LiftClock:
    """Progress of a training: its share of steps, or of time over all its runs."""

    def __init__(self, settings: LiftTrainingSettings) -> None:
        self._settings = settings
        self._began_s = time.monotonic()
        self.progress = 0.0
        """Share of the training that was done before the current step, 0 to 1."""

    @property
    def elapsed_s(self) -> float:
        """Seconds trained, including those before resumptions."""
        return time.monotonic() - self._began_s

    @elapsed_s.setter
    def elapsed_s(self, value: float) -> None:
        self._began_s = time.monotonic() - value

    def is_over(self, steps: int) -> bool:
        """Measure the progress after ``steps``, the same on all workers; return whether the training is complete."""
        s = self._settings
        self.progress = steps / s.steps if s.steps else from_first_worker(self.elapsed_s / (60 * s.minutes))
        return self.progress >= 1


class LiftState(TypedDict):
    """State of a :class:`LiftTask`: the averaged weights and the time trained, s."""

    average: dict[str, Tensor]
    elapsed_s: float


class LiftTask(Task[SimulatedBatch]):
    """The lift's network on simulated neighbourhoods, and the running average of its weights."""

    def __init__(self, network: CorrectionNet, settings: LiftTrainingSettings, clock: LiftClock) -> None:
        self.network: CorrectionNet = channels_last(network)
        self._settings = settings
        self._clock = clock
        self._average = {name: value.clone() for name, value in network.state_dict().items()}

    def loss(self, batch: SimulatedBatch, index: BatchIndex | None) -> dict[str, Tensor]:
        """Return the loss, its parts, and the supervised part of the number of looks that was drawn."""
        s, looks = self._settings, 1
        if index is not None:
            rng = np.random.default_rng((s.seed, index.epoch * s.log_steps + index.batch))
            looks += int(rng.choice(len(s.looks), p=s.looks))
        patches = predict_last_look(self.network, batch.seen, looks, s.projections)
        parts = truth_losses(patches, batch.seen, batch.truth, s.contrast_floor)
        total = parts["supervised"] + s.physics * parts["physics"] + s.agreement * parts["agreement"]
        return {"loss": total, **parts, f"supervised_look{looks}": parts["supervised"]}

    def size(self, batch: SimulatedBatch) -> int:
        """Return 1: every step has the same weight in the log."""
        return 1

    def after_step(self, steps_done: int) -> None:
        """Update the average of the weights."""
        decay = min(self._settings.average, (steps_done + 1) / (steps_done + FIRST_STEPS))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                self._average[name].lerp_(value, 1 - decay)

    def averaged(self) -> CorrectionNet:
        """Return a copy of the network with the averaged weights."""
        copy = CorrectionNet(**self.network.architecture)
        copy.load_state_dict(self._average)
        copy.eval()
        return channels_last(copy)

    def state_dict(self) -> State:
        """Return the averaged weights and the time trained."""
        return {"average": self._average, "elapsed_s": self._clock.elapsed_s}

    def load_state_dict(self, state: State) -> None:
        """Continue from a :meth:`state_dict`."""
        known = cast(LiftState, state)
        self._average = dict(known["average"])
        self._clock.elapsed_s = known["elapsed_s"]


class LiftCourse:
    """AdamW; the learning rate rises linearly, then falls with the progress of the training."""

    accum_steps = 1
    patience = None

    def __init__(self, settings: LiftTrainingSettings, clock: LiftClock) -> None:
        self._settings = settings
        self._clock = clock
        self._skipped = 0

    def make_optimiser(self, network: nn.Module) -> Optimizer:
        """Return the optimiser."""
        s = self._settings
        return torch.optim.AdamW(network.parameters(), lr=s.rate, weight_decay=s.weight_decay, betas=ADAM_BETAS)

    def make_scheduler(self, optimiser: Optimizer) -> None:
        """Return None: the rate depends on the step."""

    def before_step(self, optimiser: Optimizer, steps_done: int) -> None:
        """Set the learning rate."""
        s = self._settings
        warm = min(1.0, (steps_done + 1) / s.warmup_steps)
        falling = LEAST_RATE + FALLING_RATE * (1 + math.cos(math.pi * min(1.0, self._clock.progress)))
        for group in optimiser.param_groups:
            group["lr"] = s.rate * warm * falling

    def clip_gradients(self, weights: Iterable[Tensor]) -> bool:
        """Clip the gradients; False if they are not finite: one such step would make all weights useless."""
        is_finite = bool(torch.isfinite(nn.utils.clip_grad_norm_(weights, self._settings.clip)))
        self._skipped += not is_finite
        return is_finite

    def epoch_facts(self, epoch: int) -> dict[str, float]:
        """Return the progress, and the number of steps skipped since the start or the resumption."""
        return {"progress": self._clock.progress, "skipped": self._skipped}


class LiftLog:
    """Writes ``log.jsonl``: one JSON object a line, with the number of steps, minutes and patches."""

    def __init__(self, path: Path, source: SimulatedSource, clock: LiftClock) -> None:
        self._path, self._source, self._clock = path, source, clock

    def begin(self, plan: Plan) -> None:
        """Do nothing: lines are appended."""

    def batch(self) -> None:
        """Do nothing."""

    def epoch(self, metrics: Metrics) -> None:
        """Write the mean losses since the last line."""
        losses = {k.removeprefix("train_"): round(v, 5) for k, v in metrics.items() if k.startswith("train_")}
        of_looks = {name: losses.pop(name) for name in sorted(losses) if name.startswith("supervised_look")}
        self.write({"progress": metrics["progress"], "skipped": metrics["skipped"], **losses, **of_looks})

    def end(self) -> None:
        """Do nothing."""

    def write(self, line: Mapping[str, object]) -> None:
        """Write a line."""
        minutes = round(self._clock.elapsed_s / 60, 2)
        head = {"step": self._source.steps, "minutes": minutes, "patches": self._source.patches}
        with self._path.open("a") as file:
            file.write(json.dumps({**head, **line}) + "\n")


class LiftTraining:
    """One worker of a training in a folder; the first worker writes the files.

    Files: ``log.jsonl`` (losses and scores of held-out scans), ``checkpoint.pt`` (to resume from), and ``network.pt`` (the
    averaged weights, see :func:`ptychopinn.model.network.save_network`).

    Parameters
    ----------
    should_stop
        Called after every step on the first worker; True stops the training.
    """

    def __init__(
        self, settings: LiftTrainingSettings, folder: Path, *, should_stop: Callable[[], bool] = lambda: False
    ) -> None:
        self._settings, self._folder, self._should_stop = settings, folder, should_stop
        self._worker = WorkerRank.current()
        self._clock = LiftClock(settings)
        torch.manual_seed(settings.seed)
        network = load_network(Path(settings.start)) if settings.start else CorrectionNet()
        self._task = LiftTask(network, settings, self._clock)
        self._source = SimulatedSource(settings.batches, settings.seed, settings.log_steps, self._clock.is_over)
        self._log = LiftLog(folder / LOG, self._source, self._clock)

    def run(self) -> None:
        """Train, or resume, to the end of the settings."""
        s = self._settings
        job = Job(
            task=self._task,
            training=self._source,
            validation=None,
            course=LiftCourse(s, self._clock),
            epochs=sys.maxsize,  # the source ends the training
            folder=self._folder,
            watchers=Watchers((self._log,) if self._worker.rank == 0 else ()),
            identity=s.identity(self._worker.workers),
            checkpoint_epochs=s.checkpoint_steps // s.log_steps,
            keeps_best=False,
            is_resumed=bool(from_first_worker((self._folder / CHECKPOINT).exists())),
            should_stop=self._should_stop,
            after_epoch=self._after_epoch,
        )
        PlainLoop(job).run()
        self._save_network()
        self._score()

    def _after_epoch(self, epochs: int) -> None:
        steps = epochs * self._settings.log_steps
        if steps % self._settings.checkpoint_steps == 0:
            self._save_network()
        if steps % self._settings.score_steps == 0:
            self._score()

    def _save_network(self) -> None:
        if self._worker.rank:
            return
        training = {
            "steps": self._source.steps,
            "patches": self._source.patches,
            "minutes": self._clock.elapsed_s / 60,
            "settings": asdict(self._settings),
        }
        with atomic_path(self._folder / NETWORK) as part:
            save_network(self._task.averaged(), part, training=training)

    def _score(self) -> None:
        """Score the averaged weights on held-out scans, which the workers share, and log the summary."""
        recipes = heldout_recipes()
        network = self._task.averaged()
        mine = range(self._worker.rank, len(recipes), self._worker.workers)
        found = gather_states({i: score_scan(network, simulate_scan(recipes[i]), SCORED_LOOKS) for i in mine})
        scores = {i: score for part in found for i, score in part.items()}
        if self._worker.rank == 0:
            self._log.write({"heldout": summary(recipes, [scores[i] for i in range(len(recipes))])})


def run_worker(rank: int, workers: int, settings: LiftTrainingSettings, folder: Path) -> None:
    """Run one of ``workers`` processes that train together on this machine, one thread each."""
    torch.set_num_threads(1)
    if workers > 1:
        meeting = f"file://{folder.resolve() / 'rendezvous'}"
        torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=workers)
    try:
        LiftTraining(settings, folder).run()
    finally:
        if workers > 1:
            torch.distributed.destroy_process_group()
