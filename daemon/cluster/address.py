"""Addresses of a Ray cluster."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from daemon.errors import ConfigError

CLIENT_PORT = 10001
"""Port of Ray's client server unless the address gives one."""
_CLIENT = re.compile(r"ray://(?P<host>[^\s:/\[\]]+|\[[0-9a-fA-F:.]+\])(?::(?P<port>\d{1,5}))?/?")


class Place(StrEnum):
    """Where the tasks run."""

    LOCAL = "local"
    """Processes on this machine, which end with the command."""
    AUTO = "auto"
    """The cluster that this machine belongs to, or the one in RAY_ADDRESS."""
    CLIENT = "ray"
    """A cluster that is reached through its client server."""


@dataclass(frozen=True, slots=True)
class ClusterAddress:
    """An address as given, its place and, for a client server, host and port."""

    text: str
    place: Place
    host: str = ""
    port: int = 0


def parse_address(text: str, name: str = "--on") -> ClusterAddress:
    """Return a cluster's address; ``name`` is the option or key that gives it. Raises :class:`ConfigError`."""
    if text in (Place.LOCAL, Place.AUTO):
        return ClusterAddress(text, Place(text))
    found = _CLIENT.fullmatch(text)
    port = int(found["port"] or CLIENT_PORT) if found else 0
    if found is None or not 0 < port < 2**16:
        raise ConfigError(
            f"{name} '{text}' is not a cluster; give local, auto, or ray://HOST:PORT (the port of Ray's client server, "
            f"{CLIENT_PORT} by default)"
        )
    return ClusterAddress(f"ray://{found['host']}:{port}", Place.CLIENT, found["host"].strip("[]"), port)
