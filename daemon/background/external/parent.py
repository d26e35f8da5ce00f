"""A child process that ends with the daemon, however that ends.

It says so to the kernel before it loads anything large: loading takes seconds, in which the daemon may end. This module
and the package that it is in import nothing of ours for that reason.
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
    """Have the kernel end this process when the thread that started it ends.

    ``parent`` is its process; left out, it is the one that the environment names, if any.
    """
    named = os.environ.get(PARENT) if parent is None else str(parent)
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):  # not Linux
        return
    if named is not None and os.getppid() != int(named):  # it has ended meanwhile
        os.kill(os.getpid(), signal.SIGKILL)


def run_child(parent: int, module: str, *arguments: Any) -> None:
    """Call ``run`` of a module, which is loaded only now; the target of a process that :mod:`multiprocessing` starts."""
    end_with_parent(parent)
    importlib.import_module(module).run(*arguments)
