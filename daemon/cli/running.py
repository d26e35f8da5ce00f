"""Finds the running daemon of a configuration."""

from __future__ import annotations

from daemon.cli.remote import fetch
from daemon.config import Config
from daemon.errors import ConfigError
from daemon.messages import Status
from streams.errors import EndpointError

ANY_HOSTS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Addresses that bind all interfaces, and the address to reach them from this machine."""


def daemon_url(config: Config) -> str:
    """Return the address of the page under which this machine reaches it."""
    http = config.http
    host = ANY_HOSTS.get(http.host, http.host)
    scheme = "http" if http.certificate_file is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{http.port}"


def daemon_status(config: Config) -> Status | None:
    """Return the status of the running daemon of a configuration; ``None`` if none is running."""
    if config.http.port == 0:
        return None
    try:
        status: Status = fetch(daemon_url(config), "/api/v1/status", config.http.token_file)
    except (EndpointError, ConfigError):
        return None
    return status if isinstance(status, dict) and "streams" in status else None
