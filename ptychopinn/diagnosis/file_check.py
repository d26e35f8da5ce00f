"""Misfits of patterns, positions and probe in a whole scan, for ``predict`` and ``refine``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.diagnosis.fit_test import LEAST_FRAMES, diagnose, lit_frames, lit_radius_px
from ptychopinn.physics.scan_check import believable_frames


def misfit_sentence(
    amplitude: Tensor, positions_px: NDArray[np.float64], probe: Tensor, *, is_guess: bool = False
) -> str | None:
    """Return what is wrong with some overlapping frames of a scan, in one sentence; None where nothing is found.

    Parameters
    ----------
    amplitude : (n, N, N) float32
        sqrt(counts), zero frequency in the middle, -1 = no data.
    positions_px : (n, 2) float64
    probe : (modes, N, N) complex64
    is_guess
        Whether the probe is refined anyway, so that it need not fit.
    """
    known = np.intersect1d(believable_frames(amplitude), np.flatnonzero(np.isfinite(positions_px).all(axis=1)))
    amplitude, positions_px = amplitude[known.tolist()], positions_px[known]
    frames = len(lit_frames(amplitude))
    if frames < LEAST_FRAMES:
        return None
    found = diagnose(amplitude, positions_px, probe, is_quick=True)
    if found is None:
        return (
            f"fewer than {LEAST_FRAMES} of {frames} frames overlap within the light of the probe, {lit_radius_px(probe):.1f} px "
            "around its middle: check probe, step and unit of the positions"
        )
    return None if found.is_probe_poor and is_guess else found.sentence
