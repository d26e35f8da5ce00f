"""Replay buffer of fine-tuning: the newest frames, a sample of older ones spread over positions, and held-out frames.

A hash of its index decides whether a frame is held out, in every scan alike; it is then never trained on. Useless frames are
refused: too dark (shutter closed, beam lost), with too few valid pixels (saturated), or not finite.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HELD_OUT_OF = 10
"""One frame in this number is held out."""
DARK_SHARE = 0.1
"""A frame below this share of the typical counts is dark."""
LEAST_VALID = 0.5
"""Lowest share of valid pixels of a usable frame."""
TYPICAL_SHARE = 0.02
"""Share of a new frame in the running mean of the counts: it follows the beam within about 50 frames."""

Key = tuple[str, int]


@dataclass(slots=True, eq=False)
class ReplayFrame:
    """A pattern ``amplitude (N, N)`` float32, zero frequency in the middle, -1 = no data; its position [y, x], pixels; and
    ``label (N, N)`` complex64, the refined object at its place, if known.
    """

    amplitude: NDArray[np.float32]
    position_px: tuple[float, float]
    label: NDArray[np.complex64] | None = None


def is_held_out(index: int) -> bool:
    """Return whether a frame is held out."""
    return (index * 2654435761 & 0xFFFFFFFF) % HELD_OUT_OF == 0


class ReplayBuffer:
    """At most ``capacity`` training frames, half of them the newest, and a tenth as many held-out ones, half the newest."""

    def __init__(self, capacity: int, seed: int = 0) -> None:
        self._capacity = max(2, capacity)
        self._recent: OrderedDict[Key, ReplayFrame] = OrderedDict()
        self._older: dict[Key, ReplayFrame] = {}
        self._cells: defaultdict[tuple[str, int, int], list[Key]] = defaultdict(list)
        self._held: OrderedDict[Key, ReplayFrame] = OrderedDict()
        self._held_older: dict[Key, ReplayFrame] = {}
        self._held_passed = 0
        self._random = np.random.default_rng(seed)
        self._typical = 0.0
        self._passed = 0
        self.refused = 0

    def add(self, key: Key, frame: ReplayFrame) -> bool:
        """Add a frame of a scan; False if it is useless."""
        if not self._is_useful(frame.amplitude):
            self.refused += 1
            return False
        if is_held_out(key[1]):
            self._held[key] = frame
            if len(self._held) > self._held_room:
                self._hold_older(*self._held.popitem(last=False))
            return True
        self._recent[key] = frame
        if len(self._recent) > self._capacity // 2:
            self._put_away(*self._recent.popitem(last=False))
        return True

    def label(self, key: Key, patch: NDArray[np.complex64]) -> None:
        """Set the refined object at the place of a frame, if the frame is still in the buffer."""
        frame = self._recent.get(key) or self._older.get(key)
        if frame is not None:
            frame.label = patch

    @property
    def _held_room(self) -> int:
        return max(1, self._capacity // (2 * HELD_OUT_OF))

    def _hold_older(self, key: Key, frame: ReplayFrame) -> None:
        """Keep a uniform random sample of all earlier held-out frames (reservoir sampling)."""
        self._held_passed += 1
        if len(self._held_older) < self._held_room:
            self._held_older[key] = frame
        elif (place := int(self._random.integers(self._held_passed))) < self._held_room:
            del self._held_older[list(self._held_older)[place]]
            self._held_older[key] = frame

    def _is_useful(self, amplitude: NDArray[np.float32]) -> bool:
        valid = amplitude >= 0
        if not np.isfinite(amplitude).all() or valid.mean() < LEAST_VALID:
            return False
        total = float(np.square(amplitude[valid]).sum())
        if total <= DARK_SHARE * self._typical or total <= 0:
            return False
        self._typical += (total - self._typical) * (1.0 if self._typical == 0 else TYPICAL_SHARE)
        return True

    def _put_away(self, key: Key, frame: ReplayFrame) -> None:
        """Keep a sample of the older frames; when it is full, drop a frame from the most crowded place."""
        room = self._capacity - self._capacity // 2
        self._passed += 1
        if len(self._older) >= room and self._random.random() > room / self._passed:
            return
        side = frame.amplitude.shape[0] / 2
        y, x = frame.position_px
        self._older[key] = frame
        self._cells[key[0], int(y // side), int(x // side)].append(key)
        if len(self._older) > room:
            most = max(map(len, self._cells.values()))
            crowds = [cell for cell, keys in self._cells.items() if len(keys) == most]
            crowd = crowds[int(self._random.integers(len(crowds)))]
            keys = self._cells[crowd]
            del self._older[keys.pop(int(self._random.integers(len(keys))))]
            if not keys:
                del self._cells[crowd]

    def __len__(self) -> int:
        """Return the number of training frames."""
        return len(self._recent) + len(self._older)

    @property
    def held_out(self) -> list[Key]:
        """The held-out frames: a sample of the older ones, then the newest."""
        return [*self._held_older, *self._held]

    def neighbourhood(self, frames: int) -> list[ReplayFrame]:
        """Return a random training frame and the nearest ones of its scan, ``frames`` in total, or fewer."""
        keys = [*self._recent, *self._older]
        return self._nearest(keys[int(self._random.integers(len(keys)))], frames)

    def around(self, key: Key, frames: int) -> list[ReplayFrame]:
        """Return a held-out frame, then the nearest training frames of its scan, ``frames`` in total, or fewer."""
        return [self._held_frame(key), *self._nearest(key, frames - 1)]

    def _held_frame(self, key: Key) -> ReplayFrame:
        return self._held.get(key) or self._held_older[key]

    def _nearest(self, key: Key, frames: int) -> list[ReplayFrame]:
        mine = self._recent.get(key) or self._older.get(key) or self._held_frame(key)
        same = [f for part in (self._recent, self._older) for k, f in part.items() if k[0] == key[0]]
        places = np.array([f.position_px for f in same]).reshape(-1, 2)
        order = np.argsort(np.square(places - np.array(mine.position_px)).sum(axis=1), kind="stable")
        return [same[i] for i in order[:frames].tolist()]
