"""A child process that ends with the daemon, even if the daemon is killed.

It asks the kernel for that before it loads large libraries: loading takes seconds, in which the daemon may end. So this
module and its package import no other module of ours.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
from typing import Any

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
PARENT = "PTYCHOLIVE_PARENT"


def end_with_parent(parent: int | None = None) -> None:
    """Ask the kernel to end this process when the thread that started it ends.

    ``parent`` is the process of that thread; by default it is read from the environment.
    """
    named = os.environ.get(PARENT) if parent is None else str(parent)
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):  # not Linux
        return
    if named is not None and os.getppid() != int(named):  # the parent has ended meanwhile
        os.kill(os.getpid(), signal.SIGKILL)


def run_child(parent: int, module: str, *arguments: Any) -> None:
    """Load a module and call its ``run``; the target of a process that :mod:`multiprocessing` starts."""
    end_with_parent(parent)
    importlib.import_module(module).run(*arguments)
