"""``bench --only receive``: measure how many frames/s are received, decoded, cropped and joined.

The sender is a separate process that has made its messages before. A real socket connects it to the receiver and the
intake of a daemon, with the default number of decoder threads. The positions are known, as those of a raster. The result
also holds the CPU times of the threads, which other work on the machine changes little, and the rate with a journal in the
folder of temporary files.
"""

from __future__ import annotations

import logging
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from daemon.config import Limits
from daemon.errors import DaemonError
from daemon.intake.preprocess import Preprocess, PreprocessOptions
from daemon.intake.registry import RegistryOptions, ScanEvents, ScanRegistry
from daemon.intake.thread import Intake, IntakeOptions
from daemon.journal import Journal, Keeper, ScanNames
from daemon.metrics import Metrics
from daemon.optics.scan_optics import ScanOptics
from daemon.results.records import RecordFiles
from streams.codecs import CODECS
from streams.frame import ScanPoint, ScanStart
from streams.join.join import Join
from streams.sockets.transport import Receiver, Sender

FORMAT, SCAN = "dectris-v2", "bench"
PATIENCE_S = 120.0
"""The measurement fails after this time, s; a slow machine takes twenty."""
MEAN_COUNTS, DISTINCT = 0.5, 16
"""Photons per pixel, as in the outer part of a pattern; number of different patterns."""
JOURNAL_BYTES = 4 << 30
"""Largest size of the journal, bytes: more than all frames of a case."""
NO_OPTICS = ScanOptics(None, None, None, None)


@dataclass(frozen=True, slots=True)
class Case:
    """Frames of one form, compressed with bslz4, and the side of the pattern cropped from them."""

    shape: tuple[int, int]
    dtype: str
    size_px: int
    frames: int


CASES = {
    "128x128_uint16": Case((128, 128), "uint16", 128, 16_000),
    "512x512_uint16": Case((512, 512), "uint16", 128, 4_000),
    "1030x1065_uint32": Case((1030, 1065), "uint32", 128, 1_000),
}


def measure_receive() -> dict[str, float]:
    """Return frames/s from socket to join, the CPU time per frame of each thread, us, and frames/s with a journal."""
    logging.getLogger("streams").setLevel(logging.ERROR)  # the sender disconnects at its end
    found: dict[str, float] = {}
    for name, case in CASES.items():
        found |= {f"{key}_{name}": value for key, value in measure_case(case, has_journal=False).items()}
        found[f"frames_per_s_{name}_journal"] = measure_case(case, has_journal=True)["frames_per_s"]
    return found


def measure_case(case: Case, *, has_journal: bool) -> dict[str, float]:
    """Return frames/s from socket to join, and the CPU time per frame of each kind of thread, us."""
    with tempfile.TemporaryDirectory(prefix="ptycholive-bench-") as name:
        folder = Path(name)
        if not has_journal:
            return _run(case, folder, None)
        keeper = Keeper(Journal(folder, JOURNAL_BYTES), ScanNames(folder, folder), PATIENCE_S)
        keeper.journal.start()
        try:
            return _run(case, folder, keeper)
        finally:
            keeper.journal.stop()


@dataclass(slots=True)
class _Arrivals:
    """Counts the points that arrive from the join."""

    points: int = 0
    is_done: threading.Event = field(default_factory=threading.Event)


def _run(case: Case, folder: Path, keeper: Keeper | None) -> dict[str, float]:
    arrivals = _Arrivals()
    with _receiver(case, folder, keeper, arrivals) as receiver, _sender(receiver.bound_endpoint, case):
        receiver.wait_for(lambda: receiver.messages > 0, PATIENCE_S)
        begun, cpu = time.perf_counter(), _thread_seconds()
        if not arrivals.is_done.wait(PATIENCE_S) or arrivals.points != case.frames:
            raise DaemonError(
                f"only {arrivals.points} of {case.frames} frames arrived within {PATIENCE_S:g} s; "
                "is the machine overloaded?"
            )
        seconds, spent = time.perf_counter() - begun, _thread_seconds()
    used = {kind: sum(spent[n] - cpu.get(n, 0.0) for n in spent if n.startswith(kind)) for kind in _KINDS}
    return {"frames_per_s": case.frames / seconds} | {
        f"{kind}_cpu_us": 1e6 * used[kind] / case.frames for kind in _KINDS
    }


@contextmanager
def _receiver(case: Case, folder: Path, keeper: Keeper | None, arrivals: _Arrivals) -> Iterator[Receiver]:
    """Yield a running receiver with the intake of a daemon behind it."""

    def on_points(points: list[ScanPoint]) -> None:
        arrivals.points += len(points)
        intake.mark_stitched(points[0].scan_id, [point.index for point in points])

    limits = Limits()
    middle = (case.shape[0] // 2, case.shape[1] // 2)
    preprocess = Preprocess(PreprocessOptions("identity", middle, case.size_px))
    scans = ScanRegistry(
        RecordFiles(folder),
        Join(),
        RegistryOptions(PATIENCE_S, lambda _: NO_OPTICS, np.zeros((case.frames, 2))),
        ScanEvents(lambda _scan, _start: None, lambda _scan: arrivals.is_done.set()),
        keeper,
    )
    options = IntakeOptions(limits.queue_bytes, workers=limits.decode_workers)
    intake = Intake(CODECS[FORMAT](), preprocess, scans, options, metrics=Metrics(), on_points=on_points)
    receiver = Receiver("frames", "@tcp://127.0.0.1:0", "pull", intake.on_frame_message)
    intake.start()
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()
        intake.stop()


@contextmanager
def _sender(endpoint: str, case: Case) -> Iterator[None]:
    """Send the frames from a separate process during the block."""
    process = multiprocessing.get_context("spawn").Process(target=send_frames, args=(endpoint, case))
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


_KINDS = ("receive", "decode", "intake")


def _thread_seconds() -> dict[str, float]:
    """Return the CPU time of each thread of this process by name, s."""
    alive = [thread for thread in threading.enumerate() if thread.ident is not None]
    return {thread.name: time.clock_gettime(time.pthread_getcpuclockid(thread.ident or 0)) for thread in alive}


def send_frames(endpoint: str, case: Case) -> None:
    """Make all messages, then send them as fast as the receiver accepts (runs in a separate process)."""
    random = np.random.default_rng(0)
    codec = CODECS[FORMAT]()
    counts = [random.poisson(MEAN_COUNTS, case.shape).astype(case.dtype) for _ in range(DISTINCT)]
    messages: Sequence[list[bytes]] = [
        codec.encode_frame(SCAN, index, counts[index % DISTINCT]) for index in range(case.frames)
    ]
    with Sender(">" + endpoint) as sender:
        sender.send(codec.encode_start(ScanStart(SCAN, case.frames), case.shape, np.dtype(case.dtype)))
        for message in messages:
            sender.send(message)
        sender.send(codec.encode_end(SCAN))
