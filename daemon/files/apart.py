"""Reads files in a separate process with limits of time and memory: a damaged HDF5 file can hang or crash its reader.

A process that has answered is kept for the next file; one that hangs is killed. See decision 14.
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
from typing import Any, TypedDict, TypeVar

import numpy as np

from ptychopinn.errors import FileFormatError

TIMEOUT_S = 20.0
"""Time for a small file, including the start of the process on a busy machine."""
SLOWEST_BYTES_PER_S = 20e6
"""Rate of a slow network disk, 20 MB/s; each file may take its size over this rate in addition."""
MEMORY_BYTES = 8 << 30
"""Address space of the process, 8 GiB; a crafted file must not use up the machine's memory."""
PIECE_BYTES, PIPE_BYTES = 16 << 20, 1 << 20
"""Bytes of one read, and of the pipe (Linux's limit for unprivileged processes): few system calls for large arrays."""
GRACE_S, ENDING_S = 5.0, 0.1
"""Time for a killed process to end; time for one to end by itself before it is killed."""
REFUSED_S = 60.0
"""Time for which a file that hung is not tried again unless it changes; a slow disk may have been the reason."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one reading.

    ``timeout_s`` None: by the file's size. ``memory_bytes``: of the process; ``answer_bytes``: of the answer.
    ``may_follow``: whether links to other files are followed.
    """

    timeout_s: float | None = None
    memory_bytes: int = MEMORY_BYTES
    answer_bytes: int = MEMORY_BYTES
    may_follow: bool = False


DEFAULTS = Limits()
FOLLOWING = Limits(may_follow=True)


class Request(TypedDict):
    """A request to the reading process; ``reader`` is ``module:function``, ``options`` are its keyword arguments."""

    reader: str
    path: str
    options: dict[str, object]
    memory_bytes: int
    answer_bytes: int
    may_follow: bool
    timeout_s: float


class _EndedError(Exception):
    """The process ended before it answered."""


class _Unpickler(pickle.Unpickler):
    """Accepts arrays, plain values and this package's dataclasses, but no callables that a damaged process may have named."""

    _NUMPY = frozenset({"_frombuffer", "_reconstruct", "scalar", "ndarray", "dtype"})

    def find_class(self, module: str, name: str) -> Any:
        """Return a class that may occur in answers."""
        is_numpy = module.split(".")[0] == "numpy" and (name in self._NUMPY or module == "numpy.dtypes")
        is_ours = module.startswith("daemon.files.") and name[:1].isupper() and name.isidentifier()
        if is_numpy or is_ours or (module, name) in (("builtins", "complex"), ("builtins", "set")):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} must not occur in an answer")


class _Reader:
    """One reading process and its pipes."""

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
            start_new_session=True,  # Ctrl-C goes to this process, which then ends it
        )
        if self._process.stdout is not None:
            with suppress(OSError):  # a smaller pipe is only slower
                fcntl.fcntl(self._process.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.has_answered = False

    def ask(self, request: Request, deadline: float) -> tuple[str, Any]:
        """Send a request; return kind and value of the answer.

        Raises
        ------
        TimeoutError
            If it has not come at ``deadline`` (monotonic).
        _EndedError
            If the process has ended.
        """
        requests = self._process.stdin
        try:
            if requests is None or requests.write(json.dumps(request).encode() + b"\n") is None:
                raise _EndedError
        except OSError:
            raise _EndedError from None
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
            raise _EndedError
        descriptor = answers.fileno()
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        while part.nbytes:
            if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1e3):
                raise TimeoutError
            count = os.readv(descriptor, [part[:PIECE_BYTES]])
            if not count:
                raise _EndedError
            part = part[count:]

    def end(self) -> str:
        """End the process; return the way it ended as part of a sentence."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            code = self._process.wait(ENDING_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            try:
                code = self._process.wait(GRACE_S)
            except subprocess.TimeoutExpired:  # it waits for a disk that does not respond
                return "is stuck on its disk"
        return f"ended with {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


class _Readers:
    """Idle reading processes. Safe from any thread."""

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
        """Forget the processes after a fork: they belong to the parent."""
        self._lock, self._idle = threading.Lock(), []


class _Refused:
    """Files that recently hung or crashed a process; reading them again fails at once. Safe from any thread."""

    def __init__(self) -> None:
        self._until: dict[tuple[int, ...], tuple[float, str]] = {}

    def add(self, path: Path, words: str) -> FileFormatError:
        """Remember a file; return the exception to raise."""
        now = time.monotonic()
        self._until = {stamp: kept for stamp, kept in self._until.copy().items() if kept[0] > now}
        self._until[stamp_of(path)] = now + REFUSED_S, words
        return FileFormatError(words)

    def check(self, path: Path) -> None:
        """Refuse a remembered file that has not changed."""
        until, words = self._until.get(stamp_of(path), (0.0, ""))
        if time.monotonic() < until:
            raise FileFormatError(words)


def stamp_of(path: Path) -> tuple[int, ...]:
    """Return numbers that change when a file changes; empty if it does not exist."""
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
    """Return ``reader(path, **options)``, called in a separate process; ``reader`` is a function of a module of ``daemon.files``.

    Raises
    ------
    FileFormatError
        With the reader's own message, or if no process can be started, or the file crashes it, hangs it or exceeds ``limits``.
    """
    _refused.check(path)
    timeout_s = _timeout_s(path) if limits.timeout_s is None else limits.timeout_s
    request: Request = {
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


def _asked(request: Request, path: Path, timeout_s: float) -> tuple[str, Any]:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            process = _readers.take()
        except OSError as fault:  # too many files or processes, or no memory
            words = f"no process can be started to read it ({fault.strerror}); close other programs and try again"
            raise FileFormatError(f"{path}: {words}") from fault
        was_kept = process.has_answered
        try:
            answer = process.ask(request, deadline)
        except TimeoutError:
            process.end()
            raise _refused.add(
                path,
                f"{path}: reading took over {timeout_s:.0f} s; the file is damaged, or its disk does not "
                "respond: copy or write it again",
            ) from None
        except _EndedError:
            how = process.end()
            if was_kept:  # it may have ended because it was idle for too long
                continue
            raise _refused.add(
                path, f"{path}: is damaged: the process that read it {how}; copy or write it again"
            ) from None
        except BaseException:
            process.end()
            raise
        _readers.put(process)
        return answer


def _timeout_s(path: Path) -> float:
    size = stamp_of(path)[2:3]  # the reader reports a missing file itself
    return TIMEOUT_S + sum(size) / SLOWEST_BYTES_PER_S
