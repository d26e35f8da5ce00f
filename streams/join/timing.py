"""Checks the pairing by time: the time between a frame's exposure and its position's sample must stay constant.

Frames and positions are paired by index only. If a trigger is lost on the way to one of them, all later pairs are shifted by
one, which only the clocks show. The two clocks need not agree, and may drift slowly.
"""

from __future__ import annotations

from statistics import median

__all__ = ["TimeCheck"]

_EVERY = 8
"""Every eighth frame is compared, which bounds time and memory; a shift persists."""
_MAX_WAITING = 1024
"""Times that wait for their partner, of each side."""
_FIRST_PAIRS = 8
"""Pairs that give the usual difference and the frame period."""
_SIGNS_OF_A_SLIP = 4
"""Shifted pairs in a row that are a lost trigger and not a delayed time stamp."""


class TimeCheck:
    """Compares every eighth frame of a scan; ``slip`` is (first shifted frame, shift in frames) or ``None``."""

    def __init__(self) -> None:
        self._times: tuple[dict[int, float], dict[int, float]] = ({}, {})
        self._first: list[tuple[int, float, float]] = []
        self._apart_s = 0.0
        self._period_s = 0.0
        self._signs: list[tuple[int, int]] = []
        self.slip: tuple[int, int] | None = None

    def add_frame(self, index: int, time_s: float) -> None:
        """Take the exposure of a frame, seconds of the detector's clock."""
        self._add(0, index, time_s)

    def add_position(self, index: int, time_s: float) -> None:
        """Take the time of a position, seconds of the source's clock."""
        self._add(1, index, time_s)

    def take_frames(self, other: TimeCheck) -> None:
        """Take the frames that another check has received and not yet compared."""
        for index, time_s in other._times[0].items():
            self.add_frame(index, time_s)

    def _add(self, side: int, index: int, time_s: float) -> None:
        if index % _EVERY or self.slip is not None:
            return
        mine, other = self._times[side], self._times[1 - side]
        if index not in other:
            mine[index] = time_s
            if len(mine) > _MAX_WAITING:
                del mine[next(iter(mine))]
            return
        matched = other.pop(index)
        self._pair(index, *((time_s, matched) if side == 0 else (matched, time_s)))

    def _pair(self, index: int, exposed_s: float, taken_s: float) -> None:
        if len(self._first) < _FIRST_PAIRS:
            self._first.append((index, exposed_s, exposed_s - taken_s))
            if len(self._first) == _FIRST_PAIRS:
                self._learn()
            return
        if self._period_s <= 0:
            return
        frames = round((exposed_s - taken_s - self._apart_s) / self._period_s)
        if frames == 0:
            self._apart_s = exposed_s - taken_s
            self._signs.clear()
            return
        self._signs.append((index, frames))
        if len(self._signs) == _SIGNS_OF_A_SLIP:
            self.slip = min(self._signs)[0], median_int(self._signs)

    def _learn(self) -> None:
        """Compute the usual time difference and the frame period."""
        ordered = sorted(self._first)
        (low, start_s, _), (high, stop_s, _) = ordered[0], ordered[-1]
        self._period_s = (stop_s - start_s) / (high - low) if high > low else 0.0
        self._apart_s = median(apart for _, _, apart in ordered)


def median_int(signs: list[tuple[int, int]]) -> int:
    """Return the median of the shifts, in frames."""
    return sorted(frames for _, frames in signs)[len(signs) // 2]
