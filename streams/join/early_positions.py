"""Positions that come before their scan opens, by scan name or without one; bounded in names, bytes and age."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

from streams.frame import Position
from streams.join.index_tables import PositionTable

__all__ = ["EarlyPositions"]

_MAX_NAMES = 8
"""Scans that may have early positions at once, as many as may be open by default; each gets an equal share of the bytes."""
_MAX_REFUSED = 1000
"""Refused messages remembered for the next scan; only their number and the first sentence are shown."""


@dataclass(slots=True)
class _EarlyTable:
    """The positions of one scan name, their number, and the time of the latest."""

    table: PositionTable
    latest: float = 0.0
    count: int = 0


class EarlyPositions:
    """Keeps positions until their scan opens; ``ignored`` counts those dropped before.

    Parameters
    ----------
    max_bytes
        Bound on a scan's positions, and on all that are kept here together.
    timeout_s
        A table that receives nothing new for this long is dropped.
    """

    def __init__(self, max_bytes: int, timeout_s: float) -> None:
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._tables: OrderedDict[str | None, _EarlyTable] = OrderedDict()
        self._refused: deque[tuple[float, str]] = deque(maxlen=_MAX_REFUSED)
        self._ignored = 0

    @property
    def ignored(self) -> int:
        """Positions that were dropped before a scan could use them."""
        return self._ignored

    def refuse(self, sentence: str, now: float) -> None:
        """Remember a refused message of the source for the scan that opens next."""
        self._refused.append((now, sentence))

    def take_refused(self, now: float) -> list[str]:
        """Return the faults of the refused messages that a scan which opens now may have needed."""
        sentences = [sentence for since, sentence in self._refused if since + self._timeout_s > now]
        self._refused.clear()
        return sentences

    def keep(self, position: Position, now: float) -> None:
        """Keep a position if there is room. A second index 0 means that the source started again."""
        name = position.scan_id
        known = self._tables.pop(name, None)
        if known is None or (position.index == 0 and known.table.get(0) is not None):
            self._drop(known)
            known = _EarlyTable(PositionTable(self._max_bytes // _MAX_NAMES))
        self._tables[name] = known
        if len(self._tables) > _MAX_NAMES:
            self._drop(self._tables.popitem(last=False)[1])
        known.latest = now
        if known.table.put(position.index, position.position_m, position.light):
            known.count += 1
        else:
            self._ignored += 1

    def take(self, name: str) -> PositionTable:
        """Return the positions of a scan that opens: those of its name, and those without a name."""
        nameless, named = self._tables.pop(None, None), self._tables.pop(name, None)
        if nameless is not None and named is not None:
            nameless.table.update(named.table)
        kept = nameless or named
        if kept is None:
            return PositionTable(self._max_bytes)
        kept.table.bound(self._max_bytes)
        return kept.table

    def drop_nameless(self) -> None:
        """Drop the positions without a scan name."""
        self._drop(self._tables.pop(None, None))

    def drop_stale(self, now: float) -> bool:
        """Drop tables whose scan did not open in time; return whether the nameless one was among them."""
        stale = [name for name, early in self._tables.items() if early.latest + self._timeout_s <= now]
        for name in stale:
            self._drop(self._tables.pop(name))
        return None in stale

    def _drop(self, early: _EarlyTable | None) -> None:
        self._ignored += 0 if early is None else early.count
