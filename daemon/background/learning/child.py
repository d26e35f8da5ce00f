"""The process that fine-tunes: it takes frames and commands from a pipe, and sends progress and promoted weights.

It trains in one thread and, on a CPU, at the lowest priority, so it uses only processor time that the engine does not
need. On a GPU it works ``device_share`` of the time. Messages are tuples of a kind and plain data.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from ptychopinn.model import Network
from ptychopinn.model.bundle import Bundle, build_network
from ptychopinn.model.cnn import Cnn
from ptychopinn.model.network import CorrectionNet
from ptychopinn.training.finetune import FineTuner
from ptychopinn.training.finetune_cnn import CnnTuner
from ptychopinn.training.replay_buffer import ReplayBuffer, ReplayFrame
from ptychopinn.training.tuner import FinetuneOptions, Tuner

LEAST_FRAMES, LEAST_HELD_OUT = 48, 4
COMPARE_STEPS = 40
REPORT_S = 1.0


@dataclass(frozen=True, slots=True)
class ChildOptions:
    """The first message to the process; ``model`` is the bundle without its weights."""

    device: str
    device_share: float
    buffer_frames: int
    finetune: FinetuneOptions
    model: Bundle
    weights: dict[str, NDArray[Any]]
    probe: NDArray[np.complex64]


def run(pipe: Connection) -> None:
    """Take the :class:`ChildOptions` from the pipe, then work until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    work(pipe)


def work(pipe: Connection) -> None:
    """Do so in any thread."""
    torch.set_num_threads(1)
    try:
        options: ChildOptions = pipe.recv()
        if options.device == "cpu":
            os.nice(19)
        _Work(pipe, options).run()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    finally:
        pipe.close()


class _Inbox:
    """Reads messages from the pipe as they arrive; if both ends only wrote, they would block each other."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._messages: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="inbox", daemon=True).start()

    def take(self, wait_s: float | None) -> tuple[Any, ...] | None:
        """Return the next message, or None if none arrives; ``wait_s`` None waits for ever. Raises EOFError at the end."""
        try:
            message = (
                self._messages.get(timeout=wait_s) if wait_s is None or wait_s > 0 else self._messages.get_nowait()
            )
        except queue.Empty:
            return None
        if message is None:
            raise EOFError
        return message

    def _run(self) -> None:
        try:
            while True:
                self._messages.put(self._pipe.recv())
        except (EOFError, OSError):
            self._messages.put(None)


class _Work:
    def __init__(self, pipe: Connection, options: ChildOptions) -> None:
        self._pipe = pipe
        self._inbox = _Inbox(pipe)
        self._options = options
        self._buffer = ReplayBuffer(options.buffer_frames, options.finetune.seed)
        self._tuner = self._make_tuner()
        self._is_paused = False
        self._steps = 0
        self._since_compared = 0
        self._reported_at = 0.0

    def _make_tuner(self) -> Tuner[Any]:
        options, model = self._options, self._options.model
        probe = torch.from_numpy(options.probe).to(options.device)
        network = self._network(options.weights)
        if network.uses_projections:
            return FineTuner(cast(CorrectionNet, network), probe, self._buffer, options.finetune)
        return CnnTuner(
            cast(Cnn, network), probe, self._buffer, options.finetune, configs=model.configs, scaling=model.scaling
        )

    def _network(self, weights: dict[str, NDArray[Any]]) -> Network:
        tensors = {name: torch.from_numpy(value) for name, value in weights.items()}
        model = replace(self._options.model, weights=tensors)
        return build_network(model, Path(model.name)).to(self._options.device)

    def run(self) -> None:
        rest_s = 0.0
        while True:
            while message := self._inbox.take(rest_s if self._can_learn else None):
                rest_s = 0.0
                self._execute(*message)
            begun = time.monotonic()
            self._learn()
            share = self._options.device_share
            rest_s = (time.monotonic() - begun) * (1 - share) / share

    @property
    def _can_learn(self) -> bool:
        """Whether training can run: enough frames are there, some of them held out."""
        has_enough = len(self._buffer) >= LEAST_FRAMES and len(self._buffer.held_out) >= LEAST_HELD_OUT
        return has_enough and not self._is_paused

    def _execute(self, kind: str, *what: Any) -> None:
        if kind == "frames":
            for key, amplitude, position_px in what[0]:
                self._buffer.add(key, ReplayFrame(amplitude, position_px))
        elif kind == "labels":
            for key, patch in what[0]:
                self._buffer.label(key, patch)
        elif kind == "use":
            self._tuner.use(self._network(what[0]))
            self._since_compared = 0
        else:
            self._is_paused = kind == "pause"

    def _learn(self) -> None:
        loss = self._tuner.step()
        self._steps += 1
        self._since_compared += 1
        if time.monotonic() - self._reported_at > REPORT_S:
            self._reported_at = time.monotonic()
            self._pipe.send(("progress", self._steps, loss, len(self._buffer), self._buffer.refused))
        if self._since_compared < COMPARE_STEPS and loss == loss:
            return
        self._since_compared = 0
        verdict, active, candidate = self._tuner.compare()
        weights = None
        if verdict == "promoted":
            weights = {name: value.cpu().numpy() for name, value in self._tuner.weights().items()}
        self._pipe.send(("compared", self._steps, verdict, tuple(active), tuple(candidate), weights))
