"""``bench --only scaling``: measure the CPU time per frame early and late in a scan of a million frames.

Runs the whole chain of the daemon without its sockets: decoding, journal, join, lift, mosaic of 40 megapixels, updates,
checkpoints (made, not written). It measures CPU times of the threads, because other work on the machine changes those
little. The positions are a raster of 6400 x 6400 pixels; patterns have 16 x 16.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from daemon.cli.progress import progress
from daemon.engine.backlog import Store
from daemon.engine.loop import Engine
from daemon.engine.models import ActiveModel, Models
from daemon.engine.options import EngineOptions
from daemon.engine.ports import EngineEvents
from daemon.intake.preprocess import Preprocess, PreprocessOptions
from daemon.intake.registry import RegistryOptions, ScanEvents, ScanRegistry
from daemon.intake.thread import Intake, IntakeOptions
from daemon.journal import Journal, Keeper, ScanNames
from daemon.metrics import Metrics
from daemon.optics.scan_optics import ScanOptics
from daemon.results.records import RecordFiles
from ptychopinn.model import Lift
from streams.codecs import CODECS
from streams.frame import PositionM, ScanStart
from streams.join.join import Join

SIZE_PX, SIDE_PX, SCAN = 16, 6400, "bench"
DISTINCT, BATCH, AHEAD, PARTS = 64, 64, 1024, 10
PIXEL_SIZE_M = 1e-8
THREADS = ("decode", "intake", "journal", "engine")


@dataclass(frozen=True, slots=True)
class Scaling:
    """A scan of ``frames`` frames, measured in two windows of ``window`` frames: from ``early`` on, and at the end."""

    frames: int = 1_000_000
    early: int = 10_000
    window: int = 20_000
    side_px: int = SIDE_PX


@dataclass(slots=True)
class Chain:
    """The chain, and how many frames it was given."""

    intake: Intake
    metrics: Metrics
    given: int = 0

    def give(self, parts: Sequence[memoryview]) -> None:
        """Give a message to the intake."""
        self.intake.on_frame_message(parts, time.monotonic_ns())

    @property
    def stitched(self) -> int:
        """Frames in the mosaic."""
        return round(self.metrics.value("ptycholive_frames_stitched_total") or 0)


def measure_scaling(case: Scaling | None = None) -> dict[str, float]:
    """Return the CPU time per frame, us, in both windows and between their beginnings; memory at their ends, MB."""
    case = case or Scaling()
    with tempfile.TemporaryDirectory() as folder, chain_without_sockets(Path(folder)) as chain:
        messages = chain_messages(case.frames, case.side_px)
        with progress(case.frames, "scaling", "frames") as bar:
            chain.give(next(messages))  # the scan's start
            feed(messages, case.early, chain, bar)
            wait_for_mosaic(chain, 0)
            begun = sum(thread_seconds().values())
            early = _window(messages, case.window, chain, bar)
            between = case.frames - case.early - 2 * case.window
            feed(messages, between, chain, bar)
            wait_for_mosaic(chain, 0)
            spent = sum(thread_seconds().values()) - begun
            late = _window(messages, case.window, chain, bar)
    found: dict[str, float] = {"frames": case.frames, "late_to_early": late["all_us"] / early["all_us"]}
    found["mean_us"] = 1e6 * spent / (case.window + between)
    for name, part in (("early", early), ("late", late)):
        found |= {f"{name}_{key}": value for key, value in part.items()}
    return found


@contextmanager
def chain_without_sockets(folder: Path, batch: int = BATCH) -> Iterator[Chain]:
    """Yield the running chain from decoding to mosaic, with a journal; ``batch`` frames at most make a batch."""
    metrics, journal = Metrics(), Journal(folder, 1 << 36)
    probe = _probe()
    options = EngineOptions(
        lambda _: PIXEL_SIZE_M, batch_frames=batch, refine=False, max_side_px=2 * SIDE_PX, queue_bytes=1 << 28
    )
    preprocess = Preprocess(PreprocessOptions("identity", (SIZE_PX // 2, SIZE_PX // 2), SIZE_PX))
    keeper = Keeper(journal, ScanNames(folder), 10.0)
    registry_options = RegistryOptions(3600.0, lambda _: ScanOptics(None, None, None, PIXEL_SIZE_M))
    scan_events = ScanEvents(lambda _scan, _start: None, lambda _scan: None)
    scans = ScanRegistry(RecordFiles(folder), Join(), registry_options, scan_events, keeper)
    intake = Intake(
        CODECS["native"](),
        preprocess,
        scans,
        IntakeOptions(64 << 20),
        metrics=metrics,
        on_points=lambda points: engine.submit(points),
    )
    events = EngineEvents(
        on_update=lambda _: None,
        on_stitched=intake.mark_stitched,
        on_refused=intake.refuse,
        on_finished=lambda _: None,
        on_checkpoint=lambda _: None,
        frames_received=lambda scan_id: scans.verdict(scan_id).received,
    )
    model = ActiveModel(None, Models(Lift(probe, projections=2), None), probe)
    engine = Engine(model, options, metrics, events, Store(journal.has, journal.read))
    journal.start()
    engine.start()
    intake.start()
    engine.wait_until_warm()
    try:
        yield Chain(intake, metrics)
    finally:
        intake.stop()
        engine.stop()
        journal.stop()


def _probe() -> torch.Tensor:
    y = torch.arange(SIZE_PX) - SIZE_PX / 2
    return (30.0 * torch.exp(-(y[:, None] ** 2 + y**2) / 18.0)).to(torch.complex64)[None]


def chain_messages(frames: int, side_px: int = SIDE_PX) -> Iterator[Sequence[memoryview]]:
    """Yield the messages of a scan: its start, then its frames, a raster over ``side_px`` pixels."""
    codec, random = CODECS["native"](), np.random.default_rng(0)
    patterns = [random.poisson(3.0, (SIZE_PX, SIZE_PX)).astype(np.uint16) for _ in range(DISTINCT)]
    columns = max(1, round(frames**0.5))
    step_m = (side_px - SIZE_PX) / columns * PIXEL_SIZE_M
    yield [memoryview(part) for part in codec.encode_start(ScanStart(SCAN, frames + 1), (SIZE_PX, SIZE_PX), "uint16")]
    for index in range(frames):
        where = PositionM(index // columns * step_m, index % columns * step_m)
        parts = codec.encode_frame(SCAN, index, patterns[index % DISTINCT], where, "")
        yield [memoryview(part) for part in parts]


def feed(messages: Iterator[Sequence[memoryview]], count: int, chain: Chain, bar: Any = None) -> None:
    """Give frames to the intake and wait until they are in the mosaic; at most ``AHEAD`` wait, so none goes to the disk."""
    done = 0
    while done < count:
        some = min(AHEAD, count - done)
        for _ in range(some):
            chain.give(next(messages))
        chain.given += some
        done += some
        wait_for_mosaic(chain, AHEAD)
        if bar is not None:
            bar.update(some)


def wait_for_mosaic(chain: Chain, most: int) -> None:
    """Wait until at most ``most`` frames are not yet in the mosaic."""
    while chain.given - chain.stitched > most:
        time.sleep(0.002)


def _window(messages: Iterator[Sequence[memoryview]], count: int, chain: Chain, bar: Any) -> dict[str, float]:
    """Return the medians over the parts of a window; rare work, such as growth of the canvas, is only in the mean of all."""
    parts: list[dict[str, float]] = []
    for _ in range(PARTS):
        before = thread_seconds()
        feed(messages, count // PARTS, chain, bar)
        wait_for_mosaic(chain, 0)
        spent = thread_seconds()
        used = {f"{kind}_us": 1e6 * PARTS / count * (spent[kind] - before[kind]) for kind in THREADS}
        parts.append({"all_us": sum(used.values()), **used})
    medians = {key: float(np.median([part[key] for part in parts])) for key in parts[0]}
    return {**medians, "rss_mb": _rss_mb()}


def thread_seconds() -> dict[str, float]:
    """Return the CPU time of the chain's threads by kind, s."""
    found = dict.fromkeys(THREADS, 0.0)
    for thread in threading.enumerate():
        kind = next((kind for kind in THREADS if thread.name.startswith(kind)), None)
        if kind is not None and thread.ident is not None:
            found[kind] += time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
    return found


def _rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6
