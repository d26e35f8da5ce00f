"""A bound on how fast scans may open, so that a hostile or broken sender cannot fill the books."""

from __future__ import annotations

__all__ = ["FloodGate"]


class FloodGate:
    """Lets so many scans open at once, then one a second; one that proves good costs nothing."""

    def __init__(self, room: int, now: float) -> None:
        self._most = self._room = float(room)
        self._since = now

    def admit(self, now: float) -> bool:
        """Whether one more may open."""
        self._room = min(self._most, self._room + now - self._since)
        self._since = now
        if self._room < 1:
            return False
        self._room -= 1
        return True

    def give_back(self) -> None:
        """Make up for a scan that was good."""
        self._room = min(self._most, self._room + 1)
