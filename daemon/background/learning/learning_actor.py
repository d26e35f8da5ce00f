"""Fine-tuning in an actor of a Ray cluster: the process of :mod:`daemon.background.learning.child` on a device of its own."""

from __future__ import annotations

import multiprocessing
import threading
from collections import deque
from dataclasses import replace
from typing import Any

import torch

from daemon.background.learning import child

NO_CPUS = 0.0
"""CPUs that Ray reserves: on a CPU, fine-tuning takes the time that the workers leave."""


class LearningActor:
    """Lives in the actor's process; calls come one after another."""

    def __init__(self) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        self._thread = threading.Thread(target=child.work, args=(theirs,), name="finetune", daemon=True)
        self._thread.start()

    def put(self, message: tuple[Any, ...] | child.ChildOptions) -> None:
        """Hand a message on; the device is the actor's own."""
        if isinstance(message, child.ChildOptions):
            message = replace(message, device="cuda" if torch.cuda.is_available() else "cpu")
        self._pipe.send(message)

    def take(self) -> list[tuple[Any, ...]]:
        """Return what has come, without waiting for it. Raises EOFError once fine-tuning has ended."""
        found = []
        while self._pipe.poll():
            found.append(self._pipe.recv())
        if not found and not self._thread.is_alive():
            raise EOFError("fine-tuning has ended")
        return found

    def leave(self) -> None:
        """End the thread."""
        self._pipe.close()


class ActorProcess:
    """The daemon's end of the actor; ``ray`` is the module, connected to the cluster."""

    name = "an actor of the cluster"

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        gpus = 1.0 if ray.available_resources().get("GPU", 0.0) >= 1.0 else 0.0
        self._actor = ray.remote(num_cpus=NO_CPUS, num_gpus=gpus, max_restarts=0, max_concurrency=1)(
            LearningActor
        ).remote()
        self._came: deque[tuple[Any, ...]] = deque()
        self._asked: Any = None

    def send(self, message: Any) -> None:
        """Send a message."""
        self._actor.put.remote(message)

    def poll(self) -> bool:
        """Whether a message has come. Raises EOFError if the actor is gone."""
        if self._came:
            return True
        if self._asked is None:
            self._asked = self._actor.take.remote()
        ready, _ = self._ray.wait([self._asked], num_returns=1, timeout=0.0)
        if ready:
            self._asked = None
            try:
                self._came.extend(self._ray.get(ready[0]))
            except (self._ray.exceptions.RayError, ConnectionError) as fault:
                raise EOFError(str(fault)) from fault
        return bool(self._came)

    def recv(self) -> tuple[Any, ...]:
        """Return the next message."""
        return self._came.popleft()

    def kill(self) -> None:
        """End the actor."""
        try:
            self._ray.kill(self._actor)
        except (ValueError, ConnectionError, self._ray.exceptions.RayError):
            return

    def end(self) -> None:
        """End the actor."""
        self.kill()
