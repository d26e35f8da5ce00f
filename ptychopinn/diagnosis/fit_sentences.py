"""Sentences about a scan whose data do not fit together, from the correction that makes them fit."""

from __future__ import annotations

from collections.abc import Sequence

from ptychopinn.diagnosis.correction import Correction

LEAST_SHIFT_PX = 2
"""A pattern that lies nearer to its place is not mentioned: the shift is found to a pixel."""
POSITION_WORDS = {
    "fliplr": "the x positions look negated",
    "flipud": "the y positions look negated",
    "rot180": "both position axes look negated",
    "transpose": "the position axes look swapped",
    "antitranspose": "the position axes look swapped and both negated",
    "rot90_cw": "the position axes look swapped and x negated",
    "rot90_ccw": "the position axes look swapped and y negated",
}
PATTERN_WORDS = {
    "fliplr": "patterns look mirrored left to right",
    "flipud": "patterns look mirrored top to bottom",
    "rot180": "patterns look turned by 180 degrees",
    "transpose": "patterns look transposed",
    "antitranspose": "patterns look mirrored at the other diagonal (antitransposed)",
    "rot90_cw": "patterns look turned counter-clockwise by 90 degrees",
    "rot90_ccw": "patterns look turned clockwise by 90 degrees",
}


def is_turned(correction: Correction) -> bool:
    """Whether a correction turns patterns or positions, or conjugates the probe."""
    return correction.is_conjugate or (correction.pattern_turn, correction.position_turn) != ("identity", "identity")


def sentences(best: Correction, equals: Sequence[Correction]) -> list[str]:
    """Return what a correction undoes, one clause each."""
    words = []
    down, right = (-s for s in best.pattern_shift_px)
    if max(abs(down), abs(right)) < LEAST_SHIFT_PX:
        down = right = 0
    sides = [f"{abs(down)} px too {'low' if down > 0 else 'high'}"] * bool(down)
    sides += [f"{abs(right)} px too far {'right' if right > 0 else 'left'}"] * bool(right)
    words += [f"patterns lie {' and '.join(sides)}"] * bool(sides)
    turns = [_turn_words(each) for each in (best, *equals)] if is_turned(best) else []
    words += [", or ".join(turns)] * bool(turns)
    if best.position_scale != 1.0:
        apart = "far apart" if best.position_scale < 1 else "close together"
        words.append(
            f"positions look {abs(1 / best.position_scale - 1):.1%} too {apart} (pixel size, photon energy or distance)"
        )
    if best.counts_ratio != 1.0:
        words.append(f"the brightest frame holds {best.counts_ratio:.2g} times the photons of the probe")
    return words


def _turn_words(correction: Correction) -> str:
    words = [PATTERN_WORDS.get(correction.pattern_turn, ""), POSITION_WORDS.get(correction.position_turn, "")]
    words.append("the probe looks conjugated" if correction.is_conjugate else "")
    return " and ".join(word for word in words if word)


def fall_words(before: float, after: float) -> str:
    """Return how R falls, in words."""
    return f"from {before:.3f} to {after:.3f}"
