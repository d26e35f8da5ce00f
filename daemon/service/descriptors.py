"""The limit of open files and connections: the daemon's own come first, viewers share the rest."""

from __future__ import annotations

import errno
import logging
import os
import resource
from dataclasses import dataclass

OWN = 64
"""Reserved for running scans: sockets and threads of streams, journals and products of a dozen scans, child processes."""
MIN_CONNECTIONS = 4
"""Connections that each port accepts in any case: a page, a script, a monitor, and one more."""
NEAR = 8
"""Descriptors left at which a warning is shown; a scan opens two or three."""

log = logging.getLogger(__name__)


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
        return limit() if fault.errno == errno.EMFILE else 0


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


def trouble() -> str | None:
    """Return a sentence if hardly any more can be opened; else None."""
    found, most = count_open(), limit()
    if found + NEAR < most:
        return None
    return (
        f"{found} of at most {most} files and connections are open: new scans may not be received or kept; "
        "raise the limit (ulimit -n, LimitNOFILE) or close viewers"
    )
