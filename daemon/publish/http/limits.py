"""Limits of the HTTP server: connections, headers, bodies, large answers, time."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from daemon.metrics import HttpRefusal

OnRefused = Callable[[HttpRefusal], None]
LARGE = (".npy", ".npz", ".png", ".svg", ".tif", "/picture", "/path", "/frames", "/comparison")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Sizes in bytes, times in seconds.

    A client must send a whole request within ``request_s``, and accept some data every ``stuck_s``. At most
    ``large_at_once`` pictures are made and sent at once; a further request waits up to ``large_wait_s``.
    """

    max_connections: int = 256
    max_headers: int = 100
    max_header_bytes: int = 16 << 10
    max_body_bytes: int = 64 << 10
    request_s: float = 10.0
    stuck_s: float = 30.0
    large_at_once: int = 4
    large_wait_s: float = 10.0


async def refuse(send: Send, status: int, sentence: str, extra: dict[str, str] | None = None) -> None:
    """Answer an HTTP request with a sentence."""
    await answer(send, status, json.dumps({"detail": sentence}).encode(), extra)


async def answer(send: Send, status: int, body: bytes, extra: dict[str, str] | None = None) -> None:
    """Answer an HTTP request; JSON unless ``extra`` says otherwise."""
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(extra or {})}
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


class RequestLimits:
    """Refuses requests with too many headers or a long body, and limits large answers at a time."""

    def __init__(self, app: ASGIApp, limits: HttpLimits, on_refused: OnRefused) -> None:
        self._app = app
        self._limits = limits
        self._on_refused = on_refused
        self._large = asyncio.Semaphore(limits.large_at_once)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif self._has_too_many_headers(scope):
            self._on_refused(HttpRefusal.HEADERS)
            most, most_bytes = self._limits.max_headers, self._limits.max_header_bytes
            await refuse(send, 431, f"too many headers: the limits are {most} headers and {most_bytes} bytes in all")
        elif scope["path"].endswith(LARGE) or (scope["path"].endswith(".h5") and b"box=" in scope["query_string"]):
            await self._in_turn(scope, receive, send)
        else:
            await self._with_bounded_body(scope, receive, send)

    def _has_too_many_headers(self, scope: Scope) -> bool:
        pairs = scope["headers"]
        size = sum(len(name) + len(value) for name, value in pairs)
        return len(pairs) > self._limits.max_headers or size > self._limits.max_header_bytes

    async def _in_turn(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.wait_for(self._large.acquire(), self._limits.large_wait_s)
        except TimeoutError:
            self._on_refused(HttpRefusal.BUSY)
            await refuse(send, 503, "too many pictures are requested at once; try again", {"Retry-After": "2"})
            return
        try:
            await self._with_bounded_body(scope, receive, send)
        finally:
            self._large.release()

    async def _with_bounded_body(self, scope: Scope, receive: Receive, send: Send) -> None:
        most = self._limits.max_body_bytes
        taken, is_too_long = 0, int(Headers(scope=scope).get("content-length", "0")) > most
        has_started = False

        async def receive_bounded() -> Message:
            nonlocal taken, is_too_long
            message = await receive()
            taken += len(message.get("body", b""))
            is_too_long = is_too_long or taken > most
            return {"type": "http.disconnect"} if is_too_long else message

        async def send_unless_refused(message: Message) -> None:
            nonlocal has_started
            if has_started or not is_too_long:
                has_started = True
                await send(message)

        if not is_too_long:
            await self._app(scope, receive_bounded, send_unless_refused)
        if is_too_long and not has_started:
            self._on_refused(HttpRefusal.BODY)
            await refuse(send, 413, f"the body is too long: the limit is {most} bytes", {"Connection": "close"})


def protocol_class(limits: HttpLimits, on_refused: OnRefused) -> type[asyncio.Protocol]:
    """Return uvicorn's protocol with a limit of connections (``limit_concurrency`` would keep further ones open)."""

    class BoundedProtocol(H11Protocol):
        quiet_since = 0.0
        """Time since which it has been open without a request, or after its answer, monotonic s."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.quiet_since = time.monotonic()
            if len(self.connections) > limits.max_connections:
                on_refused(HttpRefusal.CONNECTIONS)
                _least_needed(self, self.connections).abort()

        def on_response_complete(self) -> None:
            self.quiet_since = time.monotonic()
            super().on_response_complete()

    return BoundedProtocol


def _least_needed(newest: Any, connections: Iterable[Any]) -> asyncio.Transport:
    """Return the connection to close in favour of the newest.

    That is the oldest that has never sent a request, else the one that was answered longest ago, else the newest. So
    idle connections cannot keep new clients out.
    """
    others: list[Any] = [
        c for c in connections if c is not newest and isinstance(c, H11Protocol) and not c.transport.is_closing()
    ]
    silent = [c for c in others if c.cycle is None]
    answered = [c for c in others if c.cycle is not None and _has_taken_its_answer(c)]
    found: Any = min(silent or answered, key=lambda c: c.quiet_since, default=newest)
    transport: asyncio.Transport = found.transport
    return transport


def _has_taken_its_answer(connection: Any) -> bool:
    return bool(connection.cycle.response_complete) and not connection.transport.get_write_buffer_size()


@dataclass(slots=True)
class _Watched:
    cycle: Any
    asking_since: float
    unsent_bytes: int
    stuck_since: float


class Patience:
    """Ends connections that are slow to send a request, or do not accept data."""

    def __init__(self, limits: HttpLimits, on_refused: OnRefused) -> None:
        self._limits = limits
        self._on_refused = on_refused
        self._watched: dict[Any, _Watched] = {}

    def look(self, connections: Iterable[Any], now: float) -> None:
        """Check all connections; call it about once a second."""
        earlier, self._watched = self._watched, {}
        for connection in list(connections):
            if connection.transport is None:
                continue
            unsent_bytes = connection.transport.get_write_buffer_size()
            cycle = getattr(connection, "cycle", None)
            seen = earlier.get(connection) or _Watched(cycle, now, unsent_bytes, now)
            if cycle is not seen.cycle or not _is_asking(connection, cycle):
                seen.asking_since = now
            if unsent_bytes == 0 or unsent_bytes < seen.unsent_bytes:
                seen.stuck_since = now
            seen.cycle, seen.unsent_bytes = cycle, unsent_bytes
            self._watched[connection] = seen
            if now - seen.asking_since > self._limits.request_s:
                self._end(connection, HttpRefusal.SLOW, "did not send a whole request")
            elif now - seen.stuck_since > self._limits.stuck_s:
                self._end(connection, HttpRefusal.STUCK, "does not accept data")

    def _end(self, connection: Any, reason: HttpRefusal, words: str) -> None:
        peer = connection.client[0] if connection.client else "a local program"
        log.warning("a connection from %s was ended: it %s", peer, words)
        self._on_refused(reason)
        connection.transport.abort()


def _is_asking(connection: Any, cycle: Any) -> bool:
    """Whether an HTTP connection still has to send a request, or the rest of one; false for a WebSocket."""
    if not isinstance(connection, H11Protocol):
        return False
    return cycle is None or bool(cycle.more_body) or bool(cycle.response_complete)
