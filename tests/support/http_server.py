"""The HTTP server before a daemon with one scan."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from daemon.publish.http.interface import HttpServer, create_app
from daemon.publish.hub import UpdateHub
from tests.support import messages
from tests.support.fake_daemon import FakeDaemon


@contextmanager
def serving(app: Any, host: str = "127.0.0.1", **options: Any) -> Iterator[HttpServer]:
    """Yield a server of an application on a free port."""
    server = HttpServer(app, host, 0, **options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def running(host: str = "127.0.0.1", **options: Any) -> Iterator[HttpServer]:
    hub = UpdateHub()
    hub.publish_status(messages.status())
    with serving(create_app(FakeDaemon(), hub), host, **options) as server:
        yield server
