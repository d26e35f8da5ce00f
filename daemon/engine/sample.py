"""A fair sample of a scan's frames, for the R-factor, the plausibility and the diagnosis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ptychopinn.device import to_device, to_host
from ptychopinn.frame_store import FrameStore, StoredPattern, at_middle

SAMPLE_FRAMES, SAMPLE_BYTES = 1024, 64 << 20
"""Frames and bytes of the sample at most: R of 1024 frames is known to a percent of itself."""
LEAST_FRAMES = 8
"""Frames of the sample, however large they are."""

Place = tuple[float, float]
PlacedPattern = tuple[torch.Tensor, Place]
"""Amplitudes ``(N, N)`` and position ``(y, x)``, object pixels."""


class FrameSample:
    """Every frame while there are few, later each with the same probability (reservoir sampling, fixed seed)."""

    def __init__(self, store: FrameStore) -> None:
        self._store = store
        self._held: list[tuple[int, StoredPattern, Place]] = []
        self._seen = 0
        self._random = np.random.default_rng(0)

    def __len__(self) -> int:
        return len(self._held)

    @property
    def stored(self) -> list[tuple[StoredPattern, Place]]:
        """Patterns and positions of its frames."""
        return [(pattern, place) for _, pattern, place in self._held]

    def add(
        self,
        frames: Sequence[tuple[int, Place]],
        amplitude: torch.Tensor,
        patterns: Sequence[StoredPattern] | None = None,
        *,
        are_counts: bool = False,
    ) -> None:
        """Take some of the frames, each an index and a position, with their amplitudes ``(B, N, N)``.

        ``patterns`` are the same where all of them are stored already.
        """
        chosen = self._choose(len(frames), amplitude.nbytes // max(1, len(frames)))
        if not chosen:
            return
        rows = [row for row, _ in chosen]
        if patterns is None:
            mine = self._store.put(_some(amplitude, rows), are_counts=are_counts)
        else:
            mine = [patterns[row] for row in rows]
        for (row, place), pattern in zip(chosen, mine, strict=True):
            index, position_px = frames[row]
            self._held[place : place + 1] = [(index, pattern, position_px)]

    def _choose(self, count: int, frame_bytes: int) -> list[tuple[int, int]]:
        """Return which of the next frames are taken, and their places in the sample."""
        most = max(LEAST_FRAMES, min(SAMPLE_FRAMES, SAMPLE_BYTES // max(1, frame_bytes)))
        begin, size = self._seen, len(self._held)
        self._seen += count
        first = min(count, max(0, most - size))
        chosen = [(row, size + row) for row in range(first)]
        numbers = np.arange(begin + first, begin + count) + 1  # of each further frame, from 1
        rows = np.flatnonzero(self._random.random(len(numbers)) < most / numbers) + first
        return chosen + list(zip(rows.tolist(), self._random.integers(most, size=len(rows)).tolist(), strict=True))

    def pattern(self, index: int) -> NDArray[np.float32] | None:
        """Return the amplitudes ``(N, N)`` of a frame, None where it is not in the sample; safe from any thread."""
        found = next((pattern for known, pattern, _ in list(self._held) if known == index), None)
        return None if found is None else np.asarray(to_host(at_middle([found])[0]), dtype=np.float32)

    def move(self, places: Mapping[int, Place]) -> None:
        """Take other positions of frames."""
        self._held = [(index, pattern, places.get(index, place)) for index, pattern, place in self._held]

    def chosen(self, places: Sequence[int]) -> tuple[list[PlacedPattern], list[int]]:
        """Return the frames at some places of the sample, and their indexes."""
        some = [self._held[place] for place in places]
        if not some:
            return [], []
        amplitude = at_middle([pattern for _, pattern, _ in some]).unbind(0)
        frames = [(a, place) for a, (_, _, place) in zip(amplitude, some, strict=True)]
        return frames, [index for index, _, _ in some]

    def some_places(self, most: int) -> list[int]:
        """Return places at random, each once."""
        chosen = self._random.choice(len(self), size=min(most, len(self)), replace=False)
        return [int(place) for place in chosen]

    def shuffled_places(self) -> list[int]:
        """Return all places in random order."""
        return [int(place) for place in self._random.permutation(len(self))]

    def spread(self, most: int) -> torch.Tensor:
        """Return patterns ``(n, N, N)`` evenly over the sample, so of the whole scan and not only of its start."""
        places = np.linspace(0, len(self) - 1, min(len(self), most)).astype(int)
        return at_middle([self._held[place][1] for place in places.tolist()])


def _some(amplitude: torch.Tensor, rows: list[int]) -> torch.Tensor:
    """Return some of the patterns ``(B, N, N)``."""
    if len(rows) == len(amplitude):
        return amplitude
    return amplitude[to_device(np.array(rows), amplitude.device)]
