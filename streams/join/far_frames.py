"""Holds back frames that lie far from all others of their scan, so that one wrong position does not enlarge the canvas.

A wrong position (a slipped encoder, a motor read while it moved) would make the picture grow up to that place. A frame is near
if it lies within ``reach_m`` of the box around the frames that were passed on. Far frames are passed on if ``CLUSTER`` places
lie near each other, or if there are ``MANY`` and they are more than a small part of the scan. The last frames of a scan may
belong to a new place: they are passed on if the canvas stays affordable.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from streams.frame import Frame, PositionM

__all__ = ["FarFrames"]

CLUSTER = 4
"""Places near each other that are a second place of interest and not an error."""
MANY = 8
"""Places apart from each other that are not errors if they are more than ``SMALL_PART`` of the scan."""
MOST_HELD = 64
"""Frames held back at once; beyond it the oldest is refused, which bounds the memory."""
FIRST_WAITS_S = 2.0
"""Time that the first frames of a scan wait for company, s."""
SMALL_PART = 0.2
"""Share of a scan's frames below which far frames are errors and not a second place of interest."""

AFFORDABLE = 4.0
"""Growth of the picture for the last frames of a scan, in squares of the reach; one takes about 40 MB."""

_SAME_PLACE = 1e-3
"""Distance below which two positions are one place, as a share of the reach: the noise of an encoder."""

Placed = tuple[Frame, PositionM]


class FarFrames:
    """The frames of one scan that are held back; ``since`` is the time of its first frame with a position."""

    def __init__(self, reach_m: float, since: float = 0.0) -> None:
        self.since = since
        self._reach_m = reach_m
        self._top = self._left = math.inf
        self._bottom = self._right = -math.inf
        self._near_top = self._near_left = math.inf
        self._near_bottom = self._near_right = -math.inf
        self._passed = 0
        self._held: dict[int, Placed] = {}
        self._last: dict[int, Placed] = {}
        """The frames held back since the last frame that was passed on."""

    def __len__(self) -> int:
        return len(self._held)

    @property
    def held(self) -> Mapping[int, Placed]:
        """The frames held back, by index; always the same mapping."""
        return self._held

    def is_due(self, has_ended: bool, waited_s: float) -> bool:
        """Whether :meth:`decide` must be called: the scan has all frames, or its first frame has waited too long."""
        return len(self._held) > 0 and (has_ended or (not self._passed and waited_s > FIRST_WAITS_S))

    def lets_through(self, position_m: PositionM) -> bool:
        """Whether a frame is let through, and it alone; if so it counts as such, else it has to be taken."""
        if self._held or not self._is_near(position_m):
            return False
        self._include(position_m)
        self._passed += 1
        return True

    def take(self, frame: Frame, position_m: PositionM) -> list[Placed]:
        """Take a frame; return the frames that are passed on with it."""
        if self._is_near(position_m):
            return self._pass_on([(frame, position_m)])
        company = [placed for placed in self._held.values() if self._are_near(placed[1], position_m)]
        self._held[frame.index] = self._last[frame.index] = (frame, position_m)
        together = [*company, (frame, position_m)]
        if self._are_many():
            return self._pass_on(list(self._held.values()))
        has_company = self._places(together) >= CLUSTER if self._passed else len(together) > 1
        return self._pass_on(together) if has_company else []

    def drop_oldest(self) -> int | None:
        """Drop the oldest frame if too many are held back; return its index."""
        if len(self._held) <= MOST_HELD:
            return None
        index = next(iter(self._held))
        del self._held[index]
        self._last.pop(index, None)
        return index

    def decide(self) -> tuple[list[Placed], list[int]]:
        """Return the frames to pass on and the indexes to refuse: no other frames will come near them."""
        if len(self._held) > SMALL_PART * (self._passed + len(self._held)):
            return self._pass_on(list(self._held.values())), []
        passed: list[Placed] = []
        most_m2 = self._area_m2(None) + AFFORDABLE * self._reach_m**2
        for placed in list(self._last.values()):
            if placed[0].index in self._held and self._area_m2(placed[1]) <= most_m2:
                passed += self._pass_on([placed])
        refused = list(self._held)
        self._held.clear()
        return passed, refused

    def _area_m2(self, other: PositionM | None) -> float:
        """Return the area of the box around the passed frames and another, with a margin for the patterns."""
        y, x = (self._top, self._left) if other is None else other
        height = max(self._bottom, y) - min(self._top, y)
        width = max(self._right, x) - min(self._left, x)
        return (height + self._reach_m / 2) * (width + self._reach_m / 2)

    def _pass_on(self, some: list[Placed]) -> list[Placed]:
        """Pass frames on, then those that lie near them, and so on."""
        passed: list[Placed] = []
        while some:
            for frame, position_m in some:
                self._held.pop(frame.index, None)
                self._include(position_m)
            passed += some
            some = [placed for placed in self._held.values() if self._is_near(placed[1])] if self._held else []
        self._passed += len(passed)
        self._last = {}
        return passed

    def _include(self, position_m: PositionM) -> None:
        y, x = position_m
        if self._top <= y <= self._bottom and self._left <= x <= self._right:
            return
        reach_m = self._reach_m
        self._top, self._bottom = min(y, self._top), max(y, self._bottom)
        self._left, self._right = min(x, self._left), max(x, self._right)
        self._near_top, self._near_bottom = self._top - reach_m, self._bottom + reach_m
        self._near_left, self._near_right = self._left - reach_m, self._right + reach_m

    def _is_near(self, position_m: PositionM) -> bool:
        y, x = position_m
        return self._near_top <= y <= self._near_bottom and self._near_left <= x <= self._near_right

    def _are_near(self, one: PositionM, other: PositionM) -> bool:
        return max(abs(one.y - other.y), abs(one.x - other.x)) <= self._reach_m

    def _are_many(self) -> bool:
        few = len(self._held) < MANY or len(self._held) <= SMALL_PART * (self._passed + len(self._held))
        return not few and self._places(self._held.values()) >= MANY

    def _places(self, some: Iterable[Placed]) -> int:
        """Return the number of different places; frames of a stuck motor lie at one."""
        grid_m = self._reach_m * _SAME_PLACE
        found = {(round(y / grid_m), round(x / grid_m)) for _, (y, x) in some}
        return len(found)
