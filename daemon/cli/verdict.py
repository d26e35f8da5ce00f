"""The verdict on a picture: doubts from its data file and from its figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from daemon.files import ScanFile, Severity
from ptychopinn.diagnosis.figures import figures_of
from ptychopinn.diagnosis.plausibility import Doubt, PlainFinding, as_plain, doubts

DOUBT_OF_TOPIC = {"positions": Doubt.ONE_PLACE, "mask": Doubt.MASKED, "missing": Doubt.EMPTY, "patterns": Doubt.EMPTY}
"""Doubt of the figures that repeats a doubt of the reader, by the topic of the latter, which knows the cause."""


@dataclass(frozen=True, slots=True)
class PictureVerdict:
    """Doubts in the form for JSON: ``doubt``, ``sentence`` and ``is_nonsense`` of each, the worst first."""

    doubts: list[PlainFinding]

    @property
    def is_nonsense(self) -> bool:
        """Whether the picture cannot show the sample; the exit code is then 3."""
        return any(one["is_nonsense"] for one in self.doubts)

    @property
    def word(self) -> Literal["good", "doubtful", "nonsense"]:
        """The verdict in one word."""
        if self.is_nonsense:
            return "nonsense"
        return "doubtful" if self.doubts else "good"

    @property
    def line(self) -> str:
        """One line for the screen and the comments of the product; empty without doubts."""
        if not self.doubts:
            return ""
        sentences = "; ".join(one["sentence"] for one in self.doubts)
        return f"{'nonsense by its own figures' if self.is_nonsense else 'doubtful'}: {sentences}"


def verdict_on(
    scan: ScanFile,
    amplitude: torch.Tensor,
    positions_px: NDArray[np.float64],
    probe: NDArray[np.complex64],
    *,
    rfactor: float,
    picture: NDArray[np.complex64],
    weight: NDArray[np.float32],
    verb_doubts: Sequence[str] = (),
    misfit: str | None = None,
    is_refined: bool = True,
    passes: int | None = None,
) -> PictureVerdict:
    """Return the verdict on a picture.

    ``verb_doubts`` are sentences of the verb on the probe, ``misfit`` says what does not fit together; ``passes`` are sweeps
    from a guess.
    """
    of_file = [one for one in scan.doubts if one.severity is not Severity.NOTE]
    arrays = (torch.from_numpy(array) for array in (picture, weight))
    figures = figures_of(
        amplitude.cpu(), positions_px, torch.from_numpy(probe), rfactor, *arrays, is_refined=is_refined, passes=passes
    )
    already = {DOUBT_OF_TOPIC.get(one.topic) for one in of_file}
    found = [
        *(_plain(one.topic, one.text, one.is_fatal) for one in of_file),
        *(_plain("probe", sentence, is_nonsense=False) for sentence in verb_doubts),
        *([] if misfit is None else [_plain("misfit", misfit, is_nonsense=False)]),
        *as_plain([one for one in doubts(figures) if one.doubt not in already]),
    ]
    return PictureVerdict(sorted(found, key=lambda one: not one["is_nonsense"]))


def finite(value: float) -> float | None:
    """Return a number for JSON; ``None`` if it is not finite."""
    return value if math.isfinite(value) else None


def _plain(topic: str, sentence: str, is_nonsense: bool) -> PlainFinding:
    return {"doubt": topic, "sentence": sentence, "is_nonsense": is_nonsense}
