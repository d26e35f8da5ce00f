"""What the intake takes, as records of the journal, scan by scan; the one place that knows both.

Records gather here and are committed together, once a turn of the intake, before the join hears of what they say.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack

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
from daemon.journal.store import LOOSE, Batch, Journal
from streams.errors import CodecError
from streams.frame import Frame, Position

MOST_WORDS_CHARS = 300

NOTED_OPTICS = ("object_pixel_size_m", "photon_energy_eV", "detector_distance_m")


@dataclass(frozen=True, slots=True)
class _Loose:
    """Positions that came before their scan; ``wire_id`` as in :class:`Position`."""

    wire_id: str | None
    record: Record
    since: float


class Keeper:
    """Makes records and commits them. Not safe to share between threads without a lock, but for :meth:`flush`.

    Parameters
    ----------
    keep_loose_s
        How long positions that came before their scan are for the next scan.
    """

    def __init__(self, journal: Journal, names: ScanNames, keep_loose_s: float) -> None:
        self.journal = journal
        self.names = names
        self._keep_loose_s = keep_loose_s
        self._records: defaultdict[str, list[Record]] = defaultdict(list)
        self._ends: list[Batch] = []
        self._loose: deque[_Loose] = deque()

    def open(self, stored: StoredStart) -> None:
        """Enter that a scan began; positions that came before it are its own."""
        records = self._records[stored.scan_id]
        records.append(start_record(stored))
        self._drop_stale()
        mine = [loose for loose in self._loose if loose.wire_id in (None, stored.start.scan_id)]
        records += [loose.record for loose in mine]
        if self._loose:
            self._loose = deque(loose for loose in self._loose if loose not in mine)
            self._ends.append(Batch(LOOSE, then="delete"))
            self._records[LOOSE] += [_named(loose.wire_id, loose.record) for loose in self._loose]

    def frame(self, scan_id: str, frame: Frame, packed: Packed) -> None:
        """Enter a frame; its position only where that came with it."""
        self._records[scan_id].append(frame_record(frame.index, frame.position_m, packed))

    def refused(self, scan_id: str, fault: CodecError) -> None:
        """Enter a message that could not be taken."""
        words = str(fault)[:MOST_WORDS_CHARS]
        self._records[scan_id].append(
            plain_record(Kind.REFUSED, reason=fault.reason.value, index=fault.index, words=words)
        )

    def end(self, scan_id: str, ended_by: str) -> None:
        """Enter that a scan has ended, and by what."""
        self._records[scan_id].append(plain_record(Kind.END, ended_by=ended_by))

    def note(self, scan_id: str, **content: Any) -> None:
        """Enter what else has to be known when the scan goes on."""
        self._records[scan_id].append(plain_record(Kind.NOTE, **content))

    def positions(self, positions: Iterable[Position], scan_of: Callable[[str | None], str | None]) -> None:
        """Enter positions; ``scan_of`` gives the running scan of a sender's name, None where there is none yet."""
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

    def take(self) -> list[Batch]:
        """Return all that has gathered, for :meth:`flush`; empty if nothing has."""
        if not self._records and not self._ends:
            return []
        loose = self._records.pop(LOOSE, [])
        batches = [Batch(scan_id, records) for scan_id, records in self._records.items()]
        batches += [*self._ends, Batch(LOOSE, loose)]
        self._records.clear()
        self._ends.clear()
        return batches

    def flush(self, batches: Sequence[Batch]) -> bool:
        """Have it on the disk; False where it is not yet there (see :meth:`Journal.commit`)."""
        return self.journal.commit(batches)

    def loose(self) -> Iterator[Position]:
        """Yield the positions that came before their scan, when the daemon last ran."""
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
