"""Twenty viewers, half over ZeroMQ and half over WebSockets: ten read, five are stuck, five come and go.

``quiet`` on the standard input has those that come and go stay away and the stuck ones come anew, ``busy`` has all as
before; each is answered.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import zmq
import zmq.asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

READERS, STUCK, GUESTS = 10, 5, 5
STUCK_AGAIN_S = 45.0  # the daemon lets go of a viewer that is stuck for 30 s, which does not see it: it tries again

Receive = Callable[[], Awaitable[object]]


@asynccontextmanager
async def zmq_viewer(endpoint: str, most_waiting: int) -> AsyncIterator[Receive]:
    with zmq.asyncio.Context() as context, context.socket(zmq.SUB) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVHWM, most_waiting)
        socket.connect(endpoint)
        socket.subscribe(b"")
        yield socket.recv_multipart


@asynccontextmanager
async def ws_viewer(url: str, most_waiting: int) -> AsyncIterator[Receive]:
    address = url.replace("http", "ws", 1) + "/api/v1/updates"
    options = {"max_size": None, "compression": None, "ping_interval": None, "close_timeout": 1}
    async with connect(address, max_queue=most_waiting, **options) as socket:
        try:
            yield socket.recv
        finally:
            socket.transport.abort()


class Crowd:
    def __init__(self, updates: str, url: str) -> None:
        self._updates, self._url = updates, url
        self._may_come = asyncio.Event()
        self._may_come.set()
        self._must_go = asyncio.Event()
        self._here = 0
        self._stuck: list[asyncio.Task[None]] = []
        self._all_gone = asyncio.Event()
        self._all_gone.set()

    def _viewer(self, number: int, most_waiting: int = 16):
        return zmq_viewer(self._updates, most_waiting) if number % 2 else ws_viewer(self._url, most_waiting)

    async def read(self, number: int) -> None:
        while True:
            with suppress(OSError, WebSocketException):
                async with self._viewer(number) as receive:
                    while True:
                        await receive()

    async def renew_stuck(self) -> None:
        for task in self._stuck:
            task.cancel()
        await asyncio.gather(*self._stuck, return_exceptions=True)
        self._stuck = [asyncio.create_task(self.be_stuck(number)) for number in range(STUCK)]

    async def be_stuck(self, number: int) -> None:
        while True:
            with suppress(OSError, WebSocketException):
                async with self._viewer(number, 1):
                    await asyncio.sleep(STUCK_AGAIN_S)

    async def come_and_go(self, number: int, chance: random.Random) -> None:
        while True:
            await self._may_come.wait()
            self._here += 1
            self._all_gone.clear()
            with suppress(OSError, WebSocketException, TimeoutError):
                async with self._viewer(number) as receive, asyncio.timeout(chance.uniform(0.2, 4.0)):
                    while not self._must_go.is_set():
                        await receive()
            self._here -= 1
            if not self._here:
                self._all_gone.set()
            await asyncio.sleep(chance.uniform(0.1, 1.0))

    async def obey(self) -> None:
        while word := (await asyncio.to_thread(sys.stdin.readline)).strip():
            if word == "quiet":
                self._may_come.clear()
                self._must_go.set()
                await self._all_gone.wait()
                await self.renew_stuck()
            else:
                self._must_go.clear()
                self._may_come.set()
            print(word, flush=True)


async def main(updates: str, url: str) -> None:
    crowd, chance = Crowd(updates, url), random.Random(1)
    tasks = [asyncio.create_task(crowd.read(number)) for number in range(READERS)]
    await crowd.renew_stuck()
    tasks += [asyncio.create_task(crowd.come_and_go(number, chance)) for number in range(GUESTS)]
    print("ready", flush=True)
    await crowd.obey()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    os.nice(10)  # on real machines they are elsewhere
    asyncio.run(main(*sys.argv[1:]))
