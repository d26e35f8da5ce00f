"""What of a position source comes before its scan opens, by the scan's name, or nameless; bounded in names, bytes and age."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

from streams.frame import Position
from streams.join.index_tables import PositionTable

__all__ = ["EarlyPositions"]

_MAX_NAMES = 8
_MAX_REFUSED = 1000


@dataclass(slots=True)
class _Early:
    """Positions of one name: how many came, and when the latest did."""

    table: PositionTable
    latest: float = 0.0
    count: int = 0


class EarlyPositions:
    """Keeps them until their scan opens; ``ignored`` counts those that were dropped before.

    Parameters
    ----------
    max_bytes
        Bound on a scan's positions, and on all that are kept here together.
    timeout_s
        A table that gets nothing new for so long is forgotten.
    """

    def __init__(self, max_bytes: int, timeout_s: float) -> None:
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._tables: OrderedDict[str | None, _Early] = OrderedDict()
        self._refused: deque[tuple[float, str]] = deque(maxlen=_MAX_REFUSED)
        self.ignored = 0

    def refuse(self, words: str, now: float) -> None:
        """Keep word of a message of the source that was refused, for the scan that opens next."""
        self._refused.append((now, words))

    def take_refused(self, now: float) -> list[str]:
        """Return what was wrong with the messages that a scan which opens may have needed."""
        words = [words for since, words in self._refused if since + self._timeout_s > now]
        self._refused.clear()
        return words

    def keep(self, position: Position, now: float) -> bool:
        """Keep a position; False if there is no room. Index 0 a second time means that the source began anew."""
        name = position.scan_id
        known = self._tables.pop(name, None)
        if known is None or (position.index == 0 and known.table.get(0) is not None):
            self._drop(known)
            known = _Early(PositionTable(self._max_bytes // _MAX_NAMES))
        self._tables[name] = known
        if len(self._tables) > _MAX_NAMES:
            self._drop(self._tables.popitem(last=False)[1])
        known.latest = now
        is_kept = known.table.put(position.index, position.position_m)
        known.count += is_kept
        self.ignored += not is_kept
        return is_kept

    def take(self, name: str) -> PositionTable:
        """Return the positions of a scan that opens: those of its name, and the nameless ones."""
        nameless, named = self._tables.pop(None, None), self._tables.pop(name, None)
        if nameless is not None and named is not None:
            nameless.table.update(named.table)
        kept = nameless or named
        if kept is None:
            return PositionTable(self._max_bytes)
        kept.table.bound(self._max_bytes)
        return kept.table

    def forget_nameless(self) -> None:
        """Drop the nameless ones."""
        self._drop(self._tables.pop(None, None))

    def drop_stale(self, now: float) -> bool:
        """Drop what has waited in vain; whether the nameless ones were among it."""
        stale = [name for name, early in self._tables.items() if early.latest + self._timeout_s <= now]
        for name in stale:
            self._drop(self._tables.pop(name))
        return None in stale

    def _drop(self, early: _Early | None) -> None:
        self.ignored += 0 if early is None else early.count
