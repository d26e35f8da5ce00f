"""Normalisation factors of the ``cnn`` network for its two regimes, and of the probe.

* amplitude regime, X = sqrt(counts): the input is X times :func:`rms_factor`; losses compare amplitudes times
  :func:`physics_factor`, one over the mean SUM OF AMPLITUDES of a frame.
* count regime: the input is counts times :attr:`CountStatistics.rms_input_scale`, which makes the sum of the squared counts
  (N/2)^2.

Pixels without data are 0. Factors are float32 and broadcast over ``(B, C, N, N)``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from ptychopinn.errors import ReconstructionError

Normalize = Literal["Batch", "Group", "None"]
DataScaling = Literal["Parseval", "Max"]
TINY = 1e-12
"""Lowest sum of a frame that is divided by; avoids 0 / 0 in dark frames."""


def _over(values: Tensor, normalize: Normalize) -> Tensor:
    """Return the mean of frame values ``(B, C)``: of all ``(1, 1, 1, 1)``, or of each group ``(B, 1, 1, 1)``."""
    mean = values.mean(1) if normalize == "Group" else values.mean()[None]
    return mean.clamp_min(TINY)[:, None, None, None]


def rms_factor(amplitude: Tensor, normalize: Normalize = "Batch") -> Tensor:
    """Return sqrt(N^2 / mean over frames of sum X^2) of amplitudes ``(B, C, N, N)``.

    ``normalize``: the mean is over all frames, or over each group's; ``None`` gives 1.
    """
    if normalize == "None":
        return amplitude.new_ones(1, 1, 1, 1)
    return amplitude.shape[-1] / _over(amplitude.square().sum((-2, -1)), normalize).sqrt()


def physics_factor(amplitude: Tensor, normalize: Normalize = "Batch") -> Tensor:
    """Return 1 / mean over frames of sum X of amplitudes ``(B, C, N, N)``."""
    if normalize == "None":
        return amplitude.new_ones(1, 1, 1, 1)
    return 1 / _over(amplitude.sum((-2, -1)), normalize)


def count_factor(counts: Tensor, normalize: Normalize = "Batch") -> Tensor:
    """Return sqrt((N/2)^2 / mean over frames of sum I^2) of counts ``(B, C, N, N)``."""
    return rms_factor(counts, normalize) / (1 if normalize == "None" else 2)


def amplitude_factors(
    amplitude: Tensor, normalize: Normalize = "Batch", data_scaling: DataScaling = "Parseval"
) -> tuple[Tensor, Tensor]:
    """Return the rms and the physics factor; with ``Max`` both are 1 / (greatest sum X of a frame, or of a group's)."""
    if data_scaling == "Max":
        sums = amplitude.sum((-2, -1))
        greatest = sums.amax(1) if normalize == "Group" else sums.amax()[None]
        factor = 1 / greatest.clamp_min(TINY)[:, None, None, None]
        return factor, factor
    return rms_factor(amplitude, normalize), physics_factor(amplitude, normalize)


@dataclass(frozen=True, slots=True)
class CountStatistics:
    """Statistics of the training scan (count regime): ``rms_input_scale``, and the mean counts of a pixel."""

    rms_input_scale: float
    mean_measured_intensity: float

    @classmethod
    def of(cls, counts: Tensor) -> CountStatistics:
        """Return the statistics of counts ``(..., N, N)``.

        Raises
        ------
        ReconstructionError
            If there is no count, or one is negative or not finite.
        """
        return cls.of_chunks([counts])

    @classmethod
    def of_chunks(cls, chunks: Iterable[Tensor]) -> CountStatistics:
        """Return the statistics of counts ``(..., N, N)`` that come in parts."""
        energy = total = 0.0
        frames, side = 0, 0
        for counts in chunks:
            values = counts.double()
            if not bool((values >= 0).all()) or not bool(torch.isfinite(values).all()):
                raise ReconstructionError("counts must be finite and not negative; set pixels without data to 0")
            side = counts.shape[-1]
            frames += values.numel() // side**2
            energy, total = energy + float(values.square().sum()), total + float(values.sum())
        if total == 0:
            raise ReconstructionError("the frames have no counts, so no scale can be found; give frames with light")
        return cls(side / 2 / (energy / frames) ** 0.5, total / (frames * side**2))


def factors_of_chunks(
    chunks: Iterable[Tensor], normalize: Normalize, data_scaling: DataScaling = "Parseval"
) -> tuple[float, float]:
    """Return the rms and the physics factor of amplitudes ``(n, N, N)`` that come in parts, over all frames."""
    sums, energies, side = [], [], 0
    for amplitude in chunks:
        side = amplitude.shape[-1]
        sums.append(amplitude.sum((-2, -1)))
        energies.append(amplitude.square().sum((-2, -1)))
    total = torch.cat(sums)
    if data_scaling == "Max":
        factor = float(1 / total.amax().clamp_min(TINY))
        return factor, factor
    if normalize == "None":
        return 1.0, 1.0
    energy = torch.cat(energies).mean().clamp_min(TINY)
    return float(side / energy.sqrt()), float(1 / total.mean().clamp_min(TINY))


def soft_probe_mask(size_px: int, sigma_px: float = 1.0, diameter_px: float | None = None) -> Tensor:
    """Return a disk ``(N, N)`` float32 around the middle of the array, blurred, greatest value 1.

    ``diameter_px`` is N/2 unless given.
    """
    axis = torch.arange(size_px, dtype=torch.float64) - (size_px - 1) / 2
    radius = (diameter_px or size_px / 2) / 2
    disk = (axis[:, None].square() + axis.square() <= radius**2).double()
    if sigma_px > 0:
        reach = int(3 * sigma_px + 0.5)
        kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / sigma_px).square())
        kernel = (kernel / kernel.sum()).view(1, 1, -1, 1)
        disk = functional.conv2d(disk[None, None], kernel, padding=(reach, 0))
        disk = functional.conv2d(disk, kernel.mT, padding=(0, reach))[0, 0]
    return (disk / disk.max()).float()


def normalise_probe(probe: Tensor, probe_scale: float = 4.0, mask: Tensor | None = None) -> tuple[Tensor, float]:
    """Return the normalised probe and q, with normalised = q * probe and q = 1 / (probe_scale * mean|mask * probe|).

    Parameters
    ----------
    probe : (modes, N, N) complex
        All modes get one q.
    mask : (N, N) float, optional
        It enters q only; the forward model applies it.
    """
    modulus = probe.abs() if mask is None else probe.abs() * mask
    mean = float(modulus.double().mean())
    if mean == 0:
        raise ReconstructionError("the probe is zero everywhere within the mask; give another probe or no mask")
    q = 1 / (probe_scale * mean)
    return probe * q, q
