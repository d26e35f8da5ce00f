"""The start of the demo: its ports, its browser, and its first viewer."""

from __future__ import annotations

import os
import socket
import sys
import time
import webbrowser

import typer

from daemon.cli.remote import fetch
from daemon.errors import DaemonError
from daemon.messages import Status
from streams.errors import EndpointError

UPDATES_PORT = 5556
"""The port that ``watch``, the notebook and the README use: the default of ``[publish] endpoint``."""
LOOK_S = 0.2
"""Time between two looks for a viewer, s."""


def page_port(port: int) -> int:
    """Return the port of the page; raises :class:`EndpointError` if another program uses it."""
    if port and not _is_free(port):
        raise EndpointError(
            f"port {port} of the page is in use by another program; choose another with --port, or --port 0 for a free one"
        )
    return port


def updates_port() -> int:
    """Return the usual port of updates, or 0 for any free one if another program uses that."""
    return UPDATES_PORT if _is_free(UPDATES_PORT) else 0


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def invite(page: str, wait_s: float, *, opens_browser: bool) -> None:
    """Open the page in a browser, where there is one, and wait for the first viewer."""
    if opens_browser and has_browser():
        webbrowser.open(page)
    if sys.stderr.isatty():
        typer.echo(f"The scan starts when the page is open, or in {wait_s:.0f} s.", err=True)
    wait_for_viewer(page, wait_s)


def has_browser() -> bool:
    """Whether a browser with windows can be opened from here."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def wait_for_viewer(page: str, wait_s: float) -> bool:
    """Wait until somebody watches, in a browser or over ZeroMQ; False if nobody does within ``wait_s``."""
    until = time.monotonic() + wait_s
    while time.monotonic() < until:
        try:
            status: Status = fetch(page, "/api/v1/status")
        except (DaemonError, EndpointError):
            return False
        if status["subscribers"] > 0:
            return True
        time.sleep(LOOK_S)
    return False
