"""The detector in one scan: mask, saturation, flat field and crop, from configuration and header."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ptychopinn.detector.geometry import orient
from ptychopinn.detector.patterns import Crop, PatternMaker
from streams.frame import StreamGeometry

CONFLICT = 0.01
"""Relative difference of two saturation values that is reported: more than rounding in a header."""

CentreFrom = Literal["configuration", "probe", "spot", "middle"]


@dataclass(frozen=True, slots=True, eq=False)
class PreprocessOptions:
    """From the detector's frame to the pattern.

    Attributes
    ----------
    center_px
        Row and column of the beam in the oriented frame; ``None``: found in each scan's first frames.
    size_px, binning
        Side of the pattern; pixels of the detector along one of the pattern's.
    mask, flatfield
        ``(rows, columns)`` of the oriented frame, the mask also of the pattern. The mask is joined with the one in a
        stream's header, the flat field goes before it.
    saturation
        Greatest valid count; goes before the header's.
    probe_pattern
        ``(size_px, size_px)``, the counts that the probe gives without a sample; needed to find a centre.
    hold_bytes, hold_s
        When frames that wait for the centre take more memory, or none has come for this long, they wait no longer.
    """

    orientation: str
    center_px: tuple[int, int] | None
    size_px: int
    binning: int = 1
    mask: NDArray[np.bool_] | None = None
    flatfield: NDArray[np.floating[Any]] | None = None
    saturation: float | None = None
    probe_pattern: NDArray[np.floating[Any]] | None = None
    hold_bytes: int = 256 << 20
    hold_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """How the patterns of a scan are made; ``notes`` are troubles, in words.

    ``masked_pixels`` of the detector lie in the pattern and hold no data in any frame looked at so far.
    """

    scan_id: str
    center_px: tuple[int, int]
    center_from: CentreFrom
    notes: tuple[str, ...] = ()
    masked_pixels: int | None = None


class ScanDetector:
    """The detector of one scan, for frames ``(rows, columns)`` as they come; ``shape`` is that of the oriented frames."""

    def __init__(self, options: PreprocessOptions, geometry: StreamGeometry, frame_shape: tuple[int, int]) -> None:
        self._options = options
        turned = orient(np.empty(frame_shape, dtype=np.bool_), options.orientation).shape
        self.shape = (turned[0], turned[1])
        self.notes: list[str] = []
        self.masks: list[NDArray[np.bool_]] = []
        pattern = (options.size_px, options.size_px)
        self._pattern_mask = options.mask if options.mask is not None and options.mask.shape == pattern else None
        if self._pattern_mask is None or pattern == self.shape:
            self._pattern_mask = None
            self._add_mask(options.mask, "mask_file")
        self._add_mask(_turned(geometry.mask, options), "mask of the stream")
        self._saturation = self._chosen_saturation(geometry)
        self._flatfield = self._chosen_flatfield(geometry)

    def maker(self, center_px: tuple[int, int]) -> PatternMaker:
        """Return what makes patterns around a beam at ``(row, column)``."""
        options = self._options
        masks = self.masks if self._pattern_mask is None else [*self.masks, self._pattern_mask]
        return PatternMaker(
            self.shape,
            Crop(center_px, options.size_px, options.binning),
            options.orientation,
            masks=masks,
            saturation=self._saturation,
            flatfield=self._flatfield,
        )

    def prepared(self, scan_id: str, center_px: tuple[int, int], source: CentreFrom, match: float) -> Prepared:
        """Return what is to be said about a centre; ``match`` is how well the probe's pattern fits there."""
        (row, column), notes = center_px, list(self.notes)
        if source == "spot":
            notes.append(
                f"the probe's pattern is not recognised in the frames (match {match:.2f} of 1), so the beam is taken to "
                f"be in the middle of the bright spot, row {row}, column {column}; check the probe and [detector] "
                "orientation"
            )
        if source == "middle":
            notes.append(
                f"no beam was found in the frames, so their middle is taken for it, row {row}, column {column}; set "
                "[detector] center_px"
            )
        if self.maker(center_px).is_clipped:
            notes.append(
                f"the crop of {self._options.size_px * self._options.binning} px around row {row}, column {column} "
                f"leaves the frame of {_by(self.shape)}; what is outside counts as no data"
            )
        return Prepared(scan_id, center_px, source, tuple(notes))

    def _add_mask(self, mask: NDArray[np.bool_] | None, name: str) -> None:
        if mask is None:
            return
        if mask.shape == self.shape:
            self.masks.append(mask)
        else:
            self._unfit(name, mask.shape)

    def _chosen_saturation(self, geometry: StreamGeometry) -> float | None:
        ours, theirs = self._options.saturation, geometry.saturation
        if ours is not None and theirs is not None and abs(theirs / ours - 1) > CONFLICT:
            self.notes.append(
                f"the stream says that counts above {theirs:g} are saturated, [detector] saturation {ours:g}; the latter "
                "is used, correct what is wrong"
            )
        return theirs if ours is None else ours

    def _chosen_flatfield(self, geometry: StreamGeometry) -> NDArray[np.floating[Any]] | None:
        ours, theirs = self._options.flatfield, _turned(geometry.flatfield, self._options)
        if ours is not None and theirs is not None:
            self.notes.append("the stream brings a flat field of its own; [detector] flatfield_file is used")
        chosen = theirs if ours is None else ours
        if chosen is None or chosen.shape == self.shape:
            return chosen
        self._unfit("flat field", chosen.shape)
        return None

    def _unfit(self, name: str, shape: tuple[int, ...]) -> None:
        self.notes.append(f"the {name} of {_by(shape)} does not fit frames of {_by(self.shape)} and is not used")


def _turned(array: NDArray[Any] | None, options: PreprocessOptions) -> NDArray[Any] | None:
    return None if array is None else orient(array, options.orientation)


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) + " px"
