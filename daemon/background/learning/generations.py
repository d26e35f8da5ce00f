"""Generations of the model: promoted networks become active between two batches, are kept in files, and can be undone.

The files are in ``DIRECTORY/models``: one bundle for each generation, with its lineage in the manifest, and
``active.json``, which names the newest generation and the base model. A daemon that starts with the same base model
continues with the newest generation.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from daemon.background.learning.child import ChildOptions
from daemon.background.learning.learner import Learner, Scores
from daemon.background.learning.learning_process import ChildProcess, LearningProcess
from daemon.config import Config
from daemon.engine.face import EngineFace
from daemon.engine.models import ActiveModel
from daemon.messages import LearningState, LearningStatus, ModelStatus, Paused
from daemon.metrics import Metrics
from daemon.setup import Setup
from ptychopinn.atomic import write_atomically
from ptychopinn.diagnosis.correction import Correction
from ptychopinn.errors import FileFormatError, ReconstructionError
from ptychopinn.model.bundle import Bundle, write_bundle
from ptychopinn.training.tuner import FinetuneOptions

KEPT_GENERATIONS = 8  # bundles on disk, and steps that can be undone
OFF: LearningStatus = {"state": LearningState.OFF}

log = logging.getLogger(__name__)


class Generations:
    """Owns the learner, and gives the engine other models; safe from any thread.

    A call for another model returns when the engine uses it, and changes nothing if that fails.
    """

    def __init__(
        self,
        setup: Setup,
        config: Config,
        metrics: Metrics,
        engine: EngineFace,
        *,
        begin_process: Callable[[], LearningProcess] = ChildProcess,
    ) -> None:
        self._begin_process = begin_process
        self._setup = setup
        self._engine = engine
        self._folder = config.output.directory / "models"
        base = engine.active.bundle
        self._base_sha256, self._base_name = None if base is None else base.sha256, config.model.bundle
        self._lock = threading.Lock()
        self._promoted: list[Path] = []
        self._metrics, self._config = metrics, config
        self._has_probe = not config.optics.is_retrieved
        self._is_started = False
        self._lessons = 0  # number of learners so far; another probe needs another learner
        self._ending: list[threading.Thread] = []
        self.learner: Learner | None = None
        self._taught: Bundle | None = None  # whose network the learner was made for
        if config.finetune.enabled and base is not None and self._can_learn(base):
            self._go_on()
            self._begin(self._active())

    def _can_learn(self, bundle: Bundle) -> bool:
        """Whether a network can be fine-tuned: that of the lift in groups of one, a cnn if its output is a complex object."""
        if bundle.architecture not in ("cnn", "fno"):
            return self._config.model.gridsize == 1
        return bundle.options.get("output") == "cartesian" or not bundle.options.get("takes_counts")

    def _options(self, config: Config, bundle: Bundle) -> ChildOptions:
        finetune = FinetuneOptions(
            rate=config.finetune.rate, promote_if=config.finetune.promote_if, projections=bundle.projections
        )
        return ChildOptions(
            device=str(self._setup.device),
            device_share=config.finetune.device_share,
            buffer_frames=config.finetune.buffer_frames,
            finetune=finetune,
            model=replace(bundle, weights={}),
            weights=_host(bundle.weights),
            probe=self._engine.active.probe.cpu().numpy(),
        )

    def _active(self) -> Bundle:
        bundle = self._engine.active.bundle
        if bundle is None:
            raise ReconstructionError("the model has no network; choose another with `ptycholive model set`")
        return bundle

    def _go_on(self) -> None:
        """Continue with the last generation of an earlier run, if it has the same base model."""
        note = self._folder / "active.json"
        try:
            known = json.loads(note.read_text(encoding="utf-8"))
            if known["base_sha256"] != self._base_sha256 or not known["bundles"]:
                return
            paths = [self._folder / Path(name).name for name in known["bundles"]]
            model = self._load(str(paths[-1]))
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, RecursionError, FileFormatError) as fault:
            log.warning("the fine-tuned model of an earlier run is not used: %s", fault)
            return
        self._promoted = paths
        self._engine.begin_with(model)
        log.info("continuing with the fine-tuned model %s", paths[-1].name)

    def start(self) -> None:
        """Start learning; if the probe is a guess, learning starts once it is retrieved."""
        with self._lock:
            self._is_started = True
            if self.learner is not None and self._has_probe:
                self.learner.start()

    def stop(self) -> None:
        """Stop learning."""
        if self.learner is not None:
            self.learner.stop()
        for thread in self._ending:
            thread.join()

    def use_probe(self, probe: NDArray[Any], change: Correction) -> None:
        """Use another probe ``(modes, N, N)`` and a further correction of frames; fine-tuning starts again for them."""
        with self._lock:
            active = self._engine.use(self._setup.models.with_probe(self._engine.active, probe), change)
            self._has_probe = True
            if self.learner is not None and active.bundle is not None and self._can_learn(active.bundle):
                self._begin_again(self.learner, active.bundle)

    def _begin(self, bundle: Bundle, *, is_paused: bool = False) -> None:
        self.learner = self._engine.learner = self._new_learner(bundle)
        if is_paused:
            self.learner.pause()
        if self._is_started and self._has_probe:
            self.learner.start()

    def _begin_again(self, old: Learner, bundle: Bundle) -> None:
        """Replace a learner of another probe or another kind of network."""
        self._begin(bundle, is_paused=old.is_paused)
        end = threading.Thread(target=old.stop, name="learner-end", daemon=True)  # its process may end slowly
        self._ending.append(end)
        end.start()

    def _new_learner(self, bundle: Bundle) -> Learner:
        self._lessons += 1
        self._taught = bundle
        on_promoted = partial(self._take, self._lessons)
        return Learner(self._options(self._config, bundle), self._metrics, on_promoted, self._begin_process)

    def status(self) -> LearningStatus:
        """Return the status of fine-tuning."""
        if self.learner is None:
            return OFF.copy()
        status = self.learner.state.as_dict()
        status["generations"] = len(self._promoted)
        return status

    def set_paused(self, is_paused: bool) -> Paused:
        """Pause or resume fine-tuning. Raises :class:`ReconstructionError` if it is off."""
        if self.learner is None:
            raise ReconstructionError("fine-tuning is off; set [finetune] enabled = true and a model with a network")
        (self.learner.pause if is_paused else self.learner.resume)()
        return {"paused": is_paused}

    def _take(self, lessons: int, weights: Mapping[str, NDArray[Any]], about: Scores) -> None:
        """Activate a promoted network (learner's thread), unless probe or model have changed meanwhile."""
        with self._lock:
            if lessons == self._lessons and self._engine.active.bundle is not None:
                self._promote(weights, about)

    def _promote(self, weights: Mapping[str, NDArray[Any]], about: Scores) -> None:
        parent = self._active()
        step = {"parent_sha256": parent.sha256, **about}
        lineage = [*parent.provenance.get("lineage", []), step][-KEPT_GENERATIONS:]
        bundle = replace(
            parent,
            name=f"{parent.name.split('+')[0]}+finetuned",
            weights={name: torch.from_numpy(value) for name, value in weights.items()},
            provenance={**parent.provenance, "lineage": lineage},
        )
        number = 1 + max((_number(path) for path in self._promoted), default=0)
        path = self._folder / f"generation-{number:06d}.zip"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_bundle(path, bundle)
        except OSError as fault:
            log.warning("a better model is not used, since %s cannot be written (%s)", path, fault.strerror)
            return
        try:
            self._engine.use(self._load(str(path)))
        except ReconstructionError as fault:
            log.warning("a better model is not used: %s", fault)
            path.unlink(missing_ok=True)
            self._tell_learner(parent)
            return
        self._promoted.append(path)
        for old in self._promoted[:-KEPT_GENERATIONS]:
            old.unlink(missing_ok=True)
        self._promoted = self._promoted[-KEPT_GENERATIONS:]
        self._note()

    def _load(self, name: str) -> ActiveModel:
        return self._setup.models.load(name, self._engine.active.probe)

    def choose(self, name: str) -> ActiveModel:
        """Activate a named model; fine-tuning continues from it."""
        with self._lock:
            active = self._engine.use(self._load(name))
            self._base_sha256 = None if active.bundle is None else active.bundle.sha256
            self._base_name, self._promoted = name, []
            self._tell_learner(active.bundle)
            self._note()
        return active

    def roll_back(self) -> ModelStatus:
        """Activate the previous generation. Raises :class:`ReconstructionError` if there is none."""
        with self._lock:
            if not self._promoted:
                raise ReconstructionError("the active model has no earlier generation")
            earlier = self._promoted[:-1]
            active = self._engine.use(self._load(str(earlier[-1]) if earlier else self._base_name))
            self._promoted = earlier
            self._tell_learner(active.bundle)
            self._note()
        return {"name": active.name, "generation": active.generation}

    def _tell_learner(self, bundle: Bundle | None) -> None:
        old = self.learner
        if bundle is None or not self._can_learn(bundle):
            if old is not None:
                old.rest()  # the lift alone has nothing to train
        elif old is None:
            if self._config.finetune.enabled:
                self._begin(bundle)
        elif self._taught is None or _kind(bundle) != _kind(self._taught):
            self._begin_again(old, bundle)
        else:
            old.use(_host(bundle.weights))

    def _note(self) -> None:
        if self._base_sha256 is None:
            return
        note = {"base_sha256": self._base_sha256, "bundles": [path.name for path in self._promoted]}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self._folder / "active.json", json.dumps(note).encode())
        except OSError as fault:
            log.warning("the name of the active model cannot be written (%s)", fault.strerror)


def _number(path: Path) -> int:
    return int(path.stem.rsplit("-", 1)[1])


def _kind(bundle: Bundle) -> tuple[Any, ...]:
    """Return all properties of a network but its weights."""
    return bundle.architecture, bundle.options, bundle.configs, bundle.scaling, bundle.projections


def _host(weights: Mapping[str, torch.Tensor]) -> dict[str, NDArray[Any]]:
    return {name: value.detach().cpu().contiguous().numpy() for name, value in weights.items()}
