"""``bench --only overhead``: measure the CPU time of the daemon's own threads per frame, at the batches of a GPU.

Patterns have 16 x 16 pixels and go through the code that a GPU runs, so that arithmetic hardly counts: Python remains. Decoding
is left out, because it depends on the format; the journal is on. The thread that receives is measured with a real socket.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from daemon.cli.bench.receive import Case, measure_case
from daemon.cli.bench.scaling import (
    SIZE_PX,
    chain_messages,
    chain_without_sockets,
    feed,
    thread_seconds,
    wait_for_mosaic,
)
from daemon.service.allocator import freeze_objects
from ptychopinn.device import MOST_AT_ONCE, batched

FRAMES, WARM_UP = 20_000, 2_000
"""Frames that are measured, and those before them: the canvas has grown, and everything is loaded."""
SIDE_PX = 768
"""Side of the raster, px: 5 pixels from frame to frame, a third of a pattern."""
PARTS = ("intake", "journal", "engine")


def measure_overhead(frames: int = FRAMES, warm_up: int = WARM_UP) -> dict[str, float]:
    """Return the CPU time of all threads but the decoders, and of each, us a frame."""
    received = measure_case(Case((SIZE_PX, SIZE_PX), "uint16", SIZE_PX, frames), has_journal=False)
    with (
        batched(),
        tempfile.TemporaryDirectory(prefix="ptycholive-bench-") as folder,
        chain_without_sockets(Path(folder), MOST_AT_ONCE) as chain,
    ):
        messages = chain_messages(warm_up + frames, SIDE_PX)
        chain.give(next(messages))
        feed(messages, warm_up, chain)
        wait_for_mosaic(chain, 0)
        freeze_objects()  # as the daemon does, once it is ready
        before = thread_seconds()
        feed(messages, frames, chain)
        wait_for_mosaic(chain, 0)
        after = thread_seconds()
    parts = {f"{part}_us": 1e6 * (after[part] - before[part]) / frames for part in PARTS}
    parts["receive_us"] = received["receive_cpu_us"]
    return {"python_us_per_frame": sum(parts.values()), **parts}
