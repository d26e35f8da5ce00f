"""Reading files in a process apart, with a time and a memory limit: a damaged HDF5 file may hang or end whoever reads it.

A process that has answered is kept for the next file; one that hangs is ended. See the decision on files of others.
"""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ptychopinn.errors import FileFormatError

TIMEOUT_S = 20.0
SLOWEST_BYTES_PER_S = 20e6
"""A slow network disk; a file may take as long as this needs for its size, beside the time above."""
MEMORY_BYTES = 8 << 30
PIECE_BYTES, PIPE_BYTES = 16 << 20, 1 << 20
GRACE_S, ENDING_S = 5.0, 0.1
REFUSED_S = 60.0
"""For so long a file that hung is not tried again, unless it changes; a slow disk may have been the reason."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one reading may take.

    ``timeout_s`` None: by the file's size. ``answer_bytes``: of what comes back, as against all that is needed for it.
    ``may_follow``: whether other files that it points to are read too.
    """

    timeout_s: float | None = None
    memory_bytes: int = MEMORY_BYTES
    answer_bytes: int = MEMORY_BYTES
    may_follow: bool = False


DEFAULTS = Limits()
FOLLOWING = Limits(may_follow=True)


class _Ended(Exception):
    """The process ended before it answered."""


class _Unpickler(pickle.Unpickler):
    """Takes arrays, plain values and the records of this package; nothing that a damaged process could have called."""

    _NUMPY = frozenset({"_frombuffer", "_reconstruct", "scalar", "ndarray", "dtype"})

    def find_class(self, module: str, name: str) -> Any:
        """Return a class that answers are made of."""
        is_numpy = module.split(".")[0] == "numpy" and (name in self._NUMPY or module == "numpy.dtypes")
        is_ours = module.startswith("daemon.files.") and name[:1].isupper() and name.isidentifier()
        if is_numpy or is_ours or (module, name) in (("builtins", "complex"), ("builtins", "set")):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is no part of an answer")


