"""Pixels without data in one form for every file: those bad in all frames in the mask, the others marked in the counts.

The mark depends on the number type: the greatest value of unsigned integers, -1 of signed ones, NaN of floats.
:mod:`ptychopinn.detector.invalid_pixels` finds the pixels.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daemon.files.doubts import Doubt, note, wrong
from daemon.files.lost_frames import lit_frames
from daemon.files.scan import ScanFile
from ptychopinn.contract.no_data import in_any_frame, mark
from ptychopinn.detector.invalid_pixels import find_invalid, holds_mark, mask_doubt, some_frames

FEW = 3
"""Up to this many pixels are listed one by one."""


def with_one_form(scan: ScanFile) -> ScanFile:
    """Return ``scan`` with its pixels without data in the one form, and with remarks on them.

    Marks can hide that a frame holds no photons, so frames are checked for that again after marking.
    """
    looked_at = scan.counts[some_frames(len(scan.counts))]
    found = find_invalid(looked_at, scan.mask, _vacuum(scan))
    lost = replace(found, bad=np.zeros_like(found.bad)).of(scan.counts)
    always: NDArray[np.bool_] = found.bad | np.asarray(lost.all(axis=0), dtype=bool)
    mask: NDArray[np.bool_] = always if scan.mask is None else np.logical_or(always, scan.mask)
    said: list[Doubt] = [note("pixels", sentence) for sentence in (*found.notes, *_shares(scan, lost))]
    light = np.where(holds_mark(looked_at), 0, looked_at).sum(axis=0, dtype=np.float64)
    if scan.mask is not None and (inverted := mask_doubt(scan.mask, light)):
        said.append(wrong("mask", inverted))
    scan = replace(scan, mask=mask if mask.any() else scan.mask, doubts=(*scan.doubts, *said))
    if not lost.any():
        return scan
    return lit_frames(replace(scan, counts=marked(scan.counts, lost, mask)))


def marked(counts: NDArray[Any], lost: NDArray[np.bool_], mask: NDArray[np.bool_]) -> NDArray[Any]:
    """Return counts ``(n, H, W)`` with the mark at lost pixels, and 0 at pixels that are masked in all frames."""
    out = counts.copy()
    out[lost & ~mask] = mark(counts.dtype)
    out[lost & mask] = 0
    return out


def with_frame_mask(counts: NDArray[Any], bad: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return counts and one mask ``(H, W)``; a mask for each frame is turned into marks where it differs between frames."""
    if bad.ndim <= 2:
        return counts, bad
    each = bad.reshape(-1, *bad.shape[-2:])
    if each.shape != counts.shape or len(each) == 1:
        return counts, in_any_frame(each)
    always = np.asarray(each.all(axis=0), dtype=bool)
    some = each & ~always
    return marked(counts, some, always) if some.any() else counts, always


def lost_pixels(scan: ScanFile) -> NDArray[np.bool_] | None:
    """Return the lost counts ``(n, H, W)`` of a completed scan outside its mask, ``None`` if there are none."""
    lost = holds_mark(scan.counts)
    if scan.mask is not None:
        lost &= ~scan.mask
    return lost if lost.any() else None


def _shares(scan: ScanFile, lost: NDArray[np.bool_]) -> list[str]:
    """Return sentences with the numbers of pixels lost in all frames, if more than a few, and in some frames."""
    known = np.zeros(lost.shape[1:], dtype=bool) if scan.mask is None else scan.mask
    always = int((lost.all(axis=0) & ~known).sum())
    some = lost & ~known & ~lost.all(axis=0)
    said = []
    if always > FEW:
        said.append(
            f"{always:,} of {known.size:,} pixels have no data in any frame: detector gaps or saturated counters"
        )
    if some.any():
        said.append(f"{int(some.sum()):,} counts in {int(some.any(axis=(1, 2)).sum()):,} frames have no data")
    return said


def _vacuum(scan: ScanFile) -> NDArray[np.float64] | None:
    """Return the pattern of the probe without a sample, if the scan has a probe of the patterns' size."""
    probe = scan.probe
    if probe is None or probe.shape[1:] != scan.counts.shape[1:]:
        return None
    far = np.abs(np.fft.fft2(probe)).astype(np.float64)
    pattern: NDArray[np.float64] = np.fft.fftshift(np.square(far), axes=(1, 2)).sum(axis=0)
    return pattern
