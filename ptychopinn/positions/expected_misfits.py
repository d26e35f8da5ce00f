"""The misfit that each frame leaves where positions are right, from patterns that the found picture would give.

A picture at found positions is taken for the truth: its patterns are drawn with photon noise, and a quick picture is made of
them. Their positions are right by construction, so their misfits show what photons, sample, probe and overlap leave. Where
found positions are right, the measured frames leave the same, but for a factor that all have in common. Where blocks of frames
lie wrong, the frames at their edges leave more.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.physics.diffraction import intensity
from ptychopinn.positions.canvas import SearchCanvas
from ptychopinn.positions.fitting import RIM_PX, Estimate, Fit, ramps
from ptychopinn.positions.scan import Frames

PROOF_PASSES = 6
"""Passes of a quick picture."""
CHUNK_FRAMES = 32
LEAST_SQUARE = 1e-12


def misfit_ratios(frames: Frames, found: Estimate) -> NDArray[np.float64]:
    """Return each frame's square misfit in a quick picture, over the one expected at right positions ``(n,)``."""
    magnitude = _magnitudes(found, frames.size_px)
    drawn = torch.poisson(magnitude.square(), generator=_generator(magnitude.device)).sqrt()
    stand_in = Frames(torch.where(frames.amplitude < 0, -1.0, drawn), frames.told_px, found.probe)
    fit = Fit(stand_in, found.positions_px)
    for _ in range(PROOF_PASSES):
        fit.run()
    expected = _squares(_magnitudes(fit.estimate, frames.size_px), stand_in.amplitude)
    ratios = _squares(magnitude, frames.amplitude) / expected.clamp_min(LEAST_SQUARE)
    return ratios.double().cpu().numpy()


def _generator(device: torch.device) -> torch.Generator:
    return torch.Generator(device).manual_seed(0)


def _magnitudes(estimate: Estimate, size_px: int) -> Tensor:
    """Return the amplitudes ``(n, N, N)`` that a quick picture gives."""
    device = estimate.picture.device
    canvas = SearchCanvas(estimate.positions_px, size_px, RIM_PX, device)
    corners = canvas.corners(estimate.positions_px)
    frequency, spectrum = torch.fft.fftfreq(size_px, device=device), torch.fft.fft2(estimate.probe)
    between = estimate.positions_px - canvas.places(corners)
    found = []
    for begin in range(0, len(corners), CHUNK_FRAMES):
        part = slice(begin, begin + CHUNK_FRAMES)
        probes = torch.fft.ifft2(spectrum * ramps(frequency, between[part]))
        far = torch.fft.fft2(probes * canvas.cut(estimate.picture, corners[part]), norm="ortho")
        found.append(intensity(far).sqrt())
    return torch.cat(found)


def _squares(magnitude: Tensor, amplitude: Tensor) -> Tensor:
    return torch.where(amplitude < 0, 0.0, magnitude - amplitude).square().sum((1, 2))
