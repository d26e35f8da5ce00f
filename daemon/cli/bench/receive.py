"""``bench``, case ``receive``: frames a second received, decoded, cut to the pattern and joined.

The sender is a process of its own with messages made beforehand; between it and the join lie a real socket and the
daemon's own receiver and intake, with the decode threads that a configuration has by default. Positions are known, as
those of a raster are. Beside the rate stand the CPU times of the threads, which a busy machine changes little, and the
rate with the journal on the disk of temporary files.
"""

from __future__ import annotations

import logging
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
MEAN_COUNTS, DISTINCT = 0.5, 16
JOURNAL_BYTES = 4 << 30
NO_OPTICS = ScanOptics(None, None, None, None)


@dataclass(frozen=True, slots=True)
class Case:
    """Frames of one kind, bslz4, and the side of the pattern cut from them."""

    shape: tuple[int, int]
    dtype: str
    size_px: int
    frames: int


CASES = {
    "128x128_uint16": Case((128, 128), "uint16", 128, 16_000),
    "512x512_uint16": Case((512, 512), "uint16", 128, 4_000),
    "1030x1065_uint32": Case((1030, 1065), "uint32", 128, 1_000),
}


def measure_receive() -> dict[str, Any]:
    """Frames a second from socket to join, and the CPU time a frame of each thread, microseconds; then with the journal."""
    logging.getLogger("streams").setLevel(logging.ERROR)  # the sender leaves when it is done
    found: dict[str, Any] = {}
    for name, case in CASES.items():
        found |= {f"{key}_{name}": value for key, value in _measure(case, has_journal=False).items()}
        found[f"frames_per_s_{name}_journal"] = _measure(case, has_journal=True)["frames_per_s"]
    return found


def _measure(case: Case, *, has_journal: bool) -> dict[str, float]:
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


def _run(case: Case, folder: Path, keeper: Keeper | None) -> dict[str, float]:
    done = threading.Event()
    seen = 0

    def on_points(points: list[ScanPoint]) -> None:
        nonlocal seen
        seen += len(points)
        intake.mark_stitched(points[0].scan_id, [point.index for point in points])

    limits = Limits()
    middle = (case.shape[0] // 2, case.shape[1] // 2)
    preprocess = Preprocess(PreprocessOptions("identity", middle, case.size_px))
    scans = ScanRegistry(
        RecordFiles(folder),
        Join(),
        RegistryOptions(PATIENCE_S, lambda _: NO_OPTICS, np.zeros((case.frames, 2))),
        ScanEvents(lambda _scan, _start: None, lambda _scan: done.set()),
        keeper,
    )
    options = IntakeOptions(limits.queue_bytes, workers=limits.decode_workers)
    intake = Intake(CODECS[FORMAT](), preprocess, scans, options, metrics=Metrics(), on_points=on_points)
    receiver = Receiver("frames", "@tcp://127.0.0.1:0", "pull", intake.on_frame_message)
    intake.start()
    receiver.start()
    sender = multiprocessing.get_context("spawn").Process(target=send_frames, args=(receiver.bound_endpoint, case))
    sender.start()
    try:
        receiver.wait_for(lambda: receiver.messages > 0, PATIENCE_S)
        begun, cpu = time.perf_counter(), _thread_seconds()
        if not done.wait(PATIENCE_S) or seen != case.frames:
            raise DaemonError(
                f"only {seen} of {case.frames} frames arrived within {PATIENCE_S:g} s; is the machine overloaded?"
            )
        seconds, spent = time.perf_counter() - begun, _thread_seconds()
    finally:
        sender.terminate()
        sender.join()
        receiver.stop()
        intake.stop()
    used = {kind: sum(spent[n] - cpu.get(n, 0.0) for n in spent if n.startswith(kind)) for kind in _KINDS}
    return {"frames_per_s": case.frames / seconds} | {
        f"{kind}_cpu_us": 1e6 * used[kind] / case.frames for kind in _KINDS
    }


_KINDS = ("receive", "decode", "intake")


def _thread_seconds() -> dict[str, float]:
    """Return the CPU time of each thread of this process by name, s."""
    alive = [thread for thread in threading.enumerate() if thread.ident is not None]
    return {thread.name: time.clock_gettime(time.pthread_getcpuclockid(thread.ident or 0)) for thread in alive}


def send_frames(endpoint: str, case: Case) -> None:
    """Make all messages, then send them as fast as they are taken (in a process of its own)."""
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
