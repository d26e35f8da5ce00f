"""Points that wait for the engine: with their pixels while these fit into memory, otherwise with their place in the journal.

In order, while the oldest has not waited for ``PATIENCE_S``. Beyond that the newest first: a device that is slower than
the detector shows what comes now, and catches up with the rest afterwards. Once ``MOST_SCANS`` scans wait the oldest goes
first, since a scan that has begun holds its pictures in memory until its end.
``put`` waits for nothing while the frames are in the journal; a frame costs 28 bytes of memory there.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streams.frame import PositionM, ScanPoint
from streams.refusal_reasons import RefusalReason

MOST_SCANS = 4
PATIENCE_S = 0.5
BEHIND_S = 2.0  # a device whose oldest frame has waited for longer is behind

Read = Callable[[str, int], NDArray[Any] | None]


@dataclass(frozen=True, slots=True)
class EndOfScan:
    """Comes behind the last point of a scan."""

    scan_id: str


@dataclass(frozen=True, slots=True)
class LostPoint:
    """A point whose pixels cannot be read any more, and the reason."""

    scan_id: str
    index: int
    reason: RefusalReason


@dataclass(frozen=True, slots=True)
class Store:
    """Where points can be read back from: ``has(scan, index)``, ``read(scan, index)`` gives counts or None."""

    has: Callable[[str, int], bool]
    read: Read


class WaitingHolder(Protocol):
    """Holds the points of one scan that wait; None while there are none."""

    waiting: Waiting | None


class Backlog:
    """For one consumer.

    Parameters
    ----------
    limit_bytes
        Bound on the pixels held in memory.
    holder_of
        Gives the object that holds the waiting points of a scan.
    store
        The journal; without one ``put`` waits for room, which holds the sender back.
    """

    def __init__(self, limit_bytes: int, holder_of: Callable[[str], WaitingHolder], store: Store | None = None) -> None:
        self._limit_bytes = limit_bytes
        self._store = store
        self._holder_of = holder_of
        self._waiting: list[Waiting] = []  # of the scans that have some, in the order in which they began to wait
        self._lost: deque[LostPoint] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self.bytes = 0

    def __len__(self) -> int:
        return sum(len(scan) for scan in self._waiting.copy()) + len(self._lost)

    @property
    def on_disk(self) -> int:
        """Points that have to be read back."""
        return sum(len(scan.stored) for scan in self._waiting.copy())

    @property
    def age_s(self) -> float:
        """How long the oldest of what waits has waited, s; 0 where nothing waits."""
        with self._changed:
            oldest_ns = min((scan.oldest_ns for scan in self._waiting if len(scan)), default=None)
        return 0.0 if oldest_ns is None else max(0.0, (time.monotonic_ns() - oldest_ns) / 1e9)

    def put(self, points: Iterable[ScanPoint]) -> None:
        """Add points; those without pixels are in the store."""
        with self._changed:
            scan: Waiting | None = None
            for point in points:
                if scan is None or scan.scan_id != point.scan_id or scan.is_taken:
                    scan = self._waiting_of(point.scan_id)
                size_bytes = point.counts.nbytes
                if not size_bytes:
                    scan.stored.push(point)
                    continue
                if self._store is None:
                    while self.bytes and self.bytes + size_bytes > self._limit_bytes and not self._is_closed:
                        self._changed.wait()
                scan.fresh.append(point)
                self.bytes += size_bytes
                if self.bytes > self._limit_bytes:
                    self._spill()
            self._changed.notify_all()

    def finish(self, scan_id: str) -> None:
        """Say that a scan has all the points it will get."""
        with self._changed:
            self._waiting_of(scan_id).is_ended = True
            self._changed.notify_all()

    def take(self, most: int, wait_s: float) -> list[ScanPoint | EndOfScan | LostPoint]:
        """Return what is there, at most ``most`` points; wait up to ``wait_s`` for the first."""
        end = time.monotonic() + wait_s
        with self._changed:
            while not self._has_any() and not self._is_closed:
                left = end - time.monotonic()
                if left <= 0:
                    return []
                self._changed.wait(left)
            taken: list[ScanPoint | EndOfScan | LostPoint] = [self._lost.popleft() for _ in range(len(self._lost))]
            due: list[ScanPoint] = []
            is_late = self._is_late()
            for scan in self._in_order(is_late):
                due += scan.pop(most - len(due), is_late)
            self.bytes -= sum([point.counts.nbytes for point in due])
            finished = [scan for scan in self._waiting if not len(scan) and scan.is_ended]
            for scan in finished:
                self._drop(scan)
            self._changed.notify_all()
        taken += [p if p.counts.size else self._read(p) for p in due]  # without the lock: a disk may take its time
        taken += [EndOfScan(scan.scan_id) for scan in finished]
        return taken

    def forget(self, scan_id: str) -> int:
        """Drop what waits of a scan; return how many points that were."""
        with self._changed:
            scan = next((scan for scan in self._waiting if scan.scan_id == scan_id), None)
            if scan is None:
                return 0
            self._drop(scan)
            self.bytes -= sum(point.counts.nbytes for point in scan.fresh)
            self._changed.notify_all()
            return len(scan)

    def wake(self) -> None:
        """Let a waiting ``take`` look again at once (it may return nothing when its time is over)."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Wake all threads that wait."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _is_late(self) -> bool:
        """Whether a point has waited too long for all to be taken in order."""
        return any(scan.stored for scan in self._waiting) or self.age_s > PATIENCE_S

    def _waiting_of(self, scan_id: str) -> Waiting:
        """Return the waiting points of a scan; the caller holds the lock."""
        holder = self._holder_of(scan_id)
        if holder.waiting is None:
            holder.waiting = Waiting(scan_id, holder)
            self._waiting.append(holder.waiting)
        return holder.waiting

    def _drop(self, scan: Waiting) -> None:
        self._waiting.remove(scan)
        scan.is_taken, scan.holder.waiting = True, None

    def _in_order(self, is_late: bool) -> list[Waiting]:
        waiting = [scan for scan in self._waiting if len(scan)]
        return waiting[::-1] if is_late and len(waiting) < MOST_SCANS else waiting

    def _has_any(self) -> bool:
        return bool(self._lost) or any(len(scan) or scan.is_ended for scan in self._waiting)

    def _spill(self) -> None:
        """Drop the oldest pixels beyond the bound; a point that the store does not have is refused."""
        while self._store is not None and self.bytes > self._limit_bytes:
            scan = next(scan for scan in self._waiting if scan.fresh)
            point = scan.fresh.popleft()
            self.bytes -= point.counts.nbytes
            if self._store.has(point.scan_id, point.index):
                scan.stored.push(point)
            else:
                self._lost.append(LostPoint(point.scan_id, point.index, RefusalReason.OVERLOAD))

    def _read(self, point: ScanPoint) -> ScanPoint | LostPoint:
        """Return a point with its pixels from the store."""
        counts = None if self._store is None else self._store.read(point.scan_id, point.index)
        if counts is None:
            return LostPoint(point.scan_id, point.index, RefusalReason.JOURNAL_UNREADABLE)
        return ScanPoint(point.scan_id, point.index, counts, point.position_m, point.received_ns)


