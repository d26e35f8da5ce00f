"""A viewer for asyncio, with one thread that waits on the socket."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from types import TracebackType

from ptycholive_client.events import ViewerEvent
from ptycholive_client.keys import CurveKeys
from ptycholive_client.pictures import Picture, copied
from ptycholive_client.viewer import Viewer

ASYNC_EVENTS = 64
"""Events that wait for a slow loop; each may hold a picture."""


class AsyncViewer:
    """A :class:`Viewer` for asyncio: ``async with AsyncViewer(endpoint) as viewer: async for … in viewer.events()``.

    Its pictures are copies. At most a few dozen events wait for a slow loop; the daemon is not delayed.
    """

    def __init__(
        self,
        endpoint: str,
        timeout_s: float | None = 10.0,
        *,
        curve: CurveKeys | None = None,
        token: str | None = None,
    ) -> None:
        self._viewer = Viewer(endpoint, 0.2, curve=curve, token=token)
        self._timeout_s = timeout_s
        self._leaving = threading.Event()
        self._room = threading.Semaphore(ASYNC_EVENTS)
        self._events: asyncio.Queue[ViewerEvent | BaseException] = asyncio.Queue()
        self._thread: threading.Thread | None = None

    async def __aenter__(self) -> AsyncViewer:
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, args=(loop,), name="viewer", daemon=True)
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    async def events(self) -> AsyncIterator[ViewerEvent]:
        """As :meth:`Viewer.events`, with the same exceptions."""
        while True:
            try:
                event = await asyncio.wait_for(self._events.get(), self._timeout_s)
            except TimeoutError as silence:
                words = f"no message came from {self._viewer.endpoint} for {self._timeout_s:g} s; check that the daemon runs"
                raise TimeoutError(words) from silence
            self._room.release()
            if isinstance(event, BaseException):
                raise event
            yield event

    async def snapshots(self, layer: str = "refined", scan_id: str | None = None) -> AsyncIterator[Picture]:
        """As :meth:`Viewer.snapshots`."""
        async for event in self.events():
            picture = event.picture
            if picture is not None and picture.layer == layer and scan_id in (None, picture.scan_id):
                yield picture

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while not self._leaving.is_set():
                with suppress(TimeoutError):
                    for event in self._viewer.events():
                        self._put(
                            loop, event if event.picture is None else event._replace(picture=copied(event.picture))
                        )
                        if self._leaving.is_set():
                            return
        except Exception as fault:  # raised again in the loop
            self._put(loop, fault)
        finally:
            self._viewer.close()

    def _put(self, loop: asyncio.AbstractEventLoop, event: ViewerEvent | BaseException) -> None:
        while not self._room.acquire(timeout=0.2):
            if self._leaving.is_set():
                return
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(self._events.put_nowait, event)
