"""Advice: the configuration keys that correct what a diagnosis has found."""

from __future__ import annotations

from daemon.config import Config
from ptychopinn.diagnosis.correction import TURNS, Correction, composed, turn_matrix
from ptychopinn.diagnosis.fit_test import Diagnosis


def advice(found: Diagnosis, config: Config, center_px: tuple[int, int] | None) -> list[str]:
    """Return the configuration changes, one clause each.

    ``center_px`` is the centre of the cut-out, in the oriented frame.
    """
    correction, words = found.correction, []
    if correction.pattern_turn != "identity":
        words.append(f'set [detector] orientation = "{composed(config.detector.orientation, correction.pattern_turn)}"')
    if correction.pattern_shift_px != (0, 0) and center_px is not None and correction.pattern_turn == "identity":
        row, column = (
            c - s * config.detector.binning for c, s in zip(center_px, correction.pattern_shift_px, strict=True)
        )
        words.append(f"set [detector] center_px = [{row}, {column}]")
    if correction.position_turn != "identity":
        words.append(_positions_words(config, correction))
    if correction.position_scale != 1.0:
        words.append(f"correct the pixel size by {1 / correction.position_scale:.3f} in [optics], or [positions] scale")
    if correction.is_conjugate or correction.counts_ratio != 1.0 or (found.is_probe_poor and correction.is_nothing):
        words.append("give the correct [optics] probe_file" + " or set retrieve_probe = true" * found.is_probe_poor)
    return words


def _positions_words(config: Config, correction: Correction) -> str:
    """Return how to turn positions: swap the axes at their source, then the signs."""
    flips = _negated(config, correction)
    named = ", ".join(f'"{axis}"' for axis in flips)
    swapped = "swap the axes of the positions at their source and " if TURNS[correction.position_turn][0] else ""
    return f"{swapped}set [positions] flips = [{named}]"


def _negated(config: Config, correction: Correction) -> list[str]:
    """Return the axes to flip, including those that the configuration flips already."""
    before = [-1.0 if axis in config.positions.flips else 1.0 for axis in "yx"]
    signs = (turn_matrix(correction.position_turn) * before).sum(axis=1)
    return [axis for axis, sign in zip("yx", signs.tolist(), strict=True) if sign < 0]
