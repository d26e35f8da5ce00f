"""Whether the daemon of a configuration runs on this machine already, and what it says."""

from __future__ import annotations

from typing import Any

from daemon.cli.remote import fetch
from daemon.config import Config
from daemon.errors import ConfigError
from streams.errors import EndpointError

ANY_HOSTS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def daemon_url(config: Config) -> str:
    """Return the address of the configuration's page, as this machine reaches it."""
    http = config.http
    host = ANY_HOSTS.get(http.host, http.host)
    scheme = "http" if http.certificate_file is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{http.port}"


def daemon_status(config: Config) -> dict[str, Any] | None:
    """Return the status of the daemon that serves the configuration's page, or ``None`` if there is none."""
    if config.http.port == 0:
        return None
    try:
        status = fetch(daemon_url(config), "/api/v1/status", config.http.token_file)
    except (EndpointError, ConfigError):
        return None
    return status if isinstance(status, dict) and "streams" in status else None
