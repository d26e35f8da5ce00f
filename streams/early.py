"""Positions that come before their scan opens, by the scan's name, or nameless; bounded in names, bytes and age."""

from __future__ import annotations

from collections import OrderedDict

from streams.frame import Position
from streams.tables import PositionTable

__all__ = ["EarlyPositions"]

_MAX_NAMES = 8


class EarlyPositions:
    """Keeps them until their scan opens.

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
        self._tables: OrderedDict[str | None, tuple[PositionTable, float]] = OrderedDict()

    def keep(self, position: Position, now: float) -> bool:
        """Keep a position; False if there is no room. Index 0 a second time means that the source began anew."""
        name = position.scan_id
        known = self._tables.pop(name, None)
        table = None if known is None else known[0]
        if table is None or (position.index == 0 and table.get(0) is not None):
            table = PositionTable(self._max_bytes // _MAX_NAMES)
        self._tables[name] = (table, now)
        if len(self._tables) > _MAX_NAMES:
            self._tables.popitem(last=False)
        return table.put(position.index, position.position_m)

    def take(self, name: str) -> PositionTable:
        """Return the positions of a scan that opens: those of its name, and the nameless ones."""
        nameless, named = self._tables.pop(None, None), self._tables.pop(name, None)
        if nameless is not None and named is not None:
            nameless[0].update(named[0])
        kept = nameless or named
        if kept is None:
            return PositionTable(self._max_bytes)
        kept[0].bound(self._max_bytes)
        return kept[0]

    def forget_nameless(self) -> None:
        """Drop the nameless ones."""
        self._tables.pop(None, None)

    def drop_stale(self, now: float) -> bool:
        """Drop what has waited in vain; whether the nameless ones were among it."""
        stale = [name for name, (_, latest) in self._tables.items() if latest + self._timeout_s <= now]
        for name in stale:
            del self._tables[name]
        return None in stale
