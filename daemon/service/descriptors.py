"""Files and connections that may be open at once: the daemon's own come first, those who watch share what is left."""

from __future__ import annotations

import errno
import logging
import os
import resource
from dataclasses import dataclass

OWN = 64
"""Kept for what is opened while scans run: sockets and threads of streams, journals and products of a dozen scans, children."""
LEAST = 4
NEAR = 8
"""So few left are said: a scan opens two or three."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shares:
    """How many connections may be open at the page's port, and how many at that of the updates."""

    http: int
    updates: int


def raise_limit() -> None:
    """Take as many as the system allows this program: what a shell gives at first, 1024, is for old programs."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except (OSError, ValueError) as fault:
        log.info("the limit of open files stays as it is: %s", fault)


def limit() -> int:
    """Return how many may be open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def count_open() -> int:
    """Return how many are open; all of them where not even that can be looked up."""
    try:
        return len(os.listdir("/proc/self/fd")) - 1
    except OSError as fault:
        return limit() if fault.errno == errno.EMFILE else 0


def share_out(wanted: Shares) -> Shares:
    """Return what of ``wanted`` can be had beside the daemon's own, and say where that is less."""
    left = limit() - count_open() - OWN
    total = wanted.http + wanted.updates
    if left >= total:
        return wanted
    found = Shares(max(LEAST, left * wanted.http // total), max(LEAST, left * wanted.updates // total))
    log.warning(
        "only %d files and connections may be open: %d connections to the page and %d to the updates are taken at once; "
        "raise the limit (ulimit -n, LimitNOFILE)",
        limit(),
        found.http,
        found.updates,
    )
    return found


def trouble() -> str | None:
    """Return in words that hardly any more can be opened; None while there is room."""
    found, most = count_open(), limit()
    if found + NEAR < most:
        return None
    return (
        f"{found} files and connections are open and {most} may be: new scans may not be received or kept; "
        "raise the limit (ulimit -n, LimitNOFILE) or close viewers"
    )
