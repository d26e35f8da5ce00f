"""Plausibility checks of a reconstruction: findings with one sentence each.

``predict``, ``refine`` and the daemon end each scan with one line (:func:`summary`) of the findings of :func:`doubts`; records
and ``--json`` contain them as :func:`as_plain`. A finding is **nonsense** if the picture cannot show any sample; the verbs then
end with exit code 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypedDict

NOISE_FACTOR = 1.8
"""Allowed ratio of R to the R of photon noise: after a few sweeps over few counts it is up to 1.65."""
REFINED_RFACTOR, MODEL_RFACTOR = 0.14, 0.3
"""R without any noise, beside which noise adds in squares: of refined pictures of real scans 0.11, with positions 8 px off
0.16; of a model's first look at a phase of 2 rad 0.30. Both are calibrated in ``how-to/diagnosis.md``."""
NONSENSE_RFACTOR = 0.5
"""R above that of the noise by this much is no better than for a picture without content."""
ENOUGH_PASSES = 10
"""Sweeps from a guessed probe before R is judged: ten find the probe of the measured Siemens star from a guess of R 0.43."""
ONE_PLACE_PX = 1.0
"""Extent of the positions, px, below which all frames lie on one place."""
MOST_MASKED, NONSENSE_MASKED = 0.5, 0.98
"""Share of pixels without data from which a scan is doubtful, and from which it is nonsense."""
MOST_EMPTY, NONSENSE_EMPTY = 0.2, 0.95
"""Share of frames without counts from which a scan is doubtful, and from which it is nonsense."""
COUNTS_RANGE, NONSENSE_COUNTS = 3.0, 1000.0
"""Ratio of the counts of the brighter frames to those of the probe, or its inverse, from which the probe is doubtful, and from
which it is nonsense."""
RAMP_LIMIT = math.pi / 4
"""Phase per pixel, rad: patterns are off centre by an eighth of their width. From pi on it would wrap."""
SUMMARY_BEGINNINGS = ("doubtful:", "nonsense by its own figures:")


class Doubt(StrEnum):
    """Kinds of findings."""

    NOT_FINITE = "not_finite"
    RFACTOR = "rfactor"
    ONE_PLACE = "one_place"
    MASKED = "masked"
    EMPTY = "empty"
    PROBE_ENERGY = "probe_energy"
    RAMP = "ramp"
    DIVERGED = "diverged"


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of a reconstruction; None if unknown.

    Attributes
    ----------
    frames
        In the picture.
    rfactor, noise_rfactor
        R-factor of the picture, and what photon noise alone would give.
    is_refined
        Whether the picture is refined, not as a model made it.
    extent_px
        The longer side of the rectangle around all positions, pixels of the object.
    masked_share, empty_share
        Share of the pattern's pixels without data, and of the frames without a single count, 0 to 1.
    counts_ratio
        Counts of the brighter frames over those of the probe without a sample.
    ramp_rad_px
        Phase ramp over the picture, rad a pixel, the greater of both axes.
    setbacks
        How often the refinement diverged and was begun again.
    passes
        Sweeps over all frames that an iteration from a guess has made; None for a picture that needs none.
    """

    frames: int
    rfactor: float | None = None
    noise_rfactor: float | None = None
    extent_px: float | None = None
    masked_share: float | None = None
    empty_share: float | None = None
    counts_ratio: float | None = None
    ramp_rad_px: float | None = None
    is_refined: bool = True
    setbacks: int = 0
    passes: int | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding; its sentence begins with a small letter and has no full stop."""

    doubt: Doubt
    sentence: str
    is_nonsense: bool


class PlainFinding(TypedDict):
    """A :class:`Finding` as plain data."""

    doubt: str
    sentence: str
    is_nonsense: bool


def doubts(figures: Figures) -> list[Finding]:
    """Return the findings, nonsense first; empty if there is no frame."""
    if figures.frames == 0:
        return []
    checks = (_rfactor, _one_place, _masked, _empty, _probe_energy, _ramp, _diverged)
    found = [finding for check in checks if (finding := check(figures)) is not None]
    return sorted(found, key=lambda finding: not finding.is_nonsense)


def is_nonsense(findings: Sequence[Finding]) -> bool:
    """Return whether the picture cannot show the sample."""
    return any(finding.is_nonsense for finding in findings)


