"""The second stage: frames that fit nowhere near are tried everywhere within reach, by their misfit itself."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ptychopinn.physics.diffraction import intensity
from ptychopinn.positions.canvas import Places
from ptychopinn.positions.scan import misfits, project
from ptychopinn.positions.search import CHUNK_FRAMES, Search

FAR_OFF = 2.5
"""Robust standard deviations of R above the median from which a frame is tried elsewhere; it moves only where it fits better."""
MOST_WILD = 0.25
"""Share of the frames; where more are wild the picture is not to be trusted."""
COARSE_PX = 2
BETTER = 0.97


def replace_wild(search: Search, reach_px: int) -> int:
    """Lay wild frames where they fit best within ``reach_px`` of where they were told to be; return how many moved."""
    rfactors = _rfactors(search)
    middle = float(np.median(rfactors))
    spread = 1.48 * float(np.median(np.abs(rfactors - middle)))
    wild = np.flatnonzero(rfactors > middle + FAR_OFF * max(spread, 0.01 * middle))
    if not len(wild) or len(wild) > MOST_WILD * len(rfactors):
        return 0
    picture = search.others_of(wild)
    moved = 0
    for row in wild.tolist():
        place, rfactor = search.frames.told_px[row], np.inf
        for step, reach in ((COARSE_PX, reach_px), (1, COARSE_PX)):
            place, rfactor = _best(search, picture, row, _grid(place, step, reach))
        if rfactor < BETTER * rfactors[row]:
            search.positions_px[row] = place
            moved += 1
    return moved


def _rfactors(search: Search) -> NDArray[np.float64]:
    corners = search.canvas.corners(search.positions_px, search.reach_px)
    found = []
    for begin in range(0, len(search.frames), CHUNK_FRAMES):
        part = slice(begin, begin + CHUNK_FRAMES)
        amplitude = search.frames.amplitude[part]
        magnitude = project(search.probe * search.canvas.cut(search.picture, corners[part]), amplitude)[1]
        found.append(misfits(magnitude, amplitude))
    return torch.cat(found).double().cpu().numpy()


def _grid(middle_px: NDArray[np.float64], step: int, reach: int) -> Places:
    along = np.arange(-reach, reach + 1, step)
    offsets = np.stack(np.meshgrid(along, along, indexing="ij"), axis=-1).reshape(-1, 2)
    return np.rint(middle_px) + offsets


def _best(search: Search, picture: torch.Tensor, row: int, places: Places) -> tuple[Places, float]:
    """Return the place at which a frame fits best, and its R-factor there."""
    corners = search.canvas.corners(places)
    amplitude = search.frames.amplitude[row]
    found = []
    for begin in range(0, len(corners), CHUNK_FRAMES):
        patches = search.canvas.cut(picture, corners[begin : begin + CHUNK_FRAMES])
        magnitude = intensity(torch.fft.fft2(search.probe * patches, norm="ortho")).sqrt()
        found.append(misfits(magnitude, amplitude.expand_as(magnitude)))
    rfactors = torch.cat(found)
    best = int(rfactors.argmin())
    return search.canvas.places(corners[best]), float(rfactors[best])
