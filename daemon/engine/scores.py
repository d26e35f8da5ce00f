"""Scores of a scan's picture: R-factors of both layers, certainty, doubts."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from daemon.engine.result import product_rfactor
from daemon.engine.sample import FrameSample, PlacedPattern
from ptychopinn.diagnosis.figures import LOOKED_AT as FIGURE_FRAMES
from ptychopinn.diagnosis.figures import figures_of
from ptychopinn.diagnosis.plausibility import Figures, Finding, doubts
from ptychopinn.mosaic.mosaic import Mosaic
from ptychopinn.refine.certainty import Certainty
from ptychopinn.refine.refined_layer import Refiner
from ptychopinn.workflow.inference import rfactor_sums

SETTLED_FRAMES, URGENT_FRAMES = 16, 128
"""Frames of the sample in a slice of the last computation, and in all of it where other frames wait."""
ESTIMATE_FRAMES, ESTIMATE_SHARE = 8, 0.2
"""Frames of a running estimate, and its share in the running mean."""
WORSE = 2.0
"""R of the refined layer over that of the network layer, beyond which the product holds the network layer."""
CERTAINTY_PERIOD_S = 2.0
"""Time between two estimates of the certainty, which takes some 20 ms."""


class ScanScores:
    """Scores of one scan; used by the engine's thread alone."""

    def __init__(self, sample: FrameSample, probe: torch.Tensor, mosaic: Mosaic, refiner: Refiner | None) -> None:
        self._sample = sample
        self._probe = probe
        self._mosaic = mosaic
        self._refiner = refiner
        self._to_settle: list[int] = []
        self._sums: dict[str, tuple[float, float]] = {}
        self._next_certainty = 0.0
        self.rfactors: dict[str, float] = {}
        self.certainty: Certainty | None = None
        self.doubts: tuple[Finding, ...] = ()

    def use_refined(self, refiner: Refiner) -> None:
        """Score a refined layer that was begun again."""
        self.drop_refined()
        self._refiner = refiner

    def drop_refined(self) -> None:
        """Score the network layer alone."""
        self._refiner = self.certainty = None
        self.rfactors.pop("refined", None)

    def estimate(self) -> None:
        """Bring the running estimates up to date, cheaply."""
        if self._refiner is not None and self._refiner.rfactor is not None:
            self.rfactors["refined"] = self._refiner.rfactor
            now = time.monotonic()
            if now >= self._next_certainty:
                self.certainty = self._refiner.certainty()
                self._next_certainty = now + CERTAINTY_PERIOD_S
        if len(self._sample):
            frames, indexes = self._sample.chosen(self._sample.some_places(ESTIMATE_FRAMES))
            misfit, total = self._rfactor_sums(self._mosaic, frames, indexes)
            fresh = misfit / total if total > 0 else math.nan
            if math.isfinite(fresh):
                before = self.rfactors.get("network", fresh)
                self.rfactors["network"] = (1 - ESTIMATE_SHARE) * before + ESTIMATE_SHARE * fresh

    @property
    def is_settling(self) -> bool:
        """Whether :meth:`settle_some` has begun."""
        return bool(self._to_settle)

    def settle_some(self, *, is_urgent: bool = False) -> bool:
        """Compute a slice of both R-factors over the sample; return whether it was the last.

        Between slices the layers must not change. ``is_urgent``: a part of the sample must do, since frames of other scans wait.
        """
        if not self.is_settling:
            self._begin_settling()
        if is_urgent:
            self._to_settle = self._to_settle[:URGENT_FRAMES]
        part, self._to_settle = self._to_settle[:SETTLED_FRAMES], self._to_settle[SETTLED_FRAMES:]
        self._add_sums(*self._sample.chosen(part))
        if self._to_settle:
            return False
        found = {layer: misfit / total for layer, (misfit, total) in self._sums.items() if total > 0}
        self.rfactors |= {layer: rfactor for layer, rfactor in found.items() if math.isfinite(rfactor)}
        self._sums = {}
        if self._refiner is not None:
            self.certainty = self._refiner.certainty()
        return True

    def judge(self, positions_px: NDArray[np.float64], setbacks: int) -> None:
        """Find what is doubtful: from both R-factors, the positions ``(n, 2)`` of all stitched frames, and how often the
        refinement diverged.
        """
        self.doubts = tuple(doubts(replace(self._figures(positions_px), setbacks=setbacks)))

    @property
    def is_refined_worse(self) -> bool:
        """Whether the refined layer fits the frames much worse than the network layer: it has diverged."""
        refined, network = self.rfactors.get("refined"), self.rfactors.get("network")
        return refined is not None and network is not None and refined > WORSE * network

    def _begin_settling(self) -> None:
        if self._refiner is not None:
            self._refiner.admit_all()
        self._to_settle = self._sample.shuffled_places()

    def _add_sums(self, frames: list[PlacedPattern], indexes: list[int]) -> None:
        sources: dict[str, Mosaic | Refiner] = {"network": self._mosaic}
        if self._refiner is not None:
            sources["refined"] = self._refiner
        for layer, source in sources.items():
            placed = self._corrected(frames, indexes) if layer == "refined" else frames
            before, parts = self._sums.get(layer, (0.0, 0.0)), self._rfactor_sums(source, placed, indexes)
            self._sums[layer] = before[0] + parts[0], before[1] + parts[1]

    def _figures(self, positions_px: NDArray[np.float64]) -> Figures:
        """Return the figures of the picture as it is."""
        if not len(self._sample):
            return Figures(frames=0)
        picture, weight = (self._refiner or self._mosaic).read()
        rfactor, is_refined = product_rfactor(self.rfactors), "refined" in self.rfactors
        sample = self._sample.spread(FIGURE_FRAMES)
        return figures_of(sample, positions_px, self._probe, rfactor, picture, weight=weight, is_refined=is_refined)

    def _corrected(self, frames: list[PlacedPattern], indexes: Sequence[int]) -> list[PlacedPattern]:
        """Return frames with the positions and the light that the refined layer gives them."""
        refiner = self._refiner
        if refiner is None:
            return frames
        if refiner.has_light:
            frames = [(a / refiner.light(i), where) for (a, where), i in zip(frames, indexes, strict=True)]
        if not refiner.corrects:
            return frames
        moves = refiner.offsets_px(indexes).tolist()
        return [(a, (y + dy, x + dx)) for (a, (y, x)), (dy, dx) in zip(frames, moves, strict=True)]

    def _rfactor_sums(
        self, source: Mosaic | Refiner, frames: Sequence[PlacedPattern], indexes: Sequence[int]
    ) -> tuple[float, float]:
        probe = source.probe if isinstance(source, Refiner) else self._probe
        return rfactor_sums(probe, source, [a for a, _ in frames], [where for _, where in frames], indexes)
