"""Intake: from message parts to frames with positions, in the scans of the registry.

The receive thread parses headers and queues (bounded in bytes; a full queue holds the sender back). The intake thread
takes whatever is there, has the pool decode it, keeps the order, and enters it into the journal and the join. At its
start it plays unfinished scans again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from daemon.intake.admission import Admission, Entry, PackedFrame, SentPositions
from daemon.intake.byte_queue import ByteQueue
from daemon.intake.position_files import PositionFiles
from daemon.intake.preprocess import Preprocess, RawFrame
from daemon.intake.refusals import Refusals
from daemon.intake.registry import ScanRegistry
from daemon.intake.replay import Replay, close_recorded
from daemon.journal import pack
from daemon.metrics import Metrics
from streams.codecs import Codec, EncodedFrame
from streams.errors import CodecError, PositionError
from streams.frame import Frame, Position, PositionNews, ScanPoint
from streams.join.source_run import ResumedRun
from streams.position_sources.bluesky import BlueskyReader
from streams.refusal_reasons import RefusalReason

TAKE_FRAMES = 512
"""Frames of one turn at most: others get the lock between two turns."""
TICK_S = 0.05
"""Longest wait for messages: a silent or finished scan is noticed this soon."""
TURN_S = 0.02
"""A turn begins no sooner after the one before, unless much waits: each has the disk and the engine's lock wait for it."""

BALLAST_BYTES = 64 << 10
"""Bytes that a frame may keep in memory beside its own pixels: other channels, long headers."""

HEADER_BYTES = 512
"""Memory of a queued message beside its pixels and positions, an upper estimate."""
POSITION_BYTES = 160
"""Memory of a queued position with its numbers, an upper estimate."""

log = logging.getLogger(__name__)

ReadPositions = Callable[[Sequence[memoryview]], list[Position] | PositionNews]
Item = Entry | EncodedFrame | RawFrame


@dataclass(frozen=True, slots=True)
class IntakeOptions:
    """Bounds; ``positions`` says how the positions of streams are used, ``read_positions`` reads their messages.

    ``resume_positions`` gives its reader the runs that the journal knows and returns the news of what came since;
    ``make_position_files`` makes what reads positions that lie in files and delivers the news.
    """

    queue_bytes: int
    workers: int = 2
    positions: SentPositions = SentPositions()
    read_positions: ReadPositions | None = None
    resume_positions: Callable[[Sequence[ResumedRun]], list[PositionNews]] | None = None
    make_position_files: Callable[[Callable[[PositionNews], None]], PositionFiles] | None = None


