"""What the benchmarks of the whole chain share: a daemon of the demo's kind, and a scan sent to it as fast as it is taken."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.cli.demo import SCAN, demo_daemon
from daemon.cli.processes import first_line, verb_process
from daemon.client import Viewer

SILENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class LiveDaemon:
    """A running daemon: its addresses, as ``serve --json`` says them, and where frames are sent to."""

    addresses: dict[str, Any]
    frames: str
    folder: Path

    def send(self, scan_id: str, *options: str) -> tuple[int, float]:
        """Send the demo's scan; return how many frames were stitched, and s from the first sent to the last one's update."""
        log = self.folder / "sender.log"
        command = [str(SCAN), "--format", "dectris-v2", "--bind", self.frames, "--json", "--scan-id", scan_id, *options]
        stitched = shown_ns = 0
        with (
            Viewer(self.addresses["updates"], SILENCE_S) as viewer,
            verb_process("replay", *command, log=log) as sender,
        ):
            for event in viewer.follow_scan(scan_id):
                if event.picture is not None and event.header["frames_stitched"] > stitched:
                    stitched, shown_ns = event.header["frames_stitched"], event.header["time_ns"]
            sent = json.loads(first_line(sender, log))
        return stitched, (shown_ns - int(sent["first_sent_ns"])) / 1e9

    def rate(self, scan_id: str, repeat: int) -> float:
        """Frames a second, sent as fast as they are taken, the scan so many times on end."""
        stitched, seconds = self.send(scan_id, "--repeat", str(repeat))
        return stitched / seconds


@contextmanager
def live_daemon(bundle: str, *, refine: bool, finetune: bool) -> Iterator[LiveDaemon]:
    """Yield a daemon that is ready."""
    with (
        tempfile.TemporaryDirectory(prefix="ptycholive-bench-") as folder,
        demo_daemon(Path(folder), bundle, refine=refine, finetune=finetune) as daemon,
    ):
        yield LiveDaemon(daemon.addresses, daemon.frames, Path(folder))


@dataclass(frozen=True, slots=True)
class PairedRates:
    """Frames a second of scans in pairs, without and with a load."""

    alone: list[float]
    loaded: list[float]

    def figures(self, loaded: str, alone: str) -> dict[str, float]:
        """Return the medians, named as given, and the loss, a share: its median over the pairs, least and most."""
        losses = [1 - ours / free for ours, free in zip(self.loaded, self.alone, strict=True)]
        return {
            f"frames_per_s_{alone}": statistics.median(self.alone),
            f"frames_per_s_{loaded}": statistics.median(self.loaded),
            "loss_ratio": statistics.median(losses),
            "loss_ratio_least": min(losses),
            "loss_ratio_most": max(losses),
        }


def paired_rates(pairs: int, rate: Callable[[str, bool], float]) -> PairedRates:
    """Measure pairs, in turn which goes first; ``rate(scan_id, is_loaded)`` gives frames a second."""
    rates: dict[bool, list[float]] = {False: [], True: []}
    for pair in range(pairs):
        for is_loaded in ((False, True), (True, False))[pair % 2]:
            rates[is_loaded].append(rate(f"pair-{pair}-{'loaded' if is_loaded else 'alone'}", is_loaded))
    return PairedRates(rates[False], rates[True])
