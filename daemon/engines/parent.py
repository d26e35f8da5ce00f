"""A child process that ends with the daemon, however that ends."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
PARENT = "PTYCHOLIVE_PARENT"


def end_with_parent() -> None:
    """Have the kernel end this process when the one that started it ends; it is named in the environment, if at all."""
    parent = os.environ.get(PARENT)
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):  # not Linux
        return
    if parent is not None and os.getppid() != int(parent):  # it has ended meanwhile
        os.kill(os.getpid(), signal.SIGKILL)
