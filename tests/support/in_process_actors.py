"""Ray's functions for actors, in this process: each call runs in a thread of its own. The real Ray is tested in tests/interop."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

from daemon.cluster.live import start_actors
from daemon.config import Config
from daemon.engine.options import EngineOptions
from tests.support.in_process_ray import RayError, TaskError


class ActorDiedError(RayError):
    pass


class Actor:
    """A stand-in for an actor: ``kill`` makes every call in flight fail, and the next call meets a new object."""

    def __init__(self, kind: type, arguments: tuple[Any, ...], *, is_ordered: bool) -> None:
        self._kind, self._arguments = kind, arguments
        self._pool = ThreadPoolExecutor(1) if is_ordered else None
        self._lock = threading.Lock()
        self._flying: set[Future[Any]] = set()
        self.kills = 0
        self._is_gone = False
        self.object = kind(*arguments)

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=lambda *arguments: self._call(name, arguments))

    def _call(self, name: str, arguments: tuple[Any, ...]) -> Future[Any]:
        future: Future[Any] = Future()
        if self._is_gone:
            future.set_exception(ActorDiedError("gone"))
            return future
        with self._lock:
            self._flying.add(future)
            method = getattr(self.object, name)
        if self._pool is not None:
            self._pool.submit(self._run, future, method, arguments)
        else:
            threading.Thread(target=self._run, args=(future, method, arguments), daemon=True).start()
        return future

    def _run(self, future: Future[Any], method: Any, arguments: tuple[Any, ...]) -> None:
        try:
            result, fault = method(*arguments), None
        except Exception as error:
            result, fault = None, TaskError(error)
        with self._lock:
            if future not in self._flying:
                return
            self._flying.remove(future)
        if fault is None:
            future.set_result(result)
        else:
            future.set_exception(fault)

    def begins_no_more(self) -> None:
        """Let every call from now on fail, as if no machine had room for it."""
        self._is_gone = True

    def kill(self) -> None:
        """Lose the object with all that it holds, as kill -9 does; make another."""
        with self._lock:
            old, self.object = self.object, self._kind(*self._arguments)
            flying, self._flying = self._flying, set()
            self.kills += 1
        for future in flying:
            future.set_exception(ActorDiedError("killed"))
        old.leave()


class InProcessActors:
    """The part of the module ``ray`` that live scans use."""

    def __init__(self) -> None:
        names = ("OutOfMemoryError", "NodeDiedError")
        self.exceptions = SimpleNamespace(
            RayError=RayError, RayTaskError=TaskError, **{name: type(name, (RayError,), {}) for name in names}
        )
        self.actors: list[Actor] = []
        self.options: dict[str, Any] = {}

    def remote(self, **options: Any) -> Any:
        self.options = options
        is_ordered = options.get("max_concurrency") == 1
        return lambda kind: SimpleNamespace(
            remote=lambda *arguments: self._make(kind, arguments, is_ordered=is_ordered)
        )

    def _make(self, kind: type, arguments: tuple[Any, ...], *, is_ordered: bool) -> Actor:
        self.actors.append(Actor(kind, arguments, is_ordered=is_ordered))
        return self.actors[-1]

    def available_resources(self) -> dict[str, float]:
        return {}

    def wait(
        self, references: list[Future[Any]], *, num_returns: int, timeout: float
    ) -> tuple[list[Future[Any]], list[Future[Any]]]:
        done, _ = wait(references, timeout, FIRST_COMPLETED if num_returns == 1 else ALL_COMPLETED)
        return [one for one in references if one in done], [one for one in references if one not in done]

    def get(self, reference: Future[Any]) -> Any:
        return reference.result()

    def kill(self, actor: Actor) -> None:
        actor.kill()

    def connect(self, config: Config, options: EngineOptions, stack: ExitStack) -> tuple[Any, Sequence[Any]]:
        """Stand in for ``connect_workers``."""
        actors = start_actors(self, config, options, 0.0, is_local=True)
        stack.callback(lambda: [actor.kill() for actor in actors])
        return self, actors
