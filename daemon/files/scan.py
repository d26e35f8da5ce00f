"""A scan as read from a file.

Whatever the file, ``counts`` have the zero frequency in the middle, and a position is the place ``(y, x)`` of patch pixel N/2.
A reader fills in what its file states; :func:`daemon.files.completion.completed` checks it and derives the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daemon.files.doubts import Doubt


@dataclass(frozen=True, slots=True, eq=False)
class ScanFile:
    """The contents of a scan's file.

    ``counts`` ``(n, H, W)`` in the file's integer or float dtype, photons, with the mark of :mod:`daemon.files.no_data`
    where one frame has no data; ``indexes`` ``(n,)`` frame indexes;
    ``positions_m`` and ``positions_px`` ``(n, 2)`` [y, x], both where the object pixel is known, one or neither where
    it is not; ``object_pixel_size_m`` as stated, or derived from optics and square frames; ``probe``
    ``(modes, N, N)``; ``mask`` ``(H, W)``, True = bad; ``object`` a truth or guess ``(H, W)`` whose pixel (0, 0) lies at
    ``object_origin_px`` [y, x]. ``notes`` are sentences about assumptions; ``doubts`` are findings that a person
    should check or that make the file invalid, by severity. ``absent`` ``(n,)``, True = a frame that the file should hold and
    does not, is used only between a reader and :func:`daemon.files.completion.completed`.
    """

    name: str
    counts: NDArray[Any]
    indexes: NDArray[np.int64]
    positions_m: NDArray[np.float64] | None = None
    positions_px: NDArray[np.float64] | None = None
    photon_energy_eV: float | None = None  # noqa: N815
    detector_distance_m: float | None = None
    detector_pixel_size_m: float | None = None
    object_pixel_size_m: float | None = None
    probe: NDArray[np.complex64] | None = None
    mask: NDArray[np.bool_] | None = None
    object: NDArray[np.complex64] | None = None
    object_origin_px: tuple[float, float] = (0.0, 0.0)
    notes: tuple[str, ...] = ()
    doubts: tuple[Doubt, ...] = ()
    absent: NDArray[np.bool_] | None = None

    @property
    def remarks(self) -> tuple[str, ...]:
        """Every sentence about the file: doubts first, then notes."""
        return (*(one.text for one in self.doubts), *self.notes)
