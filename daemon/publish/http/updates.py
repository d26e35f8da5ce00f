"""The WebSocket of updates: section 4 of the contract as binary messages, each viewer with its own bounded inbox.

All viewers together get at most ``bytes_per_s``, so their cost is bounded. Beyond that, each viewer gets new pictures less
often, but never old ones.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress

from fastapi import WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse

from daemon.publish.feed import Feed
from daemon.publish.hub import UpdateHub
from daemon.publish.wire import Message, encode_ws

AGAIN_S = 10  # a refused viewer should wait this time, s
MESSAGE_BYTES = 20_000  # the cost of one message, expressed in bytes, besides its own size
BURST_S = 0.5  # data for this time may be sent at once, s


class WebSocketViewers:
    """Serves each WebSocket until it closes; ``count`` are connected now, at most ``max_viewers``."""

    def __init__(
        self,
        hub: UpdateHub,
        max_viewers: int = 64,
        bytes_per_s: float = 20e6,
        max_events: int = 128,
        max_bytes: int = 32 << 20,
    ) -> None:
        self._hub = hub
        self._max_viewers = max_viewers
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._pace = _Pace(bytes_per_s, BURST_S)
        self.count = 0

    async def serve(self, websocket: WebSocket) -> None:
        """Send the current state, then all updates, until the viewer or the server closes."""
        if self.count >= self._max_viewers:
            sentence = (
                f"{self._max_viewers} viewers are connected already; try again later, or raise [http] max_viewers"
            )
            busy = JSONResponse({"detail": sentence}, 503, {"Retry-After": str(AGAIN_S)})
            await websocket.send_denial_response(busy)
            return
        self.count += 1  # before the first await
        try:
            await websocket.accept()
            await self._send_until_gone(websocket)
        finally:
            self.count -= 1

    async def _send_until_gone(self, websocket: WebSocket) -> None:
        loop = asyncio.get_running_loop()
        awake = asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop ended while an engine still publishes
                loop.call_soon_threadsafe(awake.set)

        feed = Feed(self._hub, wake, self._max_events, self._max_bytes)
        tasks = {
            asyncio.create_task(_send(websocket, feed, awake, self._pace)),
            asyncio.create_task(_until_gone(websocket)),
        }
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            feed.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _until_gone(websocket: WebSocket) -> None:
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return


class _Pace:
    """The rate that all viewers share."""

    def __init__(self, bytes_per_s: float, burst_s: float) -> None:
        self._bytes_per_s, self._burst_s = bytes_per_s, burst_s
        self._paid_until = 0.0

    async def keep(self, sent_bytes: int) -> None:
        """Wait until the rate allows the next message."""
        now = time.monotonic()
        self._paid_until = max(now, self._paid_until) + sent_bytes / self._bytes_per_s
        if self._paid_until > now + self._burst_s:
            await asyncio.sleep(self._paid_until - now - self._burst_s)


async def _send(websocket: WebSocket, feed: Feed, awake: asyncio.Event, pace: _Pace) -> None:
    sequence = 0
    pending: Iterable[Message] = await asyncio.to_thread(list, feed.greeting())
    with suppress(WebSocketDisconnect, RuntimeError, OSError):
        while True:
            for message in pending:
                encoded = encode_ws(message, sequence)
                await websocket.send_bytes(encoded)
                sequence += 1
                await pace.keep(len(encoded) + MESSAGE_BYTES)
            await awake.wait()
            awake.clear()
            pending = await asyncio.to_thread(list, feed.messages()) if feed.is_behind else feed.messages()
