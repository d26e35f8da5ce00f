"""``bench --only learning``: measure how much background fine-tuning slows down inference.

Each pair runs the same scan twice on one daemon with the shipped network, with fine-tuning paused and running, alternating
which comes first. Frames are sent as fast as the daemon accepts, so there is no idle time for fine-tuning.
"""

from __future__ import annotations

import json
from urllib.request import Request, urlopen

from daemon.cli.bench.live import LiveDaemon, live_daemon, paired_rates

PAIRS = 5
"""Pairs of scans; the median is over them."""
REPEAT = 4
"""Repetitions of the demo scan in each."""


def measure_learning(pairs: int = PAIRS, repeat: int = REPEAT) -> dict[str, float]:
    """Return frames/s with fine-tuning paused and running; ``loss_ratio`` is the median over the pairs."""
    steps = 0
    with live_daemon("shipped", refine=False, finetune=True) as daemon:
        daemon.rate("warm-up", 1)

        def rate(scan_id: str, is_learning: bool) -> float:
            nonlocal steps
            _tell(daemon, "resume" if is_learning else "pause")
            before = _steps(daemon)
            found = daemon.rate(scan_id, repeat)
            steps += _steps(daemon) - before if is_learning else 0
            return found

        rates = paired_rates(pairs, rate)
    return {**rates.figures("learning", "paused"), "steps": steps}


def _tell(daemon: LiveDaemon, order: str) -> None:
    request = Request(f"{daemon.addresses['http']}/api/v1/finetune/{order}", method="POST")  # noqa: S310
    with urlopen(request, timeout=10):  # noqa: S310
        pass


def _steps(daemon: LiveDaemon) -> int:
    with urlopen(f"{daemon.addresses['http']}/api/v1/status", timeout=10) as answer:  # noqa: S310
        return int(json.load(answer)["finetune"]["steps"])
