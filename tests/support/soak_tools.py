"""A daemon in its own process, a sender and viewers beside it, and a look at what it holds."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from tests.support import SUPPORT
from tests.support.daemon_tools import PATIENCE_S, adds_up

LOG = os.environ.get("PTYCHOLIVE_SOAK_LOG")
LOAD_RATIO, OFFERED = 0.8, 1.15
INF = float("inf")
SCAN_S = 6.0
CALIBRATIONS, CALIBRATION_SCANS = 3, 4
RECORDED_FRAMES = 516


@contextmanager
def process(*command: str, log: Path) -> Iterator[subprocess.Popen[str]]:
    with (
        log.open("a") as errors,
        subprocess.Popen(
            [sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as running,
    ):
        try:
            yield running
        finally:
            running.kill()


@contextmanager
def side(name: str, *arguments: str, log: Path) -> Iterator[subprocess.Popen[str]]:
    """Yield a program from beside this file that answers each line with one."""
    with process(str(SUPPORT / name), *arguments, log=log) as running:
        assert running.stdout.readline() == "ready\n", log.read_text()
        yield running


def tell(running: subprocess.Popen[str], line: str) -> str:
    running.stdin.write(line + "\n")
    running.stdin.flush()
    return running.stdout.readline().strip()


def wait_until(is_so: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    end = time.monotonic() + patience_s
    while not is_so():
        assert time.monotonic() < end, what
        threading.Event().wait(0.1)


class Serving:
    """A daemon as its users and its operating system see it."""

    def __init__(self, pid: int, addresses: dict[str, Any]) -> None:
        self.pid, self.addresses = pid, addresses

    def ask(self, path: str, body: dict[str, Any] | None = None, missing: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.addresses["http"] + path, data=data, headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as fault:
            if fault.code == 404 and missing is not None:
                return missing
            raise

    def held(self) -> dict[str, int]:
        """Return resident memory (bytes), threads and open file descriptors."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        numbers = {name: int(re.search(rf"^{name}:\s+(\d+)", status, re.M)[1]) for name in ("VmRSS", "Threads")}
        descriptors = len(os.listdir(f"/proc/{self.pid}/fd"))
        return {"memory": numbers["VmRSS"] * 1024, "threads": numbers["Threads"], "descriptors": descriptors}

    def latency_counts(self) -> dict[float, float]:
        """Return how many frames took at most so long (s), by bound."""
        found = self._metric(r'frame_latency_seconds_bucket\{le="([^"]+)"\} (\S+)')
        return {float(bound): float(number) for bound, number in found}

    def stitched(self) -> float:
        """Return how many frames have been stitched so far."""
        return float(self._metric(r"frames_stitched_total (\S+)")[0])

    def _metric(self, pattern: str) -> list[Any]:
        with urllib.request.urlopen(self.addresses["http"] + "/metrics", timeout=PATIENCE_S) as answer:
            return re.findall(rf"^ptycholive_{pattern}$", answer.read().decode(), re.M)


class Curves:
    """Looks once a second at what the daemon holds."""

    def __init__(self, daemon: Serving) -> None:
        self.samples: list[dict[str, float]] = []
        self._daemon = daemon
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Curves:
        self._begun = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *fault: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        before = self._daemon.latency_counts()
        while not self._over.wait(1.0):
            try:
                held = self._daemon.held()
            except OSError:  # it has ended, which the test says
                return
            latencies = self._daemon.latency_counts()
            new = since(before, latencies)
            slowest_s = latency_s(new, 0.99) if new[INF] else 0.0
            seen = {"frames": new[INF], "p99_s": round(slowest_s, 3), "loop_ms": reference_loop_ms()}
            self.samples.append({"s": round(time.monotonic() - self._begun, 1), **held, **seen})
            before = latencies
            if LOG:
                with open(LOG, "a") as file:
                    file.write(json.dumps(self.samples[-1]) + "\n")


