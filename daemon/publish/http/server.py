"""An ASGI application in a thread, on a socket that is bound before anything starts; HTTP, or HTTPS with a certificate."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from daemon.config import Http, is_loopback
from daemon.errors import ConfigError
from daemon.metrics import HttpRefusal
from daemon.publish.http.guard import Guard
from daemon.publish.http.limits import HttpLimits, OnRefused, Patience, RequestLimits, protocol_class
from streams.errors import EndpointError

VIEWER_MESSAGE_BYTES = 4096  # viewers send nothing
LOOK_EVERY_TICKS = 10


def _count_nothing(reason: HttpRefusal) -> None:
    del reason


class HttpServer:
    """Serves `app` at `host`:`port` (0 takes a free port, see ``port``).

    Parameters
    ----------
    token
        Bearer token that every request must carry; required off loopback.
    hosts
        Further host names that are allowed without a token.
    tls
        Certificate and key, for HTTPS; see :func:`tls_context`.
    on_refused
        Called with the reason for every request or connection that was refused or ended.

    Raises
    ------
    EndpointError
        If the port cannot be used.
    """

    def __init__(
        self,
        app: ASGIApp,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        token: str | None = None,
        hosts: Sequence[str] = (),
        tls: ssl.SSLContext | None = None,
        limits: HttpLimits | None = None,
        on_refused: OnRefused = _count_nothing,
    ) -> None:
        if not token and not is_loopback(host):
            raise EndpointError(
                f"[http] host {host} can be reached from other machines, so a token is required; "
                "set [http] token_file, or use host 127.0.0.1"
            )
        limits = limits or HttpLimits()
        self.host = host
        self._scheme = "http" if tls is None else "https"
        self._listener = _bind(host, port)
        self.port: int = self._listener.getsockname()[1]
        config = uvicorn.Config(
            Guard(RequestLimits(app, limits, on_refused), token or None, hosts, on_refused),
            http=protocol_class(limits, on_refused),
            h11_max_incomplete_event_size=limits.max_header_bytes,
            log_level=logging.WARNING,
            access_log=False,
            lifespan="off",
            ws="websockets-sansio",
            ws_max_size=VIEWER_MESSAGE_BYTES,
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=1,
            log_config=None,
            server_header=False,
            ssl_context_factory=None if tls is None else lambda _config, _default: tls,
        )
        self._server = _Server(config, Patience(limits, on_refused))
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    @property
    def url(self) -> str:
        """Address of the viewer page."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self._scheme}://{host}:{self.port}"

    def start(self) -> None:
        """Start; return when requests are answered."""
        self._thread.start()
        self._server.settled.wait()
        if not self._server.started:
            raise EndpointError(f"the HTTP server at {self.url} did not start; the log has the reason")

    def stop(self) -> None:
        """Close all connections and the port; WebSockets get the code 1012 (service restart)."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        self._listener.close()

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._listener])
        finally:
            self._server.settled.set()


def open_server(
    app: ASGIApp,
    options: Http,
    *,
    token: str | None,
    tls: ssl.SSLContext | None,
    on_refused: OnRefused,
    max_connections: int | None = None,
) -> HttpServer:
    """Return the server of a configuration; ``max_connections`` replaces the configured limit if it is lower."""
    limits = HttpLimits(max_connections=max_connections or options.max_connections)
    return HttpServer(
        app, options.host, options.port, token=token, hosts=options.hosts, tls=tls, limits=limits, on_refused=on_refused
    )


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, patience: Patience) -> None:
        super().__init__(config)
        self._patience = patience
        self.settled = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.settled.set()

    async def on_tick(self, counter: int) -> bool:
        if counter % LOOK_EVERY_TICKS == 0:
            self._patience.look(self.server_state.connections, time.monotonic())
        return await super().on_tick(counter)


def tls_context(certificate_file: Path | None, key_file: Path | None) -> ssl.SSLContext | None:
    """Return the context for HTTPS from PEM files: the chain and, unless it is in the same file, the key; None for HTTP.

    Raises
    ------
    ConfigError
        If they cannot be used.
    """
    if certificate_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate_file, key_file, password=lambda: "")  # never ask the terminal
    except (OSError, ValueError) as fault:  # SSLError is an OSError
        reason = getattr(fault, "strerror", None) or str(fault)
        raise ConfigError(
            f"[http] certificate_file {certificate_file} with key {key_file or 'inside'} cannot be used ({reason}); "
            "give a PEM chain and its PEM key without a passphrase"
        ) from fault
    return context


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
