"""Positions of the stitched frames of a scan, in the order of stitching: as measured, and as used."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

Place = tuple[float, float]
"""Position (y, x), object pixels."""


class FramePlaces:
    """Indexes and positions; the engine's thread alone changes them. ``moves`` counts how often frames were moved.

    Other threads call the paths and :meth:`copied`, which copy by slices: an array that exports its buffer cannot grow.
    """

    def __init__(self) -> None:
        self._indexes, self._told_px = array("q"), array("d")
        self._moved_px: dict[int, Place] = {}
        self.moves = 0

    def __len__(self) -> int:
        return len(self._indexes)

    def __iter__(self) -> Iterator[tuple[int, Place]]:
        """Return pairs of index and measured position."""
        indexes = self._indexes[:]
        return zip(indexes, self.told_path_px(0, len(indexes)), strict=True)

    def add(self, indexes: Sequence[int], positions_px: Sequence[Place]) -> None:
        """Take stitched frames."""
        self._told_px.extend(chain.from_iterable(positions_px))
        self._indexes.extend(indexes)

    def move(self, places: Mapping[int, Place]) -> None:
        """Use other positions for frames."""
        self._moved_px = {**self._moved_px, **places}
        self.moves += 1

    def forget_moves(self) -> None:
        """Use the measured positions again."""
        self._moved_px = {}
        self.moves += 1

    @property
    def used(self) -> dict[int, Place]:
        """Position of each frame as it is used."""
        return dict(self) | self._moved_px

    @property
    def indexes(self) -> NDArray[np.int64]:
        """Indexes ``(n,)``."""
        return np.array(self._indexes, dtype=np.int64)

    @property
    def told_px(self) -> NDArray[np.float64]:
        """Told positions ``(n, 2)``."""
        return np.array(self._told_px, dtype=np.float64).reshape(-1, 2)

    @property
    def used_px(self) -> NDArray[np.float64]:
        """Positions ``(n, 2)`` as they are used."""
        return np.array(self.path_px(0, len(self)), dtype=np.float64).reshape(-1, 2)

    @property
    def are_moved(self) -> bool:
        """Whether a frame does not lie at its measured position."""
        return bool(self._moved_px)

    @property
    def moved_share(self) -> float:
        """Share of the frames that do not lie at their measured positions."""
        return len(self._moved_px) / max(1, len(self))

    @property
    def error_px(self) -> float | None:
        """Mean distance between measured and used positions of moved frames, without their common shift; None: none moved."""
        if not self._moved_px:
            return None
        is_moved = np.isin(self.indexes, list(self._moved_px))
        apart = (self.used_px - self.told_px)[is_moved]
        return float(np.hypot(*(apart - np.median(apart, axis=0)).T).mean())

    def told_path_px(self, after: int, most: int) -> list[Place]:
        """Return measured positions in the order of stitching, from number `after` on; safe from any thread."""
        values = self._told_px[2 * after : 2 * (after + most)]
        return list(zip(values[::2], values[1::2], strict=False))

    def copied(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return indexes ``(n,)`` and measured positions ``(n, 2)``; safe from any thread."""
        indexes = self._indexes[:]
        told = self._told_px[: 2 * len(indexes)]
        return np.array(indexes, dtype=np.int64), np.array(told, dtype=np.float64).reshape(-1, 2)

    def moves_px(self, indexes: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float64]:
        """Return used minus measured positions ``(n, 2)``; safe from any thread."""
        moved, told = self._moved_px, dict(self)
        apart = [np.subtract(moved[i], told[i]) if i in moved else (0.0, 0.0) for i in map(int, indexes)]
        return np.array(apart, dtype=np.float64).reshape(-1, 2)

    def path_px(self, after: int, most: int, *, told: bool = False) -> list[Place]:
        """Return used positions in the same way, or with ``told`` the measured ones."""
        places = self.told_path_px(after, most)
        if told or not self._moved_px:
            return places
        return [
            self._moved_px.get(i, place) for i, place in zip(self._indexes[after : after + most], places, strict=False)
        ]
