"""A scan for training, in memory, independent of its file format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ptychopinn.errors import GeometryError, ProbeMismatchError
from ptychopinn.physics.diffraction import vacuum_counts
from ptychopinn.physics.probe_units import photon_factor


@dataclass(frozen=True, slots=True, eq=False)
class Experiment:
    """A scan whose arrays fit together.

    Parameters
    ----------
    amplitude : (n, N, N) float32
        sqrt(photons), zero frequency in the middle, -1 = no data.
    positions_px : (n, 2) float64
        [y, x] in the object's frame, whose pixel (0, 0) is at (0, 0); patch pixel N/2 is at the position.
    probe : (modes, N, N) complex64
    start_px : (n, 2) float64, optional
        Intended stage positions, if positions were corrected.
    object : (H, W) complex64, optional
        The truth.
    scan_index : (n,) int64, optional
        Frames of different scans are never grouped.
    label : (n, N, N) complex64, optional
        The truth under each frame, in place of that cut from ``object``.

    Raises
    ------
    GeometryError, ProbeMismatchError
        If shapes do not fit, or a position is not finite.
    """

    name: str
    amplitude: NDArray[np.float32]
    positions_px: NDArray[np.float64]
    probe: NDArray[np.complex64]
    start_px: NDArray[np.float64] | None = None
    object: NDArray[np.complex64] | None = None
    scan_index: NDArray[np.int64] | None = None
    label: NDArray[np.complex64] | None = None

    def __post_init__(self) -> None:
        frames, *sides = self.amplitude.shape
        if len(sides) != 2 or sides[0] != sides[1] or not frames:
            raise GeometryError(f"{self.name}: the frames are {self.amplitude.shape}; give (n, N, N), at least one")
        if self.probe.ndim != 3 or list(self.probe.shape[1:]) != sides:
            raise ProbeMismatchError(
                f"{self.name}: the probe is {self.probe.shape} but frames are {sides[0]} px; crop one to the other"
            )
        for what, points in (("positions", self.positions_px), ("start positions", self.start_px)):
            if points is not None and (points.shape != (frames, 2) or not np.isfinite(points).all()):
                raise GeometryError(f"{self.name}: the {what} are not {frames} finite pairs; give one for each frame")
        if self.scan_index is not None and self.scan_index.shape != (frames,):
            raise GeometryError(f"{self.name}: scan_index is {self.scan_index.shape}; give one number for each frame")
        if self.label is not None and self.label.shape != self.amplitude.shape:
            raise GeometryError(
                f"{self.name}: label is {self.label.shape} but frames are {self.amplitude.shape}; give one patch a frame"
            )

    def scans(self) -> Iterator[Experiment]:
        """Yield each of several scans, in the order of ``scan_index``."""
        count = 1 if self.scan_index is None else len(np.unique(self.scan_index))
        yield from map(self.of_scan, range(count))

    def of_scan(self, number: int) -> Experiment:
        """Return the frames of one of several scans, by its number from 0 in the order of ``scan_index``.

        Its name is that of the file with ``-scanNUMBER``.

        Raises
        ------
        GeometryError
            If there is no scan of that number.
        """
        index = np.zeros(1, np.int64) if self.scan_index is None else self.scan_index
        names = np.unique(index)
        if number >= len(names):
            raise GeometryError(
                f"{self.name}: there is no scan {number} of {len(names)} (from 0); set experiment_number"
            )
        if len(names) == 1:
            return self
        chosen = index == names[number]
        start = None if self.start_px is None else self.start_px[chosen]
        file = Path(self.name)
        return replace(
            self,
            name=f"{file.stem}-scan{number}{file.suffix}",
            amplitude=self.amplitude[chosen],
            positions_px=self.positions_px[chosen],
            start_px=start,
            scan_index=index[chosen],
            label=None if self.label is None else self.label[chosen],
        )

    def with_photon_probe(self) -> Experiment:
        """Return the scan with a probe in photon units.

        The probe is unchanged if its energy is of the order of the photons of the brightest frame; else it is scaled to
        them, since other programs store probes in arbitrary units.
        """
        probe, frames = torch.from_numpy(self.probe), torch.from_numpy(self.amplitude)
        if not (bool(probe.any()) and vacuum_counts(frames) > 0):
            raise ProbeMismatchError(f"{self.name}: the probe or the patterns hold no light; give others")
        factor = photon_factor(probe, frames)
        return self if factor == 1.0 else replace(self, probe=(self.probe * factor).astype(np.complex64))
