"""An ASGI application in a thread, on a socket that is bound before anything starts."""

from __future__ import annotations

import logging
import socket
import threading

import uvicorn
from starlette.types import ASGIApp

from daemon.config import is_loopback
from daemon.publish.http_guard import Guard
from streams.errors import EndpointError


class HttpServer:
    """Serves `app` at `host`:`port` (0 takes a free port, see ``port``).

    Parameters
    ----------
    token
        Bearer token that every request must carry; required off loopback.
    """

    def __init__(self, app: ASGIApp, host: str = "127.0.0.1", port: int = 0, *, token: str | None = None) -> None:
        if not token and not is_loopback(host):
            raise EndpointError(
                f"http host {host} can be reached by others, so a token is needed; "
                "set [http] token_file, or use host 127.0.0.1"
            )
        self.host = host
        self._listener = _bind(host, port)
        self.port: int = self._listener.getsockname()[1]
        config = uvicorn.Config(
            Guard(app, token or None),
            log_level=logging.WARNING,
            access_log=False,
            lifespan="off",
            ws="websockets-sansio",
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=1,
            log_config=None,
            server_header=False,
        )
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    @property
    def url(self) -> str:
        """Address of the viewer page."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def start(self) -> None:
        """Return when requests are answered."""
        self._thread.start()
        self._server.settled.wait()
        if not self._server.started:
            raise EndpointError(f"the HTTP server at {self.url} did not start; the log says why")

    def stop(self) -> None:
        """Close all connections and the port; WebSockets are told that the server restarts (1012)."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        self._listener.close()

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._listener])
        finally:
            self._server.settled.set()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.settled = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.settled.set()


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)  # so that two programs cannot both believe they have the port
    except OSError as fault:
        listener.close()
        raise EndpointError(
            f"http port {port} on {host} cannot be bound ({fault.strerror}); "
            "stop the program that uses it or choose another with [http] port"
        ) from fault
    return listener
