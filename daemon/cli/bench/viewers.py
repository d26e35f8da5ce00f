"""``bench --only viewers``: measure how much fifty viewers slow down the daemon.

Each pair runs the same scan twice on one daemon, without and with viewers, alternating which comes first. The viewers are
WebSockets like those of the page, in a separate process that reads every byte. It has a low priority, because it shares
the daemon's processors here, while real viewers run on other machines.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from websockets.asyncio.client import connect

from daemon.cli.bench.live import live_daemon, paired_rates
from daemon.errors import DaemonError

VIEWERS = 50
PAIRS = 5
"""Pairs of scans; the median is over them."""
REPEAT = 2
"""Repetitions of the demo scan in each."""


def measure_viewers(viewers: int = VIEWERS, pairs: int = PAIRS, repeat: int = REPEAT) -> dict[str, float]:
    """Return frames/s without and with viewers; ``loss_ratio`` is the median over the pairs."""
    seen = 0
    with live_daemon("none", refine=False, finetune=False) as daemon:
        daemon.rate("warm-up", 1)

        def rate(scan_id: str, is_watched: bool) -> float:
            nonlocal seen
            if not is_watched:
                return daemon.rate(scan_id, repeat)
            with _crowd(daemon.addresses["http"], viewers) as crowd:
                found = daemon.rate(scan_id, repeat)
            seen += crowd["messages"]
            return found

        rates = paired_rates(pairs, rate)
    figures = rates.figures("watched", "alone")
    return {"viewers": viewers, **figures, "messages_per_viewer": seen / max(1, pairs * viewers)}


@contextmanager
def _crowd(url: str, viewers: int) -> Iterator[dict[str, int]]:
    """Run viewers during the block; afterwards ``messages`` is the number of messages that they received together."""
    command = [sys.executable, "-m", "daemon.cli.bench.viewers", url.replace("http", "ws", 1), str(viewers)]
    found = {"messages": 0}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        word = process.stdout.readline() if process.stdout else ""
        if word.strip() != "ready":
            process.kill()
            raise DaemonError(f"the daemon did not admit all {viewers} viewers; raise [http] max_viewers")
        yield found
        out, _ = process.communicate("")
        found["messages"] = int(out)


async def _look(address: str, viewers: int) -> int:
    os.nice(10)
    sockets = [await connect(f"{address}/api/v1/updates", max_size=None, compression=None) for _ in range(viewers)]
    counts = [0] * viewers

    async def read(number: int) -> None:
        async for _ in sockets[number]:
            counts[number] += 1

    readers = [asyncio.create_task(read(number)) for number in range(viewers)]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    await asyncio.gather(*(socket.close() for socket in sockets), return_exceptions=True)
    return sum(counts)


if __name__ == "__main__":
    sys.stdout.write(f"{asyncio.run(_look(sys.argv[1], int(sys.argv[2])))}\n")
