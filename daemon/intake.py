"""Intake: from message parts to joined scan points, and the life of a scan.

The receive thread parses headers and queues (bounded in bytes; a full queue holds the sender back). The intake thread
takes whatever is there, has the pool decode it, keeps the order, has it written to the journal, and alone feeds the
join: what counts as received is on the disk. It also closes scans: when the end has come and every frame has reached its
end, or when the stream stays silent. At its start it plays unfinished scans again from the journal.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daemon.errors import JournalError
from daemon.journal import Keeper, Kind, Packed, Record, StoredStart, pack, positions_of, stored_start
from daemon.metrics import Metrics
from daemon.preprocess import Prepared, Preprocess, RawFrame
from daemon.queue import ByteQueue
from daemon.scans import now_text
from streams.account import EndedBy
from streams.codecs import Codec, EncodedFrame
from streams.errors import CodecError, PositionError
from streams.frame import Frame, Position, PositionM, PositionNews, ScanEnd, ScanPoint, ScanStart
from streams.join import Join, Verdict

TAKE_FRAMES = 512
REPLAY_RECORDS = 1024
TICK_S = 0.05
HEADER_BYTES = 512
POSITION_BYTES = 160
FAULT_SHOWN_S = 30.0
FINDINGS_SHOWN_S = 60.0
NO_PIXELS = np.empty((0, 0), dtype=np.uint8)
"""Counts of a frame that has to be read back from the journal."""

log = logging.getLogger(__name__)

ReadPositions = Callable[[Sequence[memoryview]], list[Position] | PositionNews]


@dataclass(frozen=True, slots=True)
class IntakeOptions:
    """Bounds, timeouts, positions.

    ``positions_m`` ``(n, 2)`` is for a file or raster source; ``position_factors`` (y, x) are scale and sign of what
    streams send; ``read_positions`` reads the messages of a position stream.
    """

    queue_bytes: int
    scan_timeout_s: float
    workers: int = 2
    positions_m: NDArray[np.float64] | None = None
    use_frame_positions: bool = True
    position_factors: tuple[float, float] = (1.0, 1.0)
    read_positions: ReadPositions | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """A frame with its pattern, and how the journal stores that."""

    frame: Frame
    packed: Packed


Item = (
    ScanStart | ScanEnd | EncodedFrame | Prepared | RawFrame | Frame | Kept | CodecError
    | Position | list[Position] | PositionNews
)  # fmt: skip


class Intake:
    """Owns the codec, the pool and the join. ``lock`` guards the join; everything else is this thread's own."""

    def __init__(
        self,
        codec: Codec,
        preprocess: Preprocess,
        join: Join,
        options: IntakeOptions,
        metrics: Metrics,
        *,
        keeper: Keeper | None = None,
        on_points: Callable[[list[ScanPoint]], None],
        on_started: Callable[[StoredStart], None],
        on_complete: Callable[[str], None],
        on_prepared: Callable[[str, Prepared], None] = lambda _scan_id, _prepared: None,
    ) -> None:
        self._codec = codec
        self._preprocess = preprocess
        self._join = join
        self._options = options
        self._metrics = metrics
        self._keeper = keeper
        self._on_points = on_points
        self._on_started = on_started
        self._on_complete = on_complete
        self._on_prepared = on_prepared
        self._incoming: ByteQueue[Item] = ByteQueue(options.queue_bytes)
        self._pool = ThreadPoolExecutor(options.workers, thread_name_prefix="decode")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)
        self._last_message: dict[str, float] = {}
        self._stopped: set[str] = set()
        self._resumed: set[str] = set()
        self.lock = threading.RLock()
        self._last_fault: tuple[float, str] | None = None
        self.received = 0
        self.beat = time.monotonic()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def held_frames(self) -> int:
        """Frames that wait for their scan's centre."""
        return self._preprocess.held_frames

    @property
    def last_fault(self) -> str | None:
        """What was wrong with the latest message that was refused, while that is news."""
        said = self._last_fault
        return said[1] if said is not None and time.monotonic() - said[0] < FAULT_SHOWN_S else None

    @last_fault.setter
    def last_fault(self, words: str) -> None:
        self._last_fault = (time.monotonic(), words)

    def findings(self, scan_id: str) -> list[str]:
        """Return what was noticed about a scan, one sentence each."""
        with self.lock:
            return self._join.findings(scan_id)

    def recent_findings(self) -> dict[str, list[str]]:
        """Return the findings about scans that run or ended a short while ago, by name, newest first."""
        with self.lock:
            return self._join.recent_findings(FINDINGS_SHOWN_S)

    def about(self, scan_id: str) -> dict[str, Any] | None:
        """Return what the run of the position source says of itself."""
        with self.lock:
            return self._join.about(scan_id)

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
            items = self._codec.parse(parts, received_ns)
        except CodecError as fault:
            self._incoming.put(fault, HEADER_BYTES)
            return
        for item in items:
            if not isinstance(item, Position):
                self._incoming.put(item, HEADER_BYTES + (item.nbytes if isinstance(item, EncodedFrame) else 0))
            elif self._options.use_frame_positions:
                self._incoming.put([item], HEADER_BYTES)

    def on_position_message(self, parts: Sequence[memoryview], _received_ns: int) -> None:
        """Take one message of the position stream (its receive thread)."""
        read = self._options.read_positions
        if read is None:
            return
        try:
            item = read(parts)
        except (PositionError, CodecError) as fault:
            self.last_fault = str(fault)
            self._metrics.frames_refused.labels("position_message").inc()
            return
        count = len(item.positions if isinstance(item, PositionNews) else item)
        self._incoming.put(item, HEADER_BYTES + POSITION_BYTES * count)

    def stop_scan(self, scan_id: str) -> bool:
        """Close a scan on an operator's word; False if it is not open."""
        with self.lock:
            if scan_id not in self._last_message:
                return False
            self._stopped.add(scan_id)
            self._end(scan_id, "operator")
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
        self._guard(self._replay_all)
        is_over = False
        while not is_over:
            items = self._incoming.take(TAKE_FRAMES, TICK_S)
            self.beat = time.monotonic()
            self._metrics.queue_depth.labels("decode").set(len(self._incoming))
            self._metrics.queue_bytes.labels("decode").set(self._incoming.bytes)
            is_over = not items and self._stop.is_set()
            self._guard(self._turn, items, is_over)
        with self.lock:
            for scan_id in list(self._last_message):
                self._stopped.add(scan_id)
                self._end(scan_id, "operator")
                self._hand_on(scan_id)
        self._flush()

    def _guard(self, work: Callable[..., None], *arguments: object) -> None:
        """Do a part of the work; what fails costs itself alone, is said and counted."""
        try:
            work(*arguments)
        except Exception as fault:
            log.exception("the intake goes on after a fault")
            self.last_fault = f"the intake goes on after a fault: {fault}"
            self._metrics.stage_failures.labels("intake").inc()

    def _turn(self, items: list[Item], is_last: bool) -> None:
        ready = self._preprocess.take(items) + self._preprocess.overdue(all_of_them=is_last)
        if ready:
            self._take(ready)
        self._tick()

    def _take(self, items: list[Item]) -> None:
        with self._metrics.stage_seconds.labels("decode").time():
            decoded = self._decode(items)
        for run in _runs(decoded):
            self._keep(run)
            with self._metrics.stage_seconds.labels("join").time():
                points: list[ScanPoint] = []
                with self.lock:
                    for item in run:
                        points += self._enter(item)
            self._flush()
            if points:
                self._on_points(points)

    def _keep(self, run: list[Item]) -> None:
        """Write what a run says to the journal, so that it is there before it counts."""
        if self._keeper is None:
            return
        with self.lock:
            for item in run:
                wire_id = item.frame.scan_id if isinstance(item, Kept) else getattr(item, "scan_id", None)
                scan_id = self._running(wire_id) if isinstance(item, Kept | CodecError) and wire_id else None
                if isinstance(item, Kept) and scan_id is not None:
                    self._keeper.frame(scan_id, self._with_position(item.frame), item.packed)
                elif isinstance(item, CodecError) and scan_id is not None:
                    self._keeper.refused(scan_id, item)
                elif isinstance(item, list):
                    self._keeper.positions([self._in_metres(p) for p in item], self._scan_of_positions())
                elif isinstance(item, Position) and self._options.use_frame_positions:
                    self._keeper.positions([self._in_metres(item)], self._scan_of_positions())
        self._flush()

    def _running(self, wire_id: str) -> str | None:
        """Return the running scan that a frame is for, opening it if it has no start; None if it is over."""
        scan_id = self._join.current_id(wire_id) or self._open(ScanStart(wire_id))
        return scan_id if scan_id in self._last_message else None

    def _scan_of_positions(self) -> Callable[[str | None], str | None]:
        is_open = self._join.open_scans

        def scan_of(wire_id: str | None) -> str | None:
            scan_id = (is_open[-1] if is_open else None) if wire_id is None else self._join.current_id(wire_id)
            return scan_id if scan_id in self._last_message else None

        return scan_of

    def _flush(self) -> None:
        """Have the records that have gathered on the disk. Called without the lock, since a disk may take its time."""
        if self._keeper is None:
            return
        with self.lock:
            batches = self._keeper.take()
        if batches:
            with self._metrics.stage_seconds.labels("journal").time():
                self._keeper.flush(batches)

    def _decode(self, items: list[Item]) -> list[Item]:
        frames = [i for i in items if isinstance(i, RawFrame)]
        if len(frames) < 2 * self._options.workers:
            return [self._decode_one(i) for i in items]
        share = -(-len(items) // self._options.workers)
        parts = [items[i : i + share] for i in range(0, len(items), share)]
        return [done for part in self._pool.map(lambda p: [self._decode_one(i) for i in p], parts) for done in part]

    def _decode_one(self, item: Item) -> Item:
        if not isinstance(item, RawFrame):
            return item
        try:
            decoded = item.decode()
            if self._keeper is None or not isinstance(decoded, Frame):
                return decoded
            return Kept(decoded, pack(decoded.counts, item.frame))
        except Exception as fault:  # one frame must not cost the others of its turn
            log.exception("scan %s, frame %d", item.frame.scan_id, item.frame.index)
            return CodecError(
                "decode_error", f"the frame cannot be decoded: {fault}", item.frame.scan_id, item.frame.index
            )

    def _enter(self, item: Item) -> list[ScanPoint]:
        if isinstance(item, ScanStart):
            self._open(item)
            return []
        if isinstance(item, ScanEnd):
            self._end(self._join.current_id(item.scan_id) or item.scan_id, "end")
            return []
        if isinstance(item, Prepared):
            self._prepared(item)
            return []
        if isinstance(item, PositionNews):
            if item.fault is not None:
                self.last_fault = item.fault
            points = self._join.add_news(item)
            if self._keeper is not None and item.positions:
                mine = self._join.source_scan
                self._keeper.positions(item.positions, lambda _: mine if mine in self._last_message else None)
            return points
        if isinstance(item, Position):
            return self._join.add_positions([self._in_metres(item)] if self._options.use_frame_positions else [])
        if isinstance(item, list):
            return self._join.add_positions(self._in_metres(p) for p in item)
        if isinstance(item, CodecError):
            self.last_fault = str(item)
            self._metrics.frames_refused.labels(item.reason).inc()
            if item.scan_id is not None:
                self._count(item.scan_id)
                self._join.refuse(item.scan_id, item.index, item.reason, received=True)
            return []
        if isinstance(item, Frame | Kept):
            frame = item.frame if isinstance(item, Kept) else item
            self._count(frame.scan_id)
            return self._join.add_frame(self._with_position(frame))
        return []

    def _prepared(self, prepared: Prepared) -> None:
        """Say how the patterns of a scan are made, but for one that goes on as it began."""
        scan_id = self._join.current_id(prepared.scan_id) or self._open(ScanStart(prepared.scan_id))
        if scan_id in self._resumed:
            return
        if self._keeper is not None and scan_id in self._last_message:
            self._keeper.note(scan_id, prepared=asdict(prepared))
        self._on_prepared(scan_id, prepared)

    def _end(self, scan_id: str, ended_by: EndedBy) -> None:
        """End a scan by its own name."""
        if self._keeper is not None and scan_id in self._last_message and not self._join.is_closed(scan_id):
            self._keeper.end(scan_id, ended_by)
        self._join.end_scan(scan_id, exactly=True, ended_by=ended_by)

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

    def _open(self, start: ScanStart, started: str = "") -> str:
        """Open a scan, or find that it is open; ``started`` is when it was, for one that is played again."""
        scan_id = self._join.start_scan(start)
        if scan_id not in self._last_message:
            if self._options.positions_m is not None:
                self._join.set_positions(scan_id, self._options.positions_m)
            stored = StoredStart(scan_id, started or now_text(), start)
            if self._keeper is not None and not started:
                self._keeper.open(stored)
            self._on_started(stored)
        self._last_message[scan_id] = time.monotonic()
        return scan_id

    def _replay_all(self) -> None:
        """Play again from the journal every scan that was not closed, then go on with it."""
        if self._keeper is None:
            return
        for scan_id in self._keeper.journal.unfinished():
            self._guard(self._replay, scan_id, self._keeper)
        with self.lock:
            points = self._join.add_positions(list(self._keeper.loose()))
        if points:
            self._on_points(points)

    def _replay(self, scan_id: str, keeper: Keeper) -> None:
        records = keeper.journal.replay(scan_id)
        first = next((record for record in records if record.kind == Kind.START), None)
        stored = None if first is None else stored_start(scan_id, first)
        if stored is None or not re.fullmatch(re.escape(stored.start.scan_id) + r"(-\d+)?", scan_id):
            keeper.journal.close(scan_id)
            raise JournalError(f"the journal of scan {scan_id} does not say how it began; it is left as it is")
        with self.lock, keeper.names.only(scan_id):
            self._open(stored.start, stored.started)
        while some := list(islice(records, REPLAY_RECORDS)):
            points: list[ScanPoint] = []
            with self.lock:
                for record in some:
                    points += self._again(stored, record)
            if points:
                self._on_points(points)
            self.beat = time.monotonic()
        log.info("scan %s goes on with %d frames of its journal", scan_id, self.verdict(scan_id).received)

    def _again(self, stored: StoredStart, record: Record) -> list[ScanPoint]:
        """Enter a record as what it was made of was entered."""
        wire_id = stored.start.scan_id
        if record.kind == Kind.FRAME:
            self._count(wire_id)
            return self._join.add_frame(Frame(wire_id, record.index, NO_PIXELS, time.monotonic_ns(), record.position_m))
        if record.kind == Kind.POSITIONS:
            return self._join.add_positions(Position(wire_id, i, where) for i, where in positions_of(record.payload))
        content = record.plain()
        if record.kind == Kind.REFUSED:
            self._count(wire_id)
            self._join.refuse(wire_id, content.get("index"), str(content.get("reason")), received=True)
        elif record.kind == Kind.END:
            ended_by: EndedBy = content["ended_by"]
            if ended_by == "operator":
                self._stopped.add(stored.scan_id)
            self._join.end_scan(stored.scan_id, exactly=True, ended_by=ended_by)
        elif record.kind == Kind.NOTE and "prepared" in content:
            known = content["prepared"]
            prepared = replace(Prepared(**known), center_px=tuple(known["center_px"]), notes=tuple(known["notes"]))
            self._preprocess.resume(stored.start, prepared.center_px, prepared.center_from)
            self._on_prepared(stored.scan_id, prepared)
            self._resumed.add(stored.scan_id)
        return []

    def _tick(self) -> None:
        """Give up what waited too long, close silent scans, hand on finished ones."""
        now = time.monotonic()
        with self.lock:
            pending = 0
            for wire_id in self._preprocess.waiting_scans:
                scan_id = self._join.current_id(wire_id) or self._open(ScanStart(wire_id))
                if scan_id in self._last_message:
                    self._last_message[scan_id] = now
            for scan_id, last in list(self._last_message.items()):
                ended_by = self._join.overdue(scan_id, now - last)
                if ended_by is None and now - last > self._options.scan_timeout_s:
                    ended_by = "silence"
                if ended_by is not None:
                    self._end(scan_id, ended_by)
            self._join.poll()
            for scan_id in list(self._last_message):
                pending += self._join.account(scan_id).pending
                if self._join.is_finished(scan_id):
                    self._hand_on(scan_id)
            self._metrics.scan_frames_pending.set(pending)
        self._flush()

    def _hand_on(self, scan_id: str) -> None:
        del self._last_message[scan_id]
        self._resumed.discard(scan_id)
        self._on_complete(scan_id)


def _runs(items: list[Item]) -> Iterator[list[Item]]:
    """Yield items in their order, each start and end of a scan by itself."""
    run: list[Item] = []
    for item in items:
        if isinstance(item, ScanStart | ScanEnd | Prepared):
            if run:
                yield run
            yield [item]
            run = []
        else:
            run.append(item)
    if run:
        yield run
