"""Detector: expected counts to measured amplitudes, with photon noise, blur, background and pixels without data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.detector.geometry import to_amplitude


@dataclass(frozen=True, slots=True)
class DetectorFaults:
    """Imperfections of a detector; the default is a perfect one.

    Parameters
    ----------
    blur_px
        rms width of the point spread function.
    background_ratio
        Uniform background of a frame, as a share of the vacuum counts.
    dead_ratio
        Share of pixels without data.
    has_gap
        Whether there is a gap between modules.
    stop_px
        Radius of a beam stop; 0: none.
    saturation
        Counts above which a pixel has no data; None: no limit.
    """

    blur_px: float = 0.0
    background_ratio: float = 0.0
    dead_ratio: float = 0.0
    has_gap: bool = False
    stop_px: float = 0.0
    saturation: float | None = None


def draw_faults(size_px: int, rng: np.random.Generator) -> DetectorFaults:
    """Return random imperfections as at beamlines; half of all detectors are perfect."""
    if rng.random() < 0.5:
        return DetectorFaults()
    return DetectorFaults(
        blur_px=float(rng.uniform(0.2, 0.7)) if rng.random() < 0.5 else 0.0,
        background_ratio=float(10 ** rng.uniform(-4, -1.7)) if rng.random() < 0.5 else 0.0,
        dead_ratio=float(10 ** rng.uniform(-4, -2)) if rng.random() < 0.5 else 0.0,
        has_gap=bool(rng.random() < 0.15),
        stop_px=float(rng.uniform(0.01, 0.04) * size_px) if rng.random() < 0.15 else 0.0,
    )


def make_mask(size_px: int, faults: DetectorFaults, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return the pixels ``(N, N)`` without data (True)."""
    mask: NDArray[np.bool_] = rng.random((size_px, size_px)) < faults.dead_ratio
    if faults.has_gap:
        place, wide = int(rng.integers(0, size_px)), int(rng.integers(1, 4))
        if rng.random() < 0.5:
            mask[place : place + wide] = True
        else:
            mask[:, place : place + wide] = True
    if faults.stop_px:
        y, x = (np.arange(size_px) - size_px // 2 - rng.uniform(-1, 1) for _ in range(2))
        mask |= np.hypot(y[:, None], x[None]) <= faults.stop_px
    return mask


def _blurred(counts: Tensor, blur_px: float) -> Tensor:
    tap = float(np.exp(-0.5 / blur_px**2))
    kernel = torch.tensor([tap, 1.0, tap], device=counts.device) / (1 + 2 * tap)
    frames = counts.reshape(-1, 1, *counts.shape[-2:])
    frames = torch.nn.functional.conv2d(frames, kernel.reshape(1, 1, 3, 1), padding=(1, 0))
    frames = torch.nn.functional.conv2d(frames, kernel.reshape(1, 1, 1, 3), padding=(0, 1))
    return frames.reshape(counts.shape)


def measure(expected: Tensor, vacuum_counts: float, faults: DetectorFaults, rng: np.random.Generator) -> Tensor:
    """Return measured amplitudes ``(n, N, N)`` float32 (-1 = no data) for expected counts of the same shape.

    The photon noise comes from a generator seeded by ``rng``, so the same ``rng`` gives the same frames.
    """
    size = expected.shape[-1]
    if faults.blur_px:
        expected = _blurred(expected, faults.blur_px)
    expected = expected + faults.background_ratio * vacuum_counts / size**2
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    counts = torch.poisson(expected, generator=generator).numpy()
    mask = make_mask(size, faults, rng)
    return torch.from_numpy(to_amplitude(counts, mask, faults.saturation))
