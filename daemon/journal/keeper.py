"""Builds the journal's records from what intake receives, scan by scan, and commits them.

Records are collected here and committed together, once for each batch of intake, before the join takes them.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack

from daemon.journal.batch import RecordBatch
from daemon.journal.folder import LOOSE
from daemon.journal.names import ScanNames
from daemon.journal.patterns import Packed
from daemon.journal.record import (
    Kind,
    Record,
    frame_record,
    plain_record,
    positions_of,
    positions_record,
)
from daemon.journal.start import StoredStart, start_record
from daemon.journal.store import Journal
from streams.errors import CodecError
from streams.frame import Frame, Position

MAX_WORDS_CHARS = 300
"""Length of a refusal's sentence in the journal; the sender may have made it long."""

NOTED_OPTICS = ("object_pixel_size_m", "photon_energy_eV", "detector_distance_m")


@dataclass(frozen=True, slots=True)
class _Loose:
    """Positions that arrived before their scan at ``since``, monotonic seconds; ``wire_id`` as in :class:`Position`."""

    wire_id: str | None
    record: Record
    since: float


class Keeper:
    """Builds records and commits them. Only :meth:`flush` may be called without the caller's lock.

    Parameters
    ----------
    keep_loose_s
        Time for which positions that arrive before their scan wait for it.
    """

    def __init__(self, journal: Journal, names: ScanNames, keep_loose_s: float) -> None:
        self.journal = journal
        self.names = names
        self._keep_loose_s = keep_loose_s
        self._records: defaultdict[str, list[Record]] = defaultdict(list)
        self._ends: list[RecordBatch] = []
        self._loose: deque[_Loose] = deque()

    def open(self, stored: StoredStart) -> None:
        """Add the start of a scan, and the positions that arrived before it."""
        records = self._records[stored.scan_id]
        records.append(start_record(stored))
        self._drop_stale()
        mine = [loose for loose in self._loose if loose.wire_id in (None, stored.start.scan_id)]
        records += [loose.record for loose in mine]
        if self._loose:
            self._loose = deque(loose for loose in self._loose if loose not in mine)
            self._ends.append(RecordBatch(LOOSE, then="delete"))
            self._records[LOOSE] += [_named(loose.wire_id, loose.record) for loose in self._loose]

    def frame(self, scan_id: str, frame: Frame, packed: Packed) -> None:
        """Add a frame; its position only if the frame's message carried it."""
        self._records[scan_id].append(frame_record(frame.index, frame.position_m, packed))

    def refused(self, scan_id: str, fault: CodecError) -> None:
        """Add a message that was refused."""
        words = str(fault)[:MAX_WORDS_CHARS]
        self._records[scan_id].append(
            plain_record(Kind.REFUSED, reason=fault.reason.value, index=fault.index, words=words)
        )

    def end(self, scan_id: str, ended_by: str) -> None:
        """Add the end of a scan; ``ended_by`` is its cause."""
        self._records[scan_id].append(plain_record(Kind.END, ended_by=ended_by))

    def note(self, scan_id: str, **content: Any) -> None:
        """Add further facts that are needed to resume the scan."""
        self._records[scan_id].append(plain_record(Kind.NOTE, **content))

    def positions(self, positions: Iterable[Position], scan_of: Callable[[str | None], str | None]) -> None:
        """Add positions; ``scan_of`` gives the running scan of a sender's name, None if there is none yet."""
        groups: defaultdict[str | None, list[Position]] = defaultdict(list)
        for position in positions:
            groups[position.scan_id].append(position)
        for wire_id, some in groups.items():
            record = positions_record([(p.index, p.position_m) for p in some])
            scan_id = scan_of(wire_id)
            if scan_id is not None:
                self._records[scan_id].append(record)
                continue
            self._drop_stale()
            self._loose.append(_Loose(wire_id, record, time.monotonic()))
            self._records[LOOSE].append(_named(wire_id, record))

    def take(self) -> list[RecordBatch]:
        """Remove and return the collected records, for :meth:`flush`."""
        if not self._records and not self._ends:
            return []
        loose = self._records.pop(LOOSE, [])
        batches = [RecordBatch(scan_id, records) for scan_id, records in self._records.items()]
        batches += [*self._ends, RecordBatch(LOOSE, loose)]
        self._records.clear()
        self._ends.clear()
        return batches

    def flush(self, batches: Sequence[RecordBatch]) -> bool:
        """Write to the disk; False if it does not have them yet (see :meth:`Journal.commit`)."""
        return self.journal.commit(batches)

    def loose(self) -> Iterator[Position]:
        """Yield the positions that arrived before their scan when the daemon last ran."""
        for record in self.journal.loose():
            content = record.plain()
            wire_id = content.get("scan_id")
            for index, position_m in positions_of(content.get("rows", b"")):
                yield Position(wire_id, index, position_m)

    def _drop_stale(self) -> None:
        limit = time.monotonic() - self._keep_loose_s
        while self._loose and self._loose[0].since < limit:
            self._loose.popleft()


def _named(wire_id: str | None, record: Record) -> Record:
    return Record(Kind.NOTE, msgpack.packb({"scan_id": wire_id, "rows": bytes(record.payload)}))