def summary(findings: Sequence[Finding]) -> str | None:
    """Return one line for the screen; None if there are no findings."""
    if not findings:
        return None
    return f"{SUMMARY_BEGINNINGS[is_nonsense(findings)]} {'; '.join(finding.sentence for finding in findings)}"


def as_plain(findings: Sequence[Finding]) -> list[PlainFinding]:
    """Return the findings for JSON."""
    return [{"doubt": str(f.doubt), "sentence": f.sentence, "is_nonsense": f.is_nonsense} for f in findings]


def _rfactor(figures: Figures) -> Finding | None:
    rfactor, noise = figures.rfactor, figures.noise_rfactor or 0.0
    if rfactor is None:
        return None
    if not math.isfinite(rfactor):
        return Finding(Doubt.NOT_FINITE, "the R-factor is not a number, so the picture cannot be compared", True)
    allowed = math.hypot(NOISE_FACTOR * noise, REFINED_RFACTOR if figures.is_refined else MODEL_RFACTOR)
    if rfactor <= allowed:
        return None
    if figures.passes is not None and figures.passes < ENOUGH_PASSES:
        sweeps = "1 sweep" if figures.passes == 1 else f"{figures.passes} sweeps"
        said = f"R is {rfactor:.2f} after {sweeps}, above the expected {allowed:.2f}: more sweeps are needed"
        return Finding(Doubt.RFACTOR, said, False)
    return Finding(
        Doubt.RFACTOR,
        f"R is {rfactor:.2f}, above the expected {allowed:.2f} (photon noise alone gives {noise:.2f}): "
        "check probe, positions, energy, distance and orientation",
        rfactor > NONSENSE_RFACTOR + noise,
    )


def _one_place(figures: Figures) -> Finding | None:
    if figures.extent_px is None or figures.frames < 2 or figures.extent_px >= ONE_PLACE_PX:
        return None
    return Finding(
        Doubt.ONE_PLACE,
        f"all {figures.frames} frames lie within {figures.extent_px:.2g} pixels of one place: check the unit and scale of the "
        "positions, the energy and the distance",
        True,
    )


def _masked(figures: Figures) -> Finding | None:
    share = figures.masked_share
    if share is None or share < MOST_MASKED:
        return None
    return Finding(
        Doubt.MASKED,
        f"{share:.1%} of the pixels hold no data: check that the mask is not inverted, and the saturation",
        share > NONSENSE_MASKED,
    )


def _empty(figures: Figures) -> Finding | None:
    share = figures.empty_share
    if share is None or share <= MOST_EMPTY:
        return None
    return Finding(
        Doubt.EMPTY, f"{share:.0%} of the frames hold no count: check shutter, beam and mask", share > NONSENSE_EMPTY
    )


def _probe_energy(figures: Figures) -> Finding | None:
    ratio = figures.counts_ratio
    if ratio is None or 1 / COUNTS_RANGE <= ratio <= COUNTS_RANGE:
        return None
    if not 1 / NONSENSE_COUNTS <= ratio <= NONSENSE_COUNTS:
        said = (
            f"the probe does not fit the frames at all, its photons are over {NONSENSE_COUNTS:.0f} times too "
            f"{'few' if ratio > 1 else 'many'}: give the probe of this beam, in photons"
        )
        return Finding(Doubt.PROBE_ENERGY, said, True)
    return Finding(
        Doubt.PROBE_ENERGY,
        f"the brighter frames hold {ratio:.2g} times the counts of the probe: check that the probe is of this beam, in photons",
        False,
    )


def _ramp(figures: Figures) -> Finding | None:
    ramp = figures.ramp_rad_px
    if ramp is None or ramp <= RAMP_LIMIT:
        return None
    return Finding(
        Doubt.RAMP,
        f"the phase rises by {ramp:.2f} rad a pixel all over the picture: the patterns are off centre, check center_px",
        False,
    )


def _diverged(figures: Figures) -> Finding | None:
    if not figures.setbacks:
        return None
    times = "once" if figures.setbacks == 1 else f"{figures.setbacks} times"
    return Finding(
        Doubt.DIVERGED,
        f"the refinement diverged {times} and was begun again with the first probe: check probe, positions and geometry",
        False,
    )