@dataclass(slots=True, eq=False)
class Waiting:
    """The points of one scan that wait."""

    scan_id: str
    holder: WaitingHolder
    fresh: deque[ScanPoint] = field(default_factory=deque)
    stored: _Stored = field(default_factory=lambda: _Stored())
    is_ended: bool = False
    is_taken: bool = False
    """Whether all was taken, and its end too."""

    def __len__(self) -> int:
        return len(self.fresh) + len(self.stored)

    @property
    def oldest_ns(self) -> int:
        """When the oldest point came; there is one."""
        firsts = [self.fresh[0].received_ns] if self.fresh else []
        return min([*firsts, self.stored.oldest_ns] if self.stored else firsts)

    def pop(self, most: int, is_late: bool) -> list[ScanPoint]:
        """Return up to ``most`` points: the newest ones, those in memory first, where points are late."""
        pop = self.fresh.pop if is_late else self.fresh.popleft
        popped = [pop() for _ in range(min(most, len(self.fresh)))]
        popped += [self.stored.pop(self.scan_id) for _ in range(min(most - len(popped), len(self.stored)))]
        return popped


_NO_PIXELS = np.empty((0, 0), dtype=np.uint8)


class _Stored:
    """Points without their pixels, last in first out."""

    def __init__(self) -> None:
        self._indexes = array("i")
        self._positions = array("d")
        self._received = array("q")

    def __len__(self) -> int:
        return len(self._indexes)

    @property
    def oldest_ns(self) -> int:
        return self._received[0]

    def push(self, point: ScanPoint) -> None:
        self._indexes.append(point.index)
        self._positions.extend(point.position_m)
        self._received.append(point.received_ns)

    def pop(self, scan_id: str) -> ScanPoint:
        x, y = self._positions.pop(), self._positions.pop()
        return ScanPoint(scan_id, self._indexes.pop(), _NO_PIXELS, PositionM(y, x), self._received.pop())