class _Reader:
    """One process that reads, and the pipes to it."""

    def __init__(self) -> None:
        root = str(Path(__file__).resolve().parents[2])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "daemon.files.reading_side"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={**os.environ, **threads, "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,  # Ctrl-C is for us, who then end it
        )
        if self._process.stdout is not None:
            with suppress(OSError):  # less than asked for is only slower
                fcntl.fcntl(self._process.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.has_answered = False

    def ask(self, request: dict[str, Any], deadline: float) -> tuple[str, Any]:
        """Return the answer.

        Raises
        ------
        TimeoutError
            If none has come at ``deadline`` (monotonic).
        _Ended
            If the process is no more.
        """
        requests = self._process.stdin
        try:
            if requests is None or requests.write(json.dumps(request).encode() + b"\n") is None:
                raise _Ended
        except OSError:
            raise _Ended from None
        head = bytearray()
        while not head.endswith(b"\n"):
            head += self._read(1, deadline)
        parts: list[Any] = [np.empty(size, dtype=np.uint8) for size in json.loads(head)]
        for part in parts:
            self._fill(memoryview(part), deadline)
        self.has_answered = True
        found: tuple[str, Any] = _Unpickler(BytesIO(parts[0].tobytes()), buffers=parts[1:]).load()
        return found

    def _read(self, size: int, deadline: float) -> bytes:
        part = memoryview(bytearray(size))
        self._fill(part, deadline)
        return part.tobytes()

    def _fill(self, part: memoryview, deadline: float) -> None:
        answers = self._process.stdout
        if answers is None:
            raise _Ended
        descriptor = answers.fileno()
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        while part.nbytes:
            if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1e3):
                raise TimeoutError
            count = os.readv(descriptor, [part[:PIECE_BYTES]])
            if not count:
                raise _Ended
            part = part[count:]

    def end(self) -> str:
        """End the process; return how it ended, in words."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            code = self._process.wait(ENDING_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            try:
                code = self._process.wait(GRACE_S)
            except subprocess.TimeoutExpired:  # it waits for a disk that does not answer
                return "is stuck on its disk"
        return f"ended with {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


class _Readers:
    """Processes that wait for the next file; safe from any thread."""

    def __init__(self, most_idle: int = 2) -> None:
        self._most_idle = most_idle
        self._idle: list[_Reader] = []
        self._lock = threading.Lock()

    def take(self) -> _Reader:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return _Reader()

    def put(self, reader: _Reader) -> None:
        with self._lock:
            if len(self._idle) < self._most_idle:
                self._idle.append(reader)
                return
        reader.end()

    def end_all(self) -> None:
        with self._lock:
            ending, self._idle = self._idle, []
        for reader in ending:
            reader.end()

    def forget(self) -> None:
        """After a fork: the processes are those of the other process."""
        self._lock, self._idle = threading.Lock(), []


class _Refused:
    """Files that hung or ended a process a moment ago: who looks again is told so at once. Safe from any thread."""

    def __init__(self) -> None:
        self._until: dict[tuple[int, ...], tuple[float, str]] = {}

    def add(self, path: Path, words: str) -> FileFormatError:
        """Note a file; return the fault to raise."""
        now = time.monotonic()
        self._until = {stamp: kept for stamp, kept in self._until.copy().items() if kept[0] > now}
        self._until[stamp_of(path)] = now + REFUSED_S, words
        return FileFormatError(words)

    def check(self, path: Path) -> None:
        """Refuse a file that is noted and has not changed."""
        until, words = self._until.get(stamp_of(path), (0.0, ""))
        if time.monotonic() < until:
            raise FileFormatError(words)


def stamp_of(path: Path) -> tuple[int, ...]:
    """Return what changes when a file changes; empty where there is none."""
    try:
        about = path.stat()
    except OSError:
        return ()
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns


_refused = _Refused()
_readers = _Readers()
atexit.register(_readers.end_all)
os.register_at_fork(after_in_child=_readers.forget)


def read_apart(reader: Callable[..., Result], path: Path, limits: Limits = DEFAULTS, **options: Any) -> Result:
    """Return ``reader(path, **options)``, called in a process apart; ``reader`` is a function of a module of ``daemon.files``.

    Raises
    ------
    FileFormatError
        With the reader's own words, or if the file hangs or ends that process or needs more than ``limits``.
    """
    _refused.check(path)
    timeout_s = _timeout_s(path) if limits.timeout_s is None else limits.timeout_s
    request = {
        "reader": f"{reader.__module__}:{reader.__qualname__}",
        "path": str(path),
        "options": options,
        "memory_bytes": limits.memory_bytes,
        "answer_bytes": limits.answer_bytes,
        "may_follow": limits.may_follow,
        "timeout_s": timeout_s + GRACE_S,
    }
    kind, value = _asked(request, path, timeout_s)
    if kind == "fault":
        raise FileFormatError(str(value))
    found: Result = value
    return found


def _asked(request: dict[str, Any], path: Path, timeout_s: float) -> tuple[str, Any]:
    deadline = time.monotonic() + timeout_s
    while True:
        process = _readers.take()
        was_kept = process.has_answered
        try:
            answer = process.ask(request, deadline)
        except TimeoutError:
            process.end()
            raise _refused.add(
                path,
                f"{path}: reading it did not come to an end in {timeout_s:.0f} s; it is damaged, or its disk does not "
                "answer: copy or write it again",
            ) from None
        except _Ended:
            how = process.end()
            if was_kept:  # it had waited too long for a file and went, perhaps
                continue
            raise _refused.add(
                path, f"{path}: is damaged so that the process that read it {how}; copy or write it again"
            ) from None
        except BaseException:
            process.end()
            raise
        _readers.put(process)
        return answer


def _timeout_s(path: Path) -> float:
    size = stamp_of(path)[2:3]  # the reader has words for a file that is not there
    return TIMEOUT_S + sum(size) / SLOWEST_BYTES_PER_S
