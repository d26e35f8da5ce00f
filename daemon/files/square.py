"""Makes rectangular patterns square around the beam, as the far field requires; added pixels have no data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daemon.files.doubts import note
from daemon.files.scan import ScanFile
from ptychopinn.detector.invalid_pixels import holds_mark, some_frames

MOST_OFF_CENTRE = 1 / 8
"""Distance of the beam from the middle, as a share of the side, up to which the middle is used, as for square patterns."""


def squared(scan: ScanFile) -> ScanFile:
    """Return a scan with square patterns: with the side of its probe if that fits, else with the shorter side."""
    rows, columns = scan.counts.shape[1:]
    if rows == columns:
        return scan
    side = _side_px(scan)
    centres = _beam(scan)
    low = tuple(centre - side // 2 for centre in centres)
    mask = np.zeros((rows, columns), dtype=bool) if scan.mask is None else scan.mask
    mask = _cut(mask[None], low, side, fill=True)[0]
    added = int((_cut(np.zeros((1, rows, columns), dtype=bool), low, side, fill=True)).sum())
    padding = f"; {added:,} pixels beyond the detector have no data" if added else ""
    said = (
        f"the patterns of {rows} x {columns} px were made {side} x {side} px around the beam at row {centres[0]}, "
        f"column {centres[1]}{padding}"
    )
    return replace(
        scan,
        counts=_cut(scan.counts, low, side, fill=0),
        mask=mask if mask.any() else None,
        doubts=(*scan.doubts, note("shapes", said)),
    )


def _side_px(scan: ScanFile) -> int:
    short, long = sorted(scan.counts.shape[1:])
    own = 0 if scan.probe is None else scan.probe.shape[-1]
    return own if short <= own <= long else short


def _beam(scan: ScanFile) -> tuple[int, int]:
    """Return the beam's pixel [row, column]: the middle, or the centroid of the counts if that is far from the middle."""
    some = scan.counts[some_frames(len(scan.counts))]
    light = np.where(holds_mark(some), 0, some).astype(np.float64).mean(axis=0)
    if scan.mask is not None:
        light[scan.mask] = 0.0
    found = []
    for axis, length in enumerate(light.shape):
        profile = light.sum(axis=1 - axis)
        centroid = float((profile * np.arange(length)).sum()) / max(float(profile.sum()), 1e-12)
        is_off = light.any() and abs(centroid - length // 2) > MOST_OFF_CENTRE * min(light.shape)
        found.append(round(centroid) if is_off else length // 2)
    return found[0], found[1]


def _cut(images: NDArray[Any], low: tuple[int, ...], side: int, fill: Any) -> NDArray[Any]:
    """Return a square of images ``(n, H, W)`` that begins at ``low`` [row, column], with ``fill`` beyond their edges."""
    here, there = [], []
    for begin, length in zip(low, images.shape[1:], strict=True):
        first, last = max(begin, 0), min(begin + side, length)
        here.append(slice(first, last))
        there.append(slice(first - begin, last - begin))
    if all(part.stop - part.start == side for part in here):
        return images[:, here[0], here[1]]
    out = np.full((len(images), side, side), fill, dtype=images.dtype)
    out[:, there[0], there[1]] = images[:, here[0], here[1]]
    return out