class Beamline:
    """Sends scans, swaps models and looks that no frame is lost."""

    def __init__(self, daemon: Serving, sender: subprocess.Popen[str], folder: Path) -> None:
        self.scans = 0
        self.rates_hz: list[int] = []
        self._daemon, self._sender, self._folder = daemon, sender, folder
        self._sent: dict[str, int] = {}
        self._models = count()

    def calibrate(self) -> None:
        """Find how many frames a second the daemon stitches and closes, scan after scan, while they come a little faster.

        What it does once no more come is not counted: taking frames in costs it a part of the machine. Only the first
        scans, as fast as they are taken, are counted to their end, to find what to offer.
        """
        rate_hz, repeat = 0.0, 2
        for _ in range(CALIBRATIONS):
            begun, before = time.monotonic(), self._daemon.stitched()
            for _ in range(CALIBRATION_SCANS):
                self._scan(rate_hz, repeat)
            if not rate_hz:
                self.wait()
            sustained_hz = (self._daemon.stitched() - before) / (time.monotonic() - begun)
            self.wait()
            rate_hz = OFFERED * sustained_hz
            repeat = repeat_for(rate_hz)
        self.rates_hz.append(round(LOAD_RATIO * sustained_hz))

    def scan(self) -> None:
        """Send a scan at four fifths of what was found last."""
        self._scan(self.rates_hz[-1], repeat_for(self.rates_hz[-1]))
        self.check()

    def scan_as_fast_as_taken(self) -> None:
        """Send the recorded scan, held back by the daemon alone."""
        self._scan(0.0, 1)

    def wait(self) -> None:
        """Return when every scan has ended."""
        wait_until(self.check, "a scan has not ended")

    def _scan(self, rate_hz: float, repeat: int) -> None:
        self._swap()
        self.scans += 1
        word, name, frames = tell(self._sender, f"scan{self.scans} {rate_hz} {repeat}").split()
        assert word == "sent"
        self._sent[name] = int(frames)

    def _swap(self) -> None:
        name = ("none", "shipped")[next(self._models) % 2]
        assert self._daemon.ask("/api/v1/models/active", {"name": name})["name"] == name

    def check(self) -> bool:
        """Look at the scans that have ended, and throw their files away; whether that were all."""
        for name, frames in list(self._sent.items()):
            record = self._daemon.ask(f"/api/v1/scans/{name}", missing={"state": "on its way"})
            if record["state"] in ("on its way", "scanning", "finishing"):
                continue
            verdict = record["verdict"]
            assert adds_up(verdict), verdict
            assert record["state"] == "complete", record
            assert verdict["stitched"] == verdict["received"] == frames, verdict
            assert Path(record["product"]).stat().st_size > 0
            del self._sent[name]
            # The daemon may be writing this scan's record anew (after improvement): files that come or go are left
            shutil.rmtree(self._folder / "out" / name, ignore_errors=True)
        return not self._sent


def reference_loop_ms() -> float:
    """Return the processor time (ms) of a fixed piece of work: what the machine itself is worth just now."""
    begun, total = time.thread_time(), 0
    for number in range(50_000):
        total += number * number
    return round(1e3 * (time.thread_time() - begun), 2)


def repeat_for(rate_hz: float) -> int:
    """Return how often the recorded scan makes one of some seconds."""
    return max(1, round(SCAN_S * rate_hz / RECORDED_FRAMES))


def since(before: dict[float, float], after: dict[float, float]) -> Counter[float]:
    """Return the latencies of the frames between two looks."""
    return Counter({bound: number - before.get(bound, 0.0) for bound, number in after.items()})


def latency_s(counts: Counter[float], share: float) -> float:
    """Return the latency that a share of the frames did not pass, as Prometheus interpolates it."""
    wanted, lower, below = share * counts[INF], 0.0, 0.0
    for bound, number in counts.items():
        if number >= wanted:
            return lower if bound == INF else lower + (bound - lower) * (wanted - below) / (number - below)
        lower, below = bound, number
    raise AssertionError("no frame has a latency")
