"""The process that opens files for another one: ``python -m daemon.files.reading_side``, asked on stdin, answers on stdout.

A damaged file may have HDF5's library hang or end its process: then it is this one. A request is a line of JSON; the
answer is a pickle whose arrays follow it, after a line of JSON with the sizes of all.
"""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import pickle
import resource
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from daemon.files import access

IDLE_S = 60.0
PACKAGE = "daemon.files."


def serve(requests: int, answers: int) -> None:
    """Answer requests until there are no more, or none for a minute."""
    with os.fdopen(requests, "rb", buffering=0) as asked:
        while select.select([asked], [], [], IDLE_S)[0] and (line := asked.readline()):
            request = json.loads(line)
            with _ended_with_parent(requests):
                answer = _answered(request)
            _send(answers, *answer, request)


@contextmanager
def _ended_with_parent(requests: int) -> Iterator[None]:
    """End this process as soon as the pipe of requests is closed, also inside C: SIGIO comes, which ends it.

    The signal of the kernel that tells the end of a parent would come with the thread that asked first.
    """
    flags = fcntl.fcntl(requests, fcntl.F_GETFL)
    fcntl.fcntl(requests, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(requests, fcntl.F_SETFL, flags | os.O_ASYNC)
    try:
        if any(event & select.POLLHUP for _, event in _poll_now(requests)):
            raise SystemExit
        yield
    finally:
        fcntl.fcntl(requests, fcntl.F_SETFL, flags)


def _poll_now(descriptor: int) -> list[tuple[int, int]]:
    waiting = select.poll()
    waiting.register(descriptor, 0)
    return waiting.poll(0)


def _answered(request: dict[str, Any]) -> tuple[str, Any]:
    signal.setitimer(signal.ITIMER_REAL, request["timeout_s"])  # its default action ends this process, also inside C
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (request["memory_bytes"], hard))
    access.MAY_FOLLOW.set(request["may_follow"])
    try:
        return "value", _reader(request["reader"])(Path(request["path"]), **request["options"])
    except MemoryError:
        return "fault", f"{request['path']}: needs more memory than it may; give a smaller file"
    except Exception as fault:
        return "fault", str(fault) or type(fault).__name__
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        signal.setitimer(signal.ITIMER_REAL, 0)


def _reader(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    if not module.startswith(PACKAGE):
        raise ValueError(f"{name} is not one of the readers of {PACKAGE[:-1]}")
    reader: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return reader


def _send(descriptor: int, kind: str, value: Any, request: dict[str, Any]) -> None:
    arrays: list[pickle.PickleBuffer] = []
    packed = pickle.dumps((kind, value), protocol=5, buffer_callback=arrays.append)
    parts = [memoryview(packed), *(array.raw() for array in arrays)]
    size = sum(part.nbytes for part in parts)
    if size > request["answer_bytes"]:
        words = f"{request['path']}: holds {size / 1e9:.1f} GB, which is too much here; open the file itself"
        parts = [memoryview(pickle.dumps(("fault", words)))]
    _write(descriptor, memoryview(json.dumps([part.nbytes for part in parts]).encode() + b"\n"))
    for part in parts:
        _write(descriptor, part)


def _write(descriptor: int, part: memoryview) -> None:
    while part.nbytes:
        part = part[os.write(descriptor, part) :]


if __name__ == "__main__":
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a library's words must not come between the answers
    for number in (signal.SIGALRM, signal.SIGIO):
        signal.signal(number, signal.SIG_DFL)
    access.IS_APART.set(True)
    serve(os.dup(sys.stdin.fileno()), answers)