class Intake:
    """Owns the codec, the queue and the pool; it alone feeds the registry's scans.

    ``on_points`` gets frames that have found their position.
    """

    def __init__(
        self,
        codec: Codec,
        preprocess: Preprocess,
        scans: ScanRegistry,
        options: IntakeOptions,
        *,
        metrics: Metrics,
        on_points: Callable[[list[ScanPoint]], None],
    ) -> None:
        self._codec = codec
        self._preprocess = preprocess
        self._scans = scans
        self._admission = Admission(scans, options.positions, metrics, on_points)
        self._keeper = scans.keeper
        self._beat = time.monotonic()
        self._options = options
        self._metrics = metrics
        self._incoming: ByteQueue[Item] = ByteQueue(options.queue_bytes)
        self._pool = ThreadPoolExecutor(options.workers, thread_name_prefix="decode")
        self._read_run = BlueskyReader(None).parse
        make_files = options.make_position_files
        self._position_files = None if make_files is None else make_files(self._take_news)
        self._stop = threading.Event()
        self._ends_scans = True
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def beat(self) -> float:
        """When the thread last came round, monotonic, s."""
        return self._beat

    @property
    def received(self) -> int:
        """Frame messages taken since the start, good or not."""
        return self._admission.received

    @property
    def refusals(self) -> Refusals:
        """The refused messages, by stream and reason."""
        return self._admission.refusals

    @property
    def held_frames(self) -> int:
        """Frames that wait for their scan's centre."""
        return self._preprocess.held_frames

    def start(self) -> None:
        """Close the journals of scans whose record is written, then start the thread."""
        if self._keeper is not None:
            close_recorded(self._keeper.journal, self._scans)
        self._thread.start()
        if self._position_files is not None:
            self._position_files.start()

    def stop(self, *, end_scans: bool = True) -> None:
        """Take in the queue, end open scans (else they go on at the next start), and end the thread."""
        self._ends_scans = end_scans
        if self._position_files is not None:
            self._position_files.stop()
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
        for item in without_ballast(items, sum(map(len, parts))):
            if isinstance(item, EncodedFrame):
                self._incoming.put(item, HEADER_BYTES + len(item.payload))
            elif not isinstance(item, Position):
                self._incoming.put(item, HEADER_BYTES)
            elif self._options.positions.are_in_frames:
                self._incoming.put([item], HEADER_BYTES)

    def on_position_message(self, parts: Sequence[memoryview], _received_ns: int) -> None:
        """Take one message of the position stream (its receive thread)."""
        read = self._options.read_positions
        if read is None:
            return
        try:
            item = read(parts)
        except (PositionError, CodecError) as fault:
            self._refuse_position_message(str(fault))
            return
        if isinstance(item, PositionNews):
            self._take_news(item)
        else:
            self._incoming.put(item, HEADER_BYTES + POSITION_BYTES * len(item))

    def _take_news(self, news: PositionNews) -> None:
        """Queue the news of a source, and have its samples in files read (any thread)."""
        if news.is_silent:
            return
        self._incoming.put(news, HEADER_BYTES + POSITION_BYTES * len(news.positions))
        self._want(news)

    def _want(self, news: PositionNews) -> None:
        if news.wanted and self._position_files is not None:
            self._position_files.want(news.wanted)

    def _refuse_position_message(self, words: str) -> None:
        self.refusals.add("positions", RefusalReason.POSITION_MESSAGE, words)
        with self._scans.lock:
            self._scans.join.refuse_position_message(words)

    def _resume_positions(self, runs: Sequence[ResumedRun]) -> None:
        """Have the reader of positions go on with the runs of scans that go on."""
        if self._options.resume_positions is not None:
            found = self._options.resume_positions(runs)
            self._admission.take(found)
            for news in found:
                self._want(news)

    def on_refused(self, stream: str, fault: CodecError) -> None:
        """Take word of a message that a receiver could not hand on (any receive thread)."""
        if stream == "frames":
            self._incoming.put(fault, HEADER_BYTES)
        elif stream == "positions":
            self._refuse_position_message(str(fault))
        else:
            self.refusals.add(stream, RefusalReason.METADATA_MESSAGE, str(fault))

    def on_metadata_message(self, parts: Sequence[memoryview], _received_ns: int) -> None:
        """Take one message of the control system (its receive thread)."""
        try:
            news = self._read_run(parts)
        except PositionError as fault:
            self.refusals.add("metadata", RefusalReason.METADATA_MESSAGE, str(fault))
            return
        with self._scans.lock:
            self._scans.join.announce(news)

    def mark_stitched(self, scan_id: str, indexes: Sequence[int]) -> None:
        """Enter frames as stitched (engine's thread)."""
        self._scans.mark_stitched(scan_id, indexes)
        self._metrics.frames_stitched.inc(len(indexes))

    def refuse(self, scan_id: str, index: int, reason: RefusalReason) -> None:
        """Enter a frame as refused (engine's thread)."""
        self._scans.refuse(scan_id, index, reason)
        self.refusals.add("frames", reason)

    def _run(self) -> None:
        guard, is_over = self._admission.guard, False
        guard(self._replay)
        while not is_over:
            items = self._incoming.take(TAKE_FRAMES, TICK_S)
            self._note_beat()
            self._metrics.queue_depth.labels("decode").set(len(self._incoming))
            self._metrics.queue_bytes.labels("decode").set(self._incoming.bytes)
            is_over = not items and self._stop.is_set()
            guard(self._turn, items, is_over)
            guard(self._tick)
            if len(self._incoming) < TAKE_FRAMES:
                self._stop.wait(max(0.0, self._beat + TURN_S - time.monotonic()))
        if self._ends_scans:
            guard(self._end_all)

    def _note_beat(self) -> None:
        self._beat = time.monotonic()

    def _replay(self) -> None:
        """Play unfinished scans again; their runs of the position source go on."""
        runs: list[ResumedRun] = []
        if self._keeper is not None:
            replay = Replay(self._scans, self._keeper, self._preprocess, self._admission)
            self._admission.guard(replay.play_all, self._note_beat)
            runs = replay.resumed_runs
        self._resume_positions(runs)

    def _tick(self) -> None:
        """Give up frames that waited too long, end silent scans, hand on finished ones."""
        scans = self._scans
        with scans.lock:
            for wire_id in self._preprocess.waiting_scans:
                scans.heard(wire_id)
            scans.end_silent()
            points = scans.join.poll()
            scans.note_runs()
        self._admission.hand_on(points)
        with scans.lock:
            pending, ended = scans.hand_on_finished()
        self._metrics.scan_frames_pending.set(pending)
        for wire_id in ended:
            self._preprocess.forget(wire_id)
        self._admission.flush()

    def _end_all(self) -> None:
        """End and hand on all open scans: the daemon is stopped."""
        scans = self._scans
        with scans.lock:
            scans.stop_all()
            points = scans.join.poll()
        self._admission.hand_on(points)
        with scans.lock:
            scans.hand_on_all()
        self._admission.flush()

    def _turn(self, items: list[Item], is_last: bool) -> None:
        ready = self._preprocess.take(items) + self._preprocess.overdue(all_of_them=is_last)
        for begin in range(0, len(ready), TAKE_FRAMES):  # of a scan that waited for its centre there may be very many
            with self._metrics.stage_seconds.labels("decode").time():
                decoded = self._decode(ready[begin : begin + TAKE_FRAMES])
            self._admission.take(decoded)
            self._note_beat()

    def _decode(self, items: Sequence[Item]) -> list[Entry]:
        frames = sum(isinstance(item, RawFrame) for item in items)
        if frames < 2 * self._options.workers:
            return [self._decode_one(item) for item in items]
        share = -(-len(items) // self._options.workers)
        parts = [items[i : i + share] for i in range(0, len(items), share)]
        return [done for part in self._pool.map(lambda p: [self._decode_one(i) for i in p], parts) for done in part]

    def _decode_one(self, item: Item) -> Entry:
        if not isinstance(item, RawFrame | EncodedFrame):
            return item
        try:
            decoded = item.decode()
            if self._keeper is None or not isinstance(item, RawFrame) or not isinstance(decoded, Frame):
                return decoded
            return PackedFrame(decoded, pack(decoded.counts, item.frame))
        except Exception as fault:  # one frame must not cost the others of its turn
            frame = item.frame if isinstance(item, RawFrame) else item
            log.exception("scan %s, frame %d", frame.scan_id, frame.index)
            return CodecError(
                RefusalReason.DECODE_ERROR, f"a frame cannot be decoded: {fault}", frame.scan_id, frame.index
            )


def without_ballast(items: Sequence[Entry | EncodedFrame | Position], message_bytes: int) -> Sequence[Any]:
    """Return what a message says; where most of its bytes are not needed, frames keep a copy of theirs alone."""
    needed = sum(item.nbytes for item in items if isinstance(item, EncodedFrame))
    if message_bytes - needed <= max(needed, BALLAST_BYTES):
        return items
    return [replace(i, payload=bytes(i.payload)) if isinstance(i, EncodedFrame) else i for i in items]
