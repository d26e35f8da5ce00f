"""A fair sample of a scan's frames, for the R-factor, the plausibility and the diagnosis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

SAMPLE_FRAMES, SAMPLE_BYTES = 1024, 64 << 20
"""Frames and bytes of the sample at most: R of 1024 frames is known to a percent of itself."""
LEAST_FRAMES = 8
"""Frames of the sample, however large they are."""

PlacedPattern = tuple[torch.Tensor, tuple[float, float]]
"""Amplitudes ``(N, N)`` and position ``(y, x)``, object pixels."""


class FrameSample:
    """Every frame while there are few, later each with the same probability (reservoir sampling, fixed seed)."""

    def __init__(self) -> None:
        self.frames: list[PlacedPattern] = []
        self.indexes: list[int] = []
        self._seen = 0
        self._random = np.random.default_rng(0)

    def __len__(self) -> int:
        return len(self.frames)

    def add(self, index: int, amplitude: torch.Tensor, position_px: tuple[float, float]) -> None:
        """Take a frame, or not."""
        self._seen += 1
        most = max(LEAST_FRAMES, min(SAMPLE_FRAMES, SAMPLE_BYTES // amplitude.nbytes))
        if len(self.frames) < most:
            self.frames.append((amplitude.clone(), position_px))
            self.indexes.append(index)
        elif self._random.random() < most / self._seen:
            place = self._random.integers(most)
            self.frames[place], self.indexes[place] = (amplitude.clone(), position_px), index

    def chosen(self, places: Sequence[int]) -> tuple[list[PlacedPattern], list[int]]:
        """Return the frames at some places of the sample, and their indexes."""
        return [self.frames[place] for place in places], [self.indexes[place] for place in places]

    def some_places(self, most: int) -> list[int]:
        """Return places at random, each once."""
        chosen = self._random.choice(len(self.frames), size=min(most, len(self.frames)), replace=False)
        return [int(place) for place in chosen]

    def shuffled_places(self) -> list[int]:
        """Return all places in random order."""
        return [int(place) for place in self._random.permutation(len(self.frames))]

    def spread(self, most: int) -> torch.Tensor:
        """Return patterns ``(n, N, N)`` evenly over the sample, so of the whole scan and not only of its start."""
        places = np.linspace(0, len(self.frames) - 1, min(len(self.frames), most)).astype(int)
        return torch.stack([self.frames[place][0] for place in places.tolist()])
