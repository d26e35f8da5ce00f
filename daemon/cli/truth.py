"""A predicted picture beside the true object of its data file."""

from __future__ import annotations

from dataclasses import asdict
from typing import cast

import numpy as np
from numpy.typing import NDArray

from daemon.files import ScanFile
from daemon.messages.summaries import ComparisonSummary
from ptychopinn.diagnosis.comparison import Comparison, PlacedPicture, compare_pictures, known_pixels, well_covered
from ptychopinn.errors import GeometryError


def beside_truth(
    scan: ScanFile,
    picture: NDArray[np.complex64],
    weight: NDArray[np.float32],
    origin_px: tuple[int, int],
    pixel_size_m: float | None,
) -> Comparison | None:
    """Return how far a picture agrees with the object in the scan's file; None without one, or where it is even."""
    truth = scan.object
    if truth is None:
        return None
    known = well_covered(weight) & known_pixels(picture, weight)
    try:
        found = compare_pictures(
            PlacedPicture(picture, known, origin_px),
            PlacedPicture(truth, known_pixels(truth), scan.object_origin_px),
            pixel_size_m,
        )
    except GeometryError:  # they have too little in common
        return None
    is_even = found.phase_correlation is None and found.amplitude_correlation is None
    return None if is_even else found


def as_figures(found: Comparison | None) -> ComparisonSummary | None:
    """Return a comparison for JSON."""
    return None if found is None else cast(ComparisonSummary, asdict(found))


def truth_words(figures: ComparisonSummary | None) -> str:
    """Return a clause for the screen; empty without a truth."""
    if figures is None or figures["phase_correlation"] is None:
        return ""
    ssim = "" if figures["ssim"] is None else f", SSIM {figures['ssim']:.3f}"
    return f", correlation with the object in the file {figures['phase_correlation']:.3f}{ssim}"
