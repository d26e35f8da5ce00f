"""``bench --only viewers``: what fifty viewers cost the daemon, in frames a second.

Each pair runs the same scan twice, without and with viewers, in turn which goes first; one daemon serves all. The
viewers are WebSockets, as the page opens them, in a process of their own, which reads every byte, at a low
priority: on real machines they are elsewhere, here they share the daemon's processors.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect

from daemon.cli.bench_live import LiveDaemon, live_daemon
from daemon.errors import DaemonError

VIEWERS = 50
PAIRS = 5
REPEAT = 2


def measure_viewers(viewers: int = VIEWERS, pairs: int = PAIRS, repeat: int = REPEAT) -> dict[str, Any]:
    """Frames a second with nobody looking and with many; ``loss_ratio`` is the median over the pairs."""
    with (
        tempfile.TemporaryDirectory(prefix="ptycholive-bench-") as folder,
        live_daemon(Path(folder), "none", refine=False, finetune=False) as daemon,
    ):
        daemon.rate("warm-up", 1)
        return _measure(daemon, viewers, pairs, repeat)


def _measure(daemon: LiveDaemon, viewers: int, pairs: int, repeat: int) -> dict[str, Any]:
    alone, watched, losses, seen = [], [], [], 0
    for pair in range(pairs):
        rates = {}
        for has_viewers in ((False, True), (True, False))[pair % 2]:
            scan_id = f"pair-{pair}-{'watched' if has_viewers else 'alone'}"
            if has_viewers:
                with _crowd(daemon.addresses["http"], viewers) as crowd:
                    rates[True] = daemon.rate(scan_id, repeat)
                seen += crowd["messages"]
            else:
                rates[False] = daemon.rate(scan_id, repeat)
        alone.append(rates[False])
        watched.append(rates[True])
        losses.append(1 - rates[True] / rates[False])
    return {
        "viewers": viewers,
        "frames_per_s_alone": statistics.median(alone),
        "frames_per_s_watched": statistics.median(watched),
        "loss_ratio": statistics.median(losses),
        "loss_ratio_least": min(losses),
        "loss_ratio_most": max(losses),
        "messages_per_viewer": seen / max(1, pairs * viewers),
    }


@contextmanager
def _crowd(url: str, viewers: int) -> Iterator[dict[str, int]]:
    """Viewers while the body runs; afterwards ``messages`` is how many they got, all together."""
    command = [sys.executable, "-m", "daemon.cli.bench_viewers", url.replace("http", "ws", 1), str(viewers)]
    found = {"messages": 0}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        word = process.stdout.readline() if process.stdout else ""
        if word.strip() != "ready":
            process.kill()
            raise DaemonError(f"the {viewers} viewers did not all get in; see [http] max_viewers")
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
