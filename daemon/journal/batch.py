"""Records of one scan that are written together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from daemon.journal.record import Kind, Record


@dataclass(frozen=True, slots=True, eq=False)
class RecordBatch:
    """Records of one scan, in order; ``then`` is done with its journal after they are written."""

    scan_id: str
    records: Sequence[Record] = ()
    then: Literal["go_on", "close", "delete"] = "go_on"

    @property
    def frames(self) -> int:
        """Number of frames."""
        return sum(record.kind is Kind.FRAME for record in self.records)

    @property
    def bytes(self) -> int:
        """Bytes of the payloads."""
        return sum(len(record.payload) for record in self.records)
