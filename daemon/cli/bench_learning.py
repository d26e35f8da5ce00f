"""``bench --only learning``: what fine-tuning in the background costs inference, in frames a second.

Each pair runs the same scan twice on one daemon with the shipped network, fine-tuning paused and at work, in turn which
goes first. Frames come as fast as they are taken, so nothing is idle for it to use.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from daemon.cli.bench_live import LiveDaemon, live_daemon

PAIRS = 5
REPEAT = 4


def measure_learning(pairs: int = PAIRS, repeat: int = REPEAT) -> dict[str, Any]:
    """Frames a second with fine-tuning paused and at work; ``loss_ratio`` is the median over the pairs."""
    with (
        tempfile.TemporaryDirectory(prefix="ptycholive-bench-") as folder,
        live_daemon(Path(folder), "shipped", refine=False, finetune=True) as daemon,
    ):
        daemon.rate("warm-up", 1)
        return _measure(daemon, pairs, repeat)


def _measure(daemon: LiveDaemon, pairs: int, repeat: int) -> dict[str, Any]:
    rates: dict[str, list[float]] = {"paused": [], "learning": []}
    steps = 0
    for pair in range(pairs):
        for order in (("pause", "resume"), ("resume", "pause"))[pair % 2]:
            _tell(daemon, order)
            before = _steps(daemon)
            name = "paused" if order == "pause" else "learning"
            rates[name].append(daemon.rate(f"pair-{pair}-{name}", repeat))
            steps += _steps(daemon) - before if order == "resume" else 0
    losses = [1 - ours / alone for ours, alone in zip(rates["learning"], rates["paused"], strict=True)]
    return {
        "frames_per_s_paused": statistics.median(rates["paused"]),
        "frames_per_s_learning": statistics.median(rates["learning"]),
        "loss_ratio": statistics.median(losses),
        "loss_ratio_least": min(losses),
        "loss_ratio_most": max(losses),
        "steps": steps,
    }


def _tell(daemon: LiveDaemon, order: str) -> None:
    request = Request(f"{daemon.addresses['http']}/api/v1/finetune/{order}", method="POST")  # noqa: S310
    with urlopen(request, timeout=10):  # noqa: S310
        pass


def _steps(daemon: LiveDaemon) -> int:
    with urlopen(f"{daemon.addresses['http']}/api/v1/status", timeout=10) as answer:  # noqa: S310
        return int(json.load(answer)["finetune"]["steps"])
