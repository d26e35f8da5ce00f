"""A daemon that runs on and on, scan after scan, with viewers of all kinds: memory, descriptors and threads stay.

Frames come at four fifths of what the daemon sustains. A machine that serves others too is worth more at one time and
less at another: where the daemon falls behind, it has to catch up, and what it sustains is measured anew. Memory is
judged by the slope of what each scan holds at least: the median of all pairs of scans (Theil and Sen), so that neither a
first nor a last scan decides.

``PTYCHOLIVE_SOAK_S`` is how long (an hour), ``PTYCHOLIVE_SOAK_P99_S`` the longest latency of 99 % of the frames (1 s),
``PTYCHOLIVE_SOAK_LOG`` a file for the curves, one JSON object a second. Each run adds a line to
``artefacts/soak.jsonl`` and is compared with the one before.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import theilslopes

from tests.support.daemon_tools import SCAN, write_config
from tests.support.soak_tools import INF, Beamline, Curves, Serving, latency_s, process, side, since, tell, wait_until

DURATION_S = float(os.environ.get("PTYCHOLIVE_SOAK_S", "3600"))
P99_S = float(os.environ.get("PTYCHOLIVE_SOAK_P99_S", "1"))
RECORDS = Path(__file__).parents[2] / "artefacts" / "soak.jsonl"
WARM_UP_SCANS, LEAST_SCANS = 5, 8
IMPROVED_S, SETTLE_S, FALL_BYTES = 15.0, 20.0, 1 << 20
"""The last scan is improved for 10 s after its end, and what that took goes back to the system after it; a machine that
does other work besides takes longer. So memory has to have stopped falling."""

STAYING_VIEWERS = 15
GROWTH_RATIO = 0.02
"""The share of its memory by which a daemon may grow in a run, as the lower end (95 %) of the slope says."""

SETTINGS = ("finetune.enabled=false", "limits.journal_bytes=1000000000", "publish.period_s=0.1")


@dataclass
class Seen:
    """What a run found."""

    memory_by_scan: list[float] = field(default_factory=list)
    latencies: Counter[float] = field(default_factory=Counter)
    before: dict[str, int] = field(default_factory=dict)
    after: dict[str, int] = field(default_factory=dict)
    most_threads: float = 0.0
    rates_hz: list[int] = field(default_factory=list)
    loop_ms: list[float] = field(default_factory=list)
    """Processor time of a fixed loop, each second: whether the machine was steady."""

    def record(self) -> dict[str, Any]:
        """Return the line for the file of records."""
        memory = np.array(self.memory_by_scan)
        slope, _, low, high = theilslopes(memory, np.arange(len(memory)), 0.95)
        return {
            "host": platform.node(),
            "scans": len(memory),
            "frames": self.latencies[INF],
            "p99_s": round(latency_s(self.latencies, 0.99), 3),
            "rates_hz": self.rates_hz,
            "loop_ms": [min(self.loop_ms), statistics.median(self.loop_ms), max(self.loop_ms)],
            "memory_mib": round(float(np.median(memory)) / 2**20, 1),
            "slope_kib_per_scan": [round(float(value) / 2**10, 2) for value in (low, slope, high)],
            "growth_ratio": round(float(low * len(memory) / np.median(memory)), 4),
            "descriptors": [self.before["descriptors"], self.after["descriptors"]],
            "threads": [self.most_threads, self.after["threads"]],
        }


def settled(daemon: Serving, viewers: subprocess.Popen[str]) -> dict[str, int]:
    """Return what the daemon holds without a network, with those viewers alone that stay, when it has tidied up."""
    assert daemon.ask("/api/v1/models/active", {"name": "none"})["name"] == "none"  # networks differ in size
    threading.Event().wait(IMPROVED_S)  # pictures of the last scan would wait for those that are stuck
    assert tell(viewers, "quiet") == "quiet"
    wait_until(
        lambda: daemon.ask("/api/v1/status")["subscribers"] == STAYING_VIEWERS, "the viewers that left are there"
    )
    least, fallen_at = daemon.held(), time.monotonic()
    while time.monotonic() < fallen_at + SETTLE_S:
        threading.Event().wait(0.1)
        held = daemon.held()
        if held["memory"] < least["memory"] - FALL_BYTES:
            fallen_at = time.monotonic()
        least = {name: min(number, least[name]) for name, number in held.items()}
    return least


def send_scans(line: Beamline, daemon: Serving, curves: Curves, duration_s: float, seen: Seen) -> None:
    """Send scan after scan; note each one's least memory and all latencies but those of calibrations."""
    end, looked = time.monotonic() + duration_s, daemon.latency_counts()
    while time.monotonic() < end or len(seen.memory_by_scan) < LEAST_SCANS:
        first = len(curves.samples)
        line.scan()
        seen.memory_by_scan.append(min(sample["memory"] for sample in curves.samples[first:]))
        if daemon.ask("/api/v1/status")["is_behind"]:  # the machine is worth less than it was
            line.wait()
            seen.latencies.update(since(looked, daemon.latency_counts()))
            line.calibrate()
            looked = daemon.latency_counts()
    line.wait()
    seen.latencies.update(since(looked, daemon.latency_counts()))
    seen.rates_hz = line.rates_hz


def soak(folder: Path, duration_s: float, *settings: str) -> Seen:
    options = [part for setting in settings for part in ("--set", setting)]
    serve = ["-m", "daemon.cli", "serve", "--config", str(write_config(folder)), "--json", *options]
    log, seen = folder / "log.txt", Seen()
    with process(*serve, log=log) as running:
        daemon = Serving(running.pid, json.loads(running.stdout.readline()))
        updates, frames = daemon.addresses["updates"], daemon.addresses["streams"]["frames"]
        with (
            side("soak_viewers.py", updates, daemon.addresses["http"], log=log) as viewers,
            side("soak_sender.py", str(SCAN), frames, log=log) as sender,
            Curves(daemon) as curves,
        ):
            line = Beamline(daemon, sender, folder)
            line.calibrate()
            for _ in range(WARM_UP_SCANS):
                line.scan()
            line.wait()
            seen.before = settled(daemon, viewers)
            seen.most_threads = max(sample["threads"] for sample in curves.samples)  # the HTTP server's pool varies
            assert tell(viewers, "busy") == "busy"
            send_scans(line, daemon, curves, duration_s, seen)
            seen.loop_ms = [sample["loop_ms"] for sample in curves.samples]
            seen.after = settled(daemon, viewers)
        assert running.poll() is None
    return seen


def kept(record: dict[str, Any]) -> dict[str, Any] | None:
    """Add a record to the file; return the one before."""
    RECORDS.parent.mkdir(exist_ok=True)
    lines = RECORDS.read_text().splitlines() if RECORDS.exists() else []
    with RECORDS.open("a") as file:
        file.write(json.dumps(record) + "\n")
    return json.loads(lines[-1]) if lines else None


@pytest.mark.timeout(DURATION_S + 1500)
def test_scan_after_scan_the_daemon_holds_no_more_than_before(tmp_path: Path):
    seen = soak(tmp_path, DURATION_S, *SETTINGS)
    record = seen.record()
    last = kept(record)
    for name, value in record.items():
        print(f"{name}: {value}, last time {'nothing' if last is None else last.get(name)}")
    assert seen.after["descriptors"] <= seen.before["descriptors"], record
    assert seen.after["threads"] <= seen.most_threads, record
    assert record["growth_ratio"] < GROWTH_RATIO, record
    assert record["p99_s"] < P99_S, record
