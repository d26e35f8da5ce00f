"""The separate process that opens files for another one: ``python -m daemon.files.reading_side``.

If the HDF5 library hangs or crashes on a damaged file, only this process is lost. A request is a line of JSON on stdin; the
answer on stdout is a line of JSON with the sizes of its parts, then a pickle, then the pickle's arrays.
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
from daemon.files.apart import Request

IDLE_S = 60.0
"""Time without requests after which the process ends: a daemon looks at files in bursts."""
PACKAGE = "daemon.files."


def serve(requests: int, answers: int) -> None:
    """Answer requests until stdin is closed or idle for a minute."""
    with os.fdopen(requests, "rb", buffering=0) as asked:
        while select.select([asked], [], [], IDLE_S)[0] and (line := asked.readline()):
            request: Request = json.loads(line)
            with _ended_with_parent(requests):
                answer = _answered(request)
            _send(answers, *answer, request)


@contextmanager
def _ended_with_parent(requests: int) -> Iterator[None]:
    """End this process as soon as the pipe of requests is closed, also inside C code: SIGIO does that.

    The kernel's signal for the death of a parent would come when the thread ends that started this process.
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


def _answered(request: Request) -> tuple[str, Any]:
    signal.setitimer(signal.ITIMER_REAL, request["timeout_s"])  # SIGALRM ends this process, also inside C code
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (request["memory_bytes"], hard))
    access.MAY_FOLLOW.set(request["may_follow"])
    try:
        return "value", _reader(request["reader"])(Path(request["path"]), **request["options"])
    except MemoryError:
        return "fault", f"{request['path']}: needs more memory than is allowed; give a smaller file"
    except Exception as fault:
        return "fault", str(fault) or type(fault).__name__
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        signal.setitimer(signal.ITIMER_REAL, 0)


def _reader(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    if not module.startswith(PACKAGE):
        raise ValueError(f"{name} is not a reader of {PACKAGE[:-1]}")
    reader: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return reader


def _send(descriptor: int, kind: str, value: Any, request: Request) -> None:
    arrays: list[pickle.PickleBuffer] = []
    packed = pickle.dumps((kind, value), protocol=5, buffer_callback=arrays.append)
    parts = [memoryview(packed), *(array.raw() for array in arrays)]
    size = sum(part.nbytes for part in parts)
    if size > request["answer_bytes"]:
        words = f"{request['path']}: the answer of {size / 1e9:.1f} GB is too large; open the file itself"
        parts = [memoryview(pickle.dumps(("fault", words)))]
    _write(descriptor, memoryview(json.dumps([part.nbytes for part in parts]).encode() + b"\n"))
    for part in parts:
        _write(descriptor, part)


def _write(descriptor: int, part: memoryview) -> None:
    while part.nbytes:
        part = part[os.write(descriptor, part) :]


if __name__ == "__main__":
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a library's output must not come between the answers
    for number in (signal.SIGALRM, signal.SIGIO):
        signal.signal(number, signal.SIG_DFL)
    access.IS_APART.set(True)
    serve(os.dup(sys.stdin.fileno()), answers)
