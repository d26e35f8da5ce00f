"""Each frame's patch of the object, retrieved from its pattern alone, without its position.

The known probe holds the phases: relaxed averaged alternating reflections between the measured amplitudes and waves that
the probe makes through an object that transmits. At 1e5 photons a frame, patches correlate 0.8 with the truth, means left out.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ptychopinn.positions.scan import TINY, Frames, project

ROUNDS, LAST_ROUNDS = 40, 8
"""Rounds in all, and those at the end that only project."""
RELAX = 0.9
FAINT, HELD_PHOTONS = 0.01, 5.0
"""Share of the probe's greatest intensity, and least photons a pixel, that hold the object to 1. At 1e4 photons
a frame, a fifth of the neighbours are registered rightly with 0.5 photons, and four fifths with 5."""
CHUNK_FRAMES = 32


def patches_alone(frames: Frames) -> Tensor:
    """Return the patches ``(n, N, N)`` that frames show alone."""
    parts = range(0, len(frames), CHUNK_FRAMES)
    return torch.cat([_retrieved(frames.probe, frames.amplitude[begin : begin + CHUNK_FRAMES]) for begin in parts])


def _retrieved(probe: Tensor, amplitude: Tensor) -> Tensor:
    waves = project(probe.expand_as(amplitude), amplitude)[0]
    for number in range(ROUNDS):
        exits = probe * _transmitting(_object(probe, waves))
        if number < ROUNDS - LAST_ROUNDS:
            waves = waves + RELAX * (project(2 * exits - waves, amplitude)[0] - exits)
        else:
            waves = project(exits, amplitude)[0]
    return _object(probe, waves)


def _object(probe: Tensor, waves: Tensor) -> Tensor:
    intensity = probe.abs().square()
    held = (FAINT * intensity.max()).clamp_min(HELD_PHOTONS)
    return (probe.conj() * waves + held) / (intensity + held)


def _transmitting(patches: Tensor) -> Tensor:
    size = patches.abs()
    return torch.where(size > 1, patches / size.clamp_min(TINY), patches)
