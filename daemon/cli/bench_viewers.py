"""``bench --only viewers``: what fifty viewers cost the daemon, in frames a second.

Each pair runs the same scan twice, without and with viewers, in turn which goes first; one daemon serves all. The
viewers are WebSockets, as the page opens them, in a process of their own, which reads every byte, at a low
priority: on real machines they are elsewhere, here they share the daemon's processors.
"""

from __future__ import annotations

import asyncio
import json
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

from daemon.cli.demo import PROBE, SCAN, TEMPLATE
from daemon.cli.processes import first_line, free_port, verb_process
from daemon.client import Viewer
from daemon.errors import DaemonError

VIEWERS = 50
PAIRS = 5
REPEAT = 2
SILENCE_S = 120.0


def measure_viewers(viewers: int = VIEWERS, pairs: int = PAIRS, repeat: int = REPEAT) -> dict[str, Any]:
    """Frames a second with nobody looking and with many; ``loss_ratio`` is the median over the pairs."""
    with tempfile.TemporaryDirectory(prefix="ptycholive-bench-") as folder:
        config, frames = Path(folder) / "bench.toml", f"tcp://127.0.0.1:{free_port()}"
        values = {"probe": json.dumps(str(PROBE)), "directory": json.dumps(str(Path(folder) / "out"))}
        config.write_text(
            TEMPLATE.format(frames=frames, bundle="none", refine="false", finetune="false", port=0, **values)
        )
        with verb_process("serve", "--config", str(config), "--json", log=Path(folder) / "daemon.log") as daemon:
            addresses = json.loads(first_line(daemon, Path(folder) / "daemon.log"))
            _rate(addresses, frames, Path(folder), "warm-up", 1)
            return _measure(addresses, frames, Path(folder), viewers, pairs, repeat)


def _measure(
    addresses: dict[str, Any], frames: str, folder: Path, viewers: int, pairs: int, repeat: int
) -> dict[str, Any]:
    alone, watched, losses, seen = [], [], [], 0
    for pair in range(pairs):
        rates = {}
        for has_viewers in ((False, True), (True, False))[pair % 2]:
            scan_id = f"pair-{pair}-{'watched' if has_viewers else 'alone'}"
            if has_viewers:
                with _crowd(addresses["http"], viewers) as crowd:
                    rates[True] = _rate(addresses, frames, folder, scan_id, repeat)
                seen += crowd["messages"]
            else:
                rates[False] = _rate(addresses, frames, folder, scan_id, repeat)
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


def _rate(addresses: dict[str, Any], frames: str, folder: Path, scan_id: str, repeat: int) -> float:
    """Frames a second from the first sent to the last stitched, as fast as the daemon takes them."""
    command = [str(SCAN), "--format", "dectris-v2", "--bind", frames, "--json", "--scan-id", scan_id]
    command += ["--repeat", str(repeat)]
    stitched = shown_ns = 0
    with (
        Viewer(addresses["updates"], SILENCE_S) as viewer,
        verb_process("replay", *command, log=folder / "sender.log") as sender,
    ):
        for topic, header, canvas in viewer.events():
            if header["scan_id"] != scan_id:
                continue
            if canvas is not None and header["frames_stitched"] > stitched:
                stitched, shown_ns = header["frames_stitched"], int(header["time_ns"])
            if topic == "scan" and header["state"] == "ended":
                break
        sent = json.loads(first_line(sender, folder / "sender.log"))
    return 1e9 * stitched / (shown_ns - int(sent["first_sent_ns"]))


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
