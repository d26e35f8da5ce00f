"""Runs a daemon for the benchmarks of the whole chain, and sends it the demo scan as fast as it accepts."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from daemon.cli.demo import SCAN, demo_daemon
from daemon.cli.processes import first_line, verb_process
from daemon.client import Viewer
from daemon.messages import Addresses

SILENCE_S = 120.0
"""A benchmark fails after this time without an update, s."""


@dataclass(frozen=True, slots=True)
class LiveDaemon:
    """A running daemon: its addresses as printed by ``serve --json``, and the address to send frames to."""

    addresses: Addresses
    frames: str
    folder: Path

    def send(self, scan_id: str, *options: str) -> tuple[int, float]:
        """Send the demo scan; return the number of stitched frames, and the time from the first frame to the last update, s."""
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
        """Return frames/s for ``repeat`` repetitions of the scan, sent as fast as the daemon accepts."""
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
    """Frames/s of pairs of scans, without and with a load."""

    alone: list[float]
    loaded: list[float]

    def figures(self, loaded: str, alone: str) -> dict[str, float]:
        """Return the median rates, under the given names, and the relative loss: median, least and most over the pairs."""
        losses = [1 - ours / free for ours, free in zip(self.loaded, self.alone, strict=True)]
        return {
            f"frames_per_s_{alone}": statistics.median(self.alone),
            f"frames_per_s_{loaded}": statistics.median(self.loaded),
            "loss_ratio": statistics.median(losses),
            "loss_ratio_least": min(losses),
            "loss_ratio_most": max(losses),
        }


def paired_rates(pairs: int, rate: Callable[[str, bool], float]) -> PairedRates:
    """Measure pairs, alternating which comes first; ``rate(scan_id, is_loaded)`` returns frames/s."""
    rates: dict[bool, list[float]] = {False: [], True: []}
    for pair in range(pairs):
        for is_loaded in ((False, True), (True, False))[pair % 2]:
            rates[is_loaded].append(rate(f"pair-{pair}-{'loaded' if is_loaded else 'alone'}", is_loaded))
    return PairedRates(rates[False], rates[True])
