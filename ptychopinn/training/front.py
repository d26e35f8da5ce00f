"""The trainer of the Python API: trains a model on data, as configurations describe."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import torch

from ptychopinn.config import legacy
from ptychopinn.config.manager import ConfigManager
from ptychopinn.config.mlflow_client import import_mlflow
from ptychopinn.config.sections import DataConfig, TrainingConfig
from ptychopinn.data.dataset import GroupBatch, PtychoDataset
from ptychopinn.data.experiment import Experiment
from ptychopinn.data.loader import TensorDictLoader
from ptychopinn.data.shared import own_rank
from ptychopinn.data.store import ExperimentFacts
from ptychopinn.data.stream import StreamDataset
from ptychopinn.data.training_file import read_training_file
from ptychopinn.device import choose_device
from ptychopinn.errors import ConfigurationError
from ptychopinn.model.ptycho_model import PtychoModel
from ptychopinn.training import loop
from ptychopinn.training.freeze import freeze_encoder
from ptychopinn.training.interrupt import stopped_by
from ptychopinn.training.loop import Job, PlainLoop
from ptychopinn.training.loss_stages import Stages, find_learning_rate
from ptychopinn.training.networks import make_task, trained_model
from ptychopinn.training.optimise import ConfiguredCourse
from ptychopinn.training.stream_training import StreamSource, stream_config
from ptychopinn.training.task import BatchSource, Task
from ptychopinn.training.tracking import TrackedRun
from ptychopinn.training.training_data import build_data, open_data, scan_sources
from ptychopinn.training.watch import LogFile, Metrics, ProgressBar, ProgressLines, Watcher, Watchers

Data = Sequence[Path | str | Experiment] | Path | str | Experiment
"""Files, directories of files, and scans; or one of them."""
LOG, RUN_NOTE = "log.jsonl", "mlflow-run.txt"
FINE_TUNE = "fine-tune"
"""Folder of fine-tuning, with its own checkpoints and log."""


@dataclass(frozen=True, slots=True)
class _Phase:
    """One phase of a training: the folder of its checkpoints, and how it starts; ``is_frozen``: fine-tuning."""

    folder: Path
    is_resumed: bool
    is_frozen: bool = False
    is_new: bool = False


class Trainer:
    """Trains models; all its files are in ``TrainingConfig.output_dir``.

    Parameters
    ----------
    watchers
        Called after batches and epochs, beside a progress bar and a log file.
    tracking_uri
        MLflow store of the runs. They are not tracked if it is None, or if ``orchestrator`` is not Mlflow.
    should_stop
        Called after every step; if it returns True the state is saved and :class:`TrainingInterruptedError` raised.
        None: after Ctrl-C.
    is_compiled
        Whether the network is compiled first, which needs a C++ compiler and takes a minute.
    read
        Function that reads a file; by default it reads training files (NPZ).
    on_refused
        Called with the reason for each unusable scan, before the others are trained on; None: an unusable scan is an error.

    Raises
    ------
    ConfigurationError
        If configurations contradict each other, or need a package that is not installed.
    """

    def __init__(
        self,
        configs: ConfigManager | None = None,
        *,
        watchers: Sequence[Watcher] = (),
        tracking_uri: str | None = None,
        should_stop: Callable[[], bool] | None = None,
        is_compiled: bool = False,
        read: Callable[[Path], Experiment] | None = None,
        on_refused: Callable[[str], object] | None = None,
    ) -> None:
        self.configs = ConfigManager(*configs.to_tuple()) if configs else ConfigManager()
        legacy.update_params(self.configs)
        self._watchers = tuple(watchers)
        self._tracking_uri = tracking_uri
        self._should_stop = should_stop
        self._is_compiled = is_compiled
        self._folder = Path(self.configs.training_config.output_dir)
        nphotons, folder = self.configs.data_config.nphotons, self._folder
        self._read = read or (lambda path: read_training_file(path, nphotons, scratch=folder))
        self._on_refused = on_refused
        self._uses_lightning = _uses_lightning(self.configs)
        _check_device(self.configs.training_config.device)
        if tracking_uri is not None and self.configs.training_config.orchestrator == "Mlflow":
            import_mlflow()
        self.history: list[Metrics] = []
        """Metrics of each epoch of the last training."""
        self.run_ids: list[str] = []
        """Identities of the tracked runs, in the order of their start."""

    @property
    def plan(self) -> dict[str, object]:
        """The settings that the loops follow: framework, epochs, groups of a batch, fine-tuning, threads, strategy."""
        config = self.configs.training_config
        return {
            "framework": self._framework(),
            "epochs": Stages.of(config).epochs(config.epochs),
            "epochs_fine_tune": config.epochs_fine_tune,
            "fine_tune_rate": config.learning_rate * config.fine_tune_gamma,
            "batch_size": config.batch_size,
            "read_ahead": config.num_workers,
            "strategy": config.strategy,
        }

    @property
    def stream_config(self) -> DataConfig:
        """The configuration of a :class:`StreamDataset` that :meth:`fit` takes."""
        return stream_config(self.configs)

    def fit(
        self,
        data: Data | StreamDataset = (),
        *,
        is_resumed: bool = False,
        start: PtychoModel | None = None,
    ) -> PtychoModel:
        """Train a new model on files, directories of files, or scans; then fine-tune it if ``epochs_fine_tune`` is set.

        Parameters
        ----------
        data
            Empty: ``train_data_file`` and ``training_directories`` of the configuration. A stream is trained on as it comes,
            by the plain loop, until it ends or all epochs are done; an epoch has ``n_groups`` groups (default 1024).
        is_resumed
            Resume an interrupted training, or a complete one with more epochs.
        start
            A trained model whose weights are all trained on; None: a new model.

        Raises
        ------
        ReconstructionError
            One of its subclasses, if data, configurations or the checkpoint are not usable.
        """
        training = self.configs.training_config
        first = _Phase(self._folder, is_resumed=is_resumed, is_new=start is None)
        begun = start or PtychoModel.new(self.configs)
        if isinstance(data, StreamDataset):
            return self._train_on_stream(begun, data, first)
        trained = self._train(begun, data, first)
        if not training.epochs_fine_tune:
            return trained
        folder = self._folder / FINE_TUNE
        is_begun = (folder / ("last.ckpt" if self._uses_lightning else loop.CHECKPOINT)).exists()
        return self._train(trained, data, _Phase(folder, is_resumed=is_resumed and is_begun, is_frozen=True))

    def finetune(self, model: PtychoModel, data: Data, *, is_resumed: bool = False) -> PtychoModel:
        """Train only the decoders of a model, at ``fine_tune_gamma`` times the learning rate; the encoder is frozen.

        The loss is that of the last stage. Checkpoints and log are in the folder ``fine-tune`` of the output directory.
        """
        is_lift = model.network.uses_projections
        self.configs.update(model_config={"architecture": "lift" if is_lift else model.bundle.architecture})
        return self._train(model, data, _Phase(self._folder / FINE_TUNE, is_resumed=is_resumed, is_frozen=True))

    def _train(self, model: PtychoModel, data: Data, phase: _Phase) -> PtychoModel:
        begun = time.monotonic()
        data = [data] if isinstance(data, (str, Path, Experiment)) else data
        sources = scan_sources(data or self.configs.training_config.stated_data)
        built = build_data(self._folder, self.configs, sources, self._read, self._on_refused)
        identity = training_identity(built, self.configs, model)
        training, validation = open_data(self._folder, self.configs)
        stages = Stages.of(self.configs.training_config)
        stages = stages.last() if phase.is_frozen else stages
        reach = 0.0 if validation is None else validation.farthest_px()
        task = make_task(model, self.configs, training, is_new=phase.is_new, stages=stages, reach_px=reach)
        device = "cpu" if self._uses_lightning else choose_device(self.configs.training_config.device)
        prepare_network(task, self.configs, is_frozen=phase.is_frozen, device=device)
        if self._is_compiled:
            task.network.main_part.compile()
        with self._tracked(model, phase) as (watchers, finish):
            loaders = make_loaders(self.configs.training_config, training, validation, device)
            job = self._job(task, loaders, phase, identity=identity, watchers=watchers)
            with stopped_by((signal.SIGINT,) if self._should_stop is None else ()) as is_interrupted:
                self.history = self._run(replace(job, should_stop=self._should_stop or is_interrupted))
            task.network.load_state_dict(_best_weights(job.folder, from_lightning=self._uses_lightning))
            found = self._found(task, model, phase, training.facts, begun)
            finish(found)
        return found

    def _train_on_stream(self, model: PtychoModel, stream: StreamDataset, phase: _Phase) -> PtychoModel:
        begun, config = time.monotonic(), self.configs.training_config
        _check_stream(config)
        device = choose_device(config.device)
        source = StreamSource(stream, self.configs, device)
        task = make_task(model, self.configs, source.start, is_new=phase.is_new)
        prepare_network(task, self.configs, device=device)
        with self._tracked(model, phase) as (watchers, finish):
            identity = training_identity("stream", self.configs, model)
            job = self._job(task, (source, None), phase, identity=identity, watchers=watchers)
            with stopped_by((signal.SIGINT,) if self._should_stop is None else ()) as is_interrupted:
                stop = self._should_stop or is_interrupted
                loop_job = replace(job, should_stop=stop, is_open_ended=True, keeps_best=False)
                self.history = list(PlainLoop(loop_job).run())
            found = self._found(task, model, phase, source.start.facts, begun)
            finish(found)
        return found

    def _found(
        self, task: Task[GroupBatch], model: PtychoModel, phase: _Phase, facts: list[ExperimentFacts], begun: float
    ) -> PtychoModel:
        """Return the trained model, with what it was trained on."""
        return trained_model(
            task.network,
            model,
            self.configs,
            trained_on=[str(one["name"]) for one in facts],
            experiments=facts,
            is_fine_tuned=phase.is_frozen,
            started_from=model.bundle.sha256,
            seconds=round(time.monotonic() - begun, 1),
            metrics=dict(self.history[-1]) if self.history else {},
        )

    def _job(
        self,
        task: Task[GroupBatch],
        loaders: tuple[BatchSource[GroupBatch], BatchSource[GroupBatch] | None],
        phase: _Phase,
        *,
        identity: str,
        watchers: Watchers,
    ) -> Job[GroupBatch]:
        config = self.configs.training_config
        devices = config.n_devices if isinstance(config.n_devices, int) else 1
        rate = find_learning_rate(config.learning_rate, devices, config.batch_size, config.batch_size)
        stages = Stages.of(config)
        epochs = stages.epochs(config.epochs)
        if phase.is_frozen:
            rate, epochs, stages = (
                rate * config.fine_tune_gamma,
                config.epochs_fine_tune or config.epochs,
                stages.last(),
            )
            config = _fine_tuning(config, epochs)
        training, validation = loaders
        return Job(
            task=task,
            training=training,
            validation=validation,
            course=ConfiguredCourse(config, rate, stages),
            epochs=epochs,
            folder=phase.folder,
            watchers=watchers,
            identity=json.dumps([identity, phase.is_frozen]),
            is_frozen=phase.is_frozen,
            is_resumed=phase.is_resumed,
        )

    def _run(self, job: Job[GroupBatch]) -> list[Metrics]:
        if not self._uses_lightning:
            return list(PlainLoop(job).run())
        from ptychopinn.training.lightning_loop import run_lightning

        sections = self.configs.to_dict()
        return list(run_lightning(job, self.configs.training_config, {"hyper_parameters": sections}))

    @contextmanager
    def _tracked(self, model: PtychoModel, phase: _Phase) -> Iterator[tuple[Watchers, Callable[[PtychoModel], None]]]:
        """Yield the watchers of a training, with its tracked run, and a function that receives the trained model."""
        if own_rank() != 0:
            yield Watchers(()), lambda found: None
            return
        what = "fine-tuning" if phase.is_frozen else "training"
        shown = ProgressBar(what), ProgressLines(what), LogFile(phase.folder / LOG)
        watchers: tuple[Watcher, ...] = (*shown, *self._watchers)
        if self._tracking_uri is None or self.configs.training_config.orchestrator != "Mlflow":
            yield Watchers(watchers), lambda found: None
            return
        tags = {"stage": what, "architecture": model.bundle.architecture, "framework": self._framework()}
        parent, note = self.run_ids[-1] if self.run_ids else None, phase.folder / RUN_NOTE
        begun = note.read_text().strip() if phase.is_resumed and note.exists() else None
        run = TrackedRun(self._tracking_uri, self.configs, tags, parent, resumed=begun)
        phase.folder.mkdir(parents=True, exist_ok=True)
        note.write_text(run.run_id)
        self.run_ids.append(run.run_id)
        done: list[PtychoModel] = []
        try:
            yield Watchers((*watchers, run)), done.append
        finally:
            run.finish(done[0] if done else None)

    def _framework(self) -> str:
        return "Lightning" if self._uses_lightning else "plain"


def _best_weights(folder: Path, *, from_lightning: bool) -> dict[str, torch.Tensor]:
    """Return the weights of the best epoch."""
    if not from_lightning:
        weights: dict[str, torch.Tensor] = torch.load(folder / loop.BEST, weights_only=True, map_location="cpu")
        return weights
    state = torch.load(folder / "best.ckpt", weights_only=True, map_location="cpu")["state_dict"]
    return {name.removeprefix("model."): value for name, value in state.items()}


def _check_stream(config: TrainingConfig) -> None:
    """Refuse settings that a training on a stream cannot follow."""
    if config.epochs_fine_tune or config.test_data_file is not None or config.n_devices not in (1, "auto"):
        raise ConfigurationError(
            "a stream is trained once, by one process, without validation; leave out epochs_fine_tune, test_data_file "
            "and n_devices"
        )


def training_identity(built: str, configs: ConfigManager, model: PtychoModel) -> str:
    """Return the text that a checkpoint to resume must state; ``built`` is the identity of the data sets."""
    return json.dumps([built, configs.to_dict()["model_config"], _fixed_settings(configs), model.bundle.sha256])


def prepare_network(
    task: Task[GroupBatch], configs: ConfigManager, *, is_frozen: bool = False, device: torch.device | str = "cpu"
) -> None:
    """Select the weights that are trained, and bring the network to its device."""
    network = task.network
    network.use_acting_weights_only(has_trained_scales=configs.model_config.rect_s1s2_trainable)
    if is_frozen:
        freeze_encoder(network)
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def make_loaders(
    config: TrainingConfig, training: PtychoDataset, validation: PtychoDataset | None, device: torch.device | str
) -> tuple[TensorDictLoader, TensorDictLoader | None]:
    """Return the loaders of the training groups, in random order, and of the held-out groups."""
    size, ahead = config.batch_size, config.num_workers
    held_out = None
    if validation is not None:
        held_out = TensorDictLoader(validation, size, seed=None, device=device, ahead=ahead)
    return TensorDictLoader(training, size, seed=config.seed, device=device, ahead=ahead), held_out


def _check_device(device: str) -> None:
    try:
        choose_device(device)
    except (ValueError, RuntimeError) as fault:
        raise ConfigurationError(f"TrainingConfig.device is {device}: {str(fault).splitlines()[0]}") from fault


def _uses_lightning(configs: ConfigManager) -> bool:
    """Return whether Lightning runs the training; else the plain loop does, with the same weights as result."""
    training = configs.training_config
    is_there = find_spec("lightning") is not None
    several = training.n_devices not in (1, "auto")
    if several and (training.framework != "Lightning" or not is_there):
        raise ConfigurationError(
            f"n_devices is {training.n_devices}, which needs framework Lightning; "
            + ("set it" if is_there else "install ptycholive[lightning]")
        )
    return training.framework == "Lightning" and is_there


def _fine_tuning(config: TrainingConfig, epochs: int) -> TrainingConfig:
    """Return the settings of fine-tuning: no stages, whose scheduler would change the rate again."""
    scheduler = "Default" if config.scheduler == "MultiStage" else config.scheduler
    return replace(config, stage_1_epochs=0, stage_2_epochs=0, stage_3_epochs=0, epochs=epochs, scheduler=scheduler)


def _fixed_settings(configs: ConfigManager) -> dict[str, object]:
    """Return the settings of a training except those that may change before it is resumed."""
    free = (
        "output_dir", "device", "num_workers", "notes", "model_name", "experiment_name", "orchestrator",
        "epochs", "epochs_fine_tune", "fine_tune_gamma", "early_stop_patience",
    )  # fmt: skip
    return {k: v for k, v in configs.to_dict()["training_config"].items() if k not in free}
