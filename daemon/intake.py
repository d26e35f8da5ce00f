"""Intake: from message parts to joined scan points, and the life of a scan.

The receive thread parses headers and queues (bounded in bytes; a full queue holds the sender back). The intake thread
takes whatever is there, has the pool decode it, keeps the order, and alone feeds the join. It also closes scans: when
the end has come and every frame has reached its end, or when the stream stays silent.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from daemon.metrics import Metrics
from daemon.queue import ByteQueue
from ptychopinn.errors import GeometryError
from ptychopinn.geometry import crop, orient
from streams.codecs import Codec, EncodedFrame
from streams.errors import CodecError, PositionError
from streams.frame import Frame, Position, PositionM, ScanEnd, ScanPoint, ScanStart
from streams.join import Join, Verdict
from streams.positions import parse_positions

TAKE_FRAMES = 64
TICK_S = 0.05
HEADER_BYTES = 512


@dataclass(frozen=True, slots=True)
class IntakeOptions:
    """Orientation and crop of frames, bounds, timeouts.

    ``positions_m`` ``(n, 2)`` is for a file or raster source; ``position_factors`` (y, x) are scale and sign of what
    streams send.
    """

    orientation: str
    center_px: tuple[int, int]
    size_px: int
    queue_bytes: int
    scan_timeout_s: float
    workers: int = 2
    positions_m: NDArray[np.float64] | None = None
    use_frame_positions: bool = True
    position_factors: tuple[float, float] = (1.0, 1.0)


Item = ScanStart | ScanEnd | EncodedFrame | Frame | CodecError | list[Position]


class Intake:
    """Owns the codec, the pool and the join. ``lock`` guards the join; everything else is this thread's own."""

    def __init__(
        self,
        codec: Codec,
        join: Join,
        options: IntakeOptions,
        metrics: Metrics,
        *,
        on_points: Callable[[list[ScanPoint]], None],
        on_started: Callable[[str, ScanStart], None],
        on_complete: Callable[[str], None],
    ) -> None:
        self._codec = codec
        self._join = join
        self._options = options
        self._metrics = metrics
        self._on_points = on_points
        self._on_started = on_started
        self._on_complete = on_complete
        self._incoming: ByteQueue[Item] = ByteQueue(options.queue_bytes)
        self._pool = ThreadPoolExecutor(options.workers, thread_name_prefix="decode")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)
        self._last_message: dict[str, float] = {}
        self._stopped: set[str] = set()
        self.lock = threading.RLock()
        self.last_fault: str | None = None
        self.received = 0

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Take in what is queued, end open scans, and end the thread."""
        self._stop.set()
        self._incoming.close()
        if self._thread.is_alive():
            self._thread.join()
        self._pool.shutdown()

    def on_frame_message(self, parts: Sequence[memoryview], received_ns: int) -> None:
        """Take one message of the frame stream (receive thread)."""
        try:
            item = self._codec.parse(parts, received_ns)
        except CodecError as fault:
            self._incoming.put(fault, HEADER_BYTES)
            return
        if item is not None:
            self._incoming.put(item, HEADER_BYTES + (item.nbytes if isinstance(item, EncodedFrame) else 0))

    def on_position_message(self, parts: Sequence[memoryview], _received_ns: int) -> None:
        """Take one message of the native position stream (its receive thread)."""
        try:
            self._incoming.put(parse_positions(parts), HEADER_BYTES)
        except (PositionError, CodecError) as fault:
            self.last_fault = str(fault)
            self._metrics.frames_refused.labels("position_message").inc()

    def stop_scan(self, scan_id: str) -> bool:
        """Close a scan on an operator's word; False if it is not open."""
        with self.lock:
            if scan_id not in self._last_message:
                return False
            self._stopped.add(scan_id)
            self._join.end_scan(scan_id, exactly=True)
            return True

    def take_stopped(self, scan_id: str) -> bool:
        """Whether an operator closed the scan; forgets it."""
        with self.lock:
            was_stopped = scan_id in self._stopped
            self._stopped.discard(scan_id)
            return was_stopped

    def verdict(self, scan_id: str) -> Verdict:
        """Return the account of a scan."""
        with self.lock:
            return self._join.account(scan_id)

    def mark_stitched(self, scan_id: str, indexes: Sequence[int]) -> None:
        """Enter frames as stitched (engine thread)."""
        with self.lock:
            self._join.mark_stitched(scan_id, indexes)
        self._metrics.frames_stitched.inc(len(indexes))

    def refuse(self, scan_id: str, index: int | None, reason: str) -> None:
        """Enter a frame as refused."""
        with self.lock:
            self._join.refuse(scan_id, index, reason)
        self._metrics.frames_refused.labels(reason).inc()

    def _run(self) -> None:
        while True:
            items = self._incoming.take(TAKE_FRAMES, TICK_S)
            self._metrics.queue_depth.labels("decode").set(len(self._incoming))
            self._metrics.queue_bytes.labels("decode").set(self._incoming.bytes)
            if items:
                self._take(items)
            elif self._stop.is_set():
                break
            self._tick()
        with self.lock:
            for scan_id in list(self._last_message):
                self._hand_on(scan_id)

    def _take(self, items: list[Item]) -> None:
        with self._metrics.stage_seconds.labels("decode").time():
            decoded = self._decode(items)
        with self._metrics.stage_seconds.labels("join").time():
            points: list[ScanPoint] = []
            with self.lock:
                for item in decoded:
                    points += self._enter(item)
        if points:
            self._on_points(points)

    def _decode(self, items: list[Item]) -> list[Item]:
        frames = [i for i in items if isinstance(i, EncodedFrame)]
        if len(frames) < 2 * self._options.workers:
            return [self._decode_one(i) for i in items]
        share = -(-len(items) // self._options.workers)
        parts = [items[i : i + share] for i in range(0, len(items), share)]
        return [done for part in self._pool.map(lambda p: [self._decode_one(i) for i in p], parts) for done in part]

    def _decode_one(self, item: Item) -> Item:
        if not isinstance(item, EncodedFrame):
            return item
        options = self._options
        try:
            frame = item.decode()
            view = crop(orient(frame.counts, options.orientation), options.center_px, options.size_px)
            return replace(frame, counts=np.ascontiguousarray(view))
        except CodecError as fault:
            return fault
        except GeometryError as fault:
            return CodecError("shape", str(fault), item.scan_id, item.index)

    def _enter(self, item: Item) -> list[ScanPoint]:
        if isinstance(item, ScanStart):
            self._open(item)
            return []
        if isinstance(item, ScanEnd):
            self._join.end_scan(item.scan_id)
            return []
        if isinstance(item, list):
            return self._join.add_positions(self._in_metres(p) for p in item)
        if isinstance(item, CodecError):
            self.last_fault = str(item)
            self._metrics.frames_refused.labels(item.reason).inc()
            if item.scan_id is not None:
                self._count(item.scan_id)
                self._join.refuse(item.scan_id, item.index, item.reason, received=True)
            return []
        if isinstance(item, Frame):
            self._count(item.scan_id)
            return self._join.add_frame(self._with_position(item))
        return []

    def _with_position(self, frame: Frame) -> Frame:
        if frame.position_m is None:
            return frame
        if not self._options.use_frame_positions:
            return replace(frame, position_m=None)
        if self._options.position_factors == (1.0, 1.0):
            return frame
        return replace(frame, position_m=self._scaled(frame.position_m))

    def _in_metres(self, position: Position) -> Position:
        if self._options.position_factors == (1.0, 1.0):
            return position
        return replace(position, position_m=self._scaled(position.position_m))

    def _scaled(self, position_m: PositionM) -> PositionM:
        factor_y, factor_x = self._options.position_factors
        return PositionM(position_m.y * factor_y, position_m.x * factor_x)

    def _count(self, wire_id: str) -> None:
        """Count a frame message of the scan that the sender calls ``wire_id``; open the scan if it has no start."""
        self.received += 1
        self._metrics.frames_received.inc()
        scan_id = self._join.current_id(wire_id)
        if scan_id is None:
            scan_id = self._open(ScanStart(wire_id))
        if scan_id in self._last_message:
            self._last_message[scan_id] = time.monotonic()

    def _open(self, start: ScanStart) -> str:
        scan_id = self._join.start_scan(start)
        if scan_id not in self._last_message:
            if self._options.positions_m is not None:
                self._join.set_positions(scan_id, self._options.positions_m)
            self._on_started(scan_id, start)
        self._last_message[scan_id] = time.monotonic()
        return scan_id

    def _tick(self) -> None:
        """Give up what waited too long, close silent scans, hand on finished ones."""
        now = time.monotonic()
        with self.lock:
            pending = 0
            for scan_id, last in list(self._last_message.items()):
                if now - last > self._options.scan_timeout_s:
                    self._join.end_scan(scan_id, exactly=True)
            self._join.poll()
            for scan_id in list(self._last_message):
                pending += self._join.account(scan_id).pending
                if self._join.is_finished(scan_id):
                    self._hand_on(scan_id)
            self._metrics.scan_frames_pending.set(pending)

    def _hand_on(self, scan_id: str) -> None:
        del self._last_message[scan_id]
        self._on_complete(scan_id)
