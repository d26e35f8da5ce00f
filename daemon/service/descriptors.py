"""The limit of open files and connections: the daemon's own come first, viewers share the rest.

A reserve is held open, so that a running scan goes on when the limit is lowered or reached.
"""

from __future__ import annotations

import errno
import logging
import os
import resource
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

OWN = 64
"""Reserved for running scans: sockets and threads of streams, journals and products of a dozen scans, child processes."""
MIN_CONNECTIONS = 4
"""Connections that each port accepts in any case: a page, a script, a monitor, and one more."""
NEAR = 8
"""Descriptors left at which a warning is shown; a scan opens two or three."""
RESERVE = 32
"""Descriptors that the reserve holds: half for new connections, half for files."""
FOR_FILES = 16
"""Descriptors that only files get: journals of a few scans, and the four that a product and a record need at once."""
SHORTAGE = (errno.EMFILE, errno.ENFILE)

log = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Shares:
    """Connections that may be open at the page's port and at the port of the updates."""

    http: int
    updates: int


def raise_limit() -> None:
    """Raise the limit to the most that the system allows; a shell's default of 1024 is too low."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except (OSError, ValueError) as fault:
        log.info("the limit of open files could not be raised: %s", fault)


def limit() -> int:
    """Return the limit."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def count_open() -> int:
    """Return the number of open ones; the limit if even that cannot be read for lack of a descriptor."""
    try:
        return len(os.listdir("/proc/self/fd")) - 1
    except OSError as fault:
        return limit() if fault.errno in SHORTAGE else 0


def share_out(wanted: Shares) -> Shares:
    """Return the connections that remain besides the daemon's own, at most ``wanted``; log a warning if they are fewer."""
    left = limit() - count_open() - OWN
    total = wanted.http + wanted.updates
    if left >= total:
        return wanted
    found = Shares(
        max(MIN_CONNECTIONS, left * wanted.http // total), max(MIN_CONNECTIONS, left * wanted.updates // total)
    )
    log.warning(
        "only %d files and connections may be open: the page accepts %d connections at once and the updates %d; "
        "raise the limit (ulimit -n, LimitNOFILE)",
        limit(),
        found.http,
        found.updates,
    )
    return found


class Reserve:
    """Descriptors that are held open, and given up when others are needed and none is left. Safe from any thread."""

    def __init__(self) -> None:
        self._held: list[int] = []
        self._is_used = self._was_given_up = False
        self._lock = threading.Lock()

    @property
    def is_given_up(self) -> bool:
        """Whether some of the reserve is in use."""
        return self._is_used and len(self._held) < RESERVE

    def hold(self) -> None:
        """Hold the reserve from now on, unless the limit is too low for it; early, for a lowered limit spares low numbers."""
        self._is_used = limit() - count_open() > RESERVE + OWN
        if self._is_used:
            self._fill(RESERVE)

    def look(self) -> None:
        """Give up the share of connections if hardly a descriptor is left, and hold it again when there is room."""
        if not self._is_used:
            return
        left = limit() - count_open()
        if left <= NEAR:
            self._shrink(FOR_FILES)
        elif left > RESERVE - len(self._held) + 2 * NEAR:
            self._fill(RESERVE)
        if self.is_given_up != self._was_given_up:
            self._was_given_up = self.is_given_up
            log.warning(
                "hardly any file or connection may be opened: scans use the reserve; raise the limit (ulimit -n, LimitNOFILE)"
                if self._was_given_up
                else "enough files and connections may be opened again"
            )

    def lend(self, call: Callable[[], Result]) -> Result:
        """Return the result of ``call``, which opens files; if none may be opened, it is called again with the reserve."""
        try:
            return call()
        except OSError as fault:
            if fault.errno not in SHORTAGE or not self._held:
                raise
        self._shrink(0)
        try:
            return call()
        finally:
            self._fill(FOR_FILES)

    def _shrink(self, number: int) -> None:
        with self._lock:
            while len(self._held) > number:
                os.close(self._held.pop())

    def _fill(self, number: int) -> None:
        """Hold up to ``number``, fewer if no more may be opened."""
        with self._lock:
            try:
                while len(self._held) < number:
                    self._held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            except OSError as fault:
                log.debug("the reserve holds %d of %d descriptors: %s", len(self._held), number, fault)


reserve = Reserve()
"""The reserve of this process; its limit is one, too."""


def trouble() -> str | None:
    """Return a sentence if hardly any more can be opened; else None."""
    found, most = count_open(), limit()
    if found + NEAR < most and not reserve.is_given_up:
        return None
    return (
        f"{found} of at most {most} files and connections are open: new scans may not be received or kept; "
        "raise the limit (ulimit -n, LimitNOFILE) or close viewers"
    )
