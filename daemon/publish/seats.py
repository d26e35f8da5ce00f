"""A limit of connections to a ZeroMQ endpoint, which the library itself lacks: further ones are closed."""

from __future__ import annotations

import logging
import socket

log = logging.getLogger(__name__)


class Seats:
    """The connections to a TCP port of this process; used by one thread.

    The library reports the descriptor of a connection, which it may have closed since. So the port of the descriptor is
    checked first, and the descriptor is shut down, not closed: the library then closes it.
    """

    def __init__(self, place: str, most: int) -> None:
        self._place = place
        self._most = most
        self._taken: dict[int, None] = {}
        self.turned_away = 0

    def take(self, descriptor: int, port: int) -> None:
        """Enter a connection; shut it down if there are too many."""
        self._taken.pop(descriptor, None)
        self._taken[descriptor] = None
        if len(self._taken) <= self._most:
            return
        self._taken = {one: None for one in self._taken if _port(one) == port}
        if len(self._taken) > self._most and descriptor in self._taken:
            del self._taken[descriptor]
            self.turned_away += 1
            if self.turned_away == 1:
                log.warning("%s: %d viewers are connected; further ones are refused", self._place, self._most)
            _shut(descriptor)


def _port(descriptor: int) -> int | None:
    try:
        known = socket.socket(fileno=descriptor)
    except OSError:
        return None
    try:
        name = known.getsockname()
        known.getpeername()
    except OSError:
        return None
    finally:
        known.detach()
    return int(name[1]) if isinstance(name, tuple) else None


def _shut(descriptor: int) -> None:
    try:
        known = socket.socket(fileno=descriptor)
    except OSError:  # closed meanwhile
        return
    try:
        known.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    finally:
        known.detach()
