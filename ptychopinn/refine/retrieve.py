r"""Retrieval of probe and object of a whole scan from a guess of the probe.

One update at the whole-pixel place of a frame (sequential projections, PIE):

    Y_m = F(P_m O);  d_m = F^-1(a Y_m / sqrt(sum |Y|^2)) - P_m O;  O <- O + alpha sum_m P_m^* d_m / max sum |P|^2

and P_m <- P_m + alpha O^* d_m / max |O|^2. Pixels without data keep their computed amplitude. The updates go frame by frame, so
that a poor probe improves within the first sweep; :mod:`ptychopinn.refine.refined_layer` is faster once the probe is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.errors import ReconstructionError
from ptychopinn.physics.diffraction import centroid_px, intensity, vacuum_counts
from ptychopinn.physics.scan_check import believable_frames, check_extent, check_light, check_positions, check_probe

LEAST_OBJECT = 1e-12
"""Least of the object's greatest intensity under a frame: frames without counts drive it to 0."""


class ProjectionStep:
    """The update of one frame, for one probe ``(modes, N, N)``."""

    def __init__(self, probe: Tensor) -> None:
        self.set_probe(probe)

    def set_probe(self, probe: Tensor) -> None:
        """Take a new probe."""
        self.probe = probe
        self.intensity = probe.abs().square().sum(0)
        self.peak = float(self.intensity.max())
        self._back = probe.conj() / self.peak

    def __call__(self, patch: Tensor, amplitude: Tensor) -> tuple[Tensor, Tensor, float]:
        """Return the object's update ``(N, N)`` at full step, d ``(modes, N, N)``, and the misfit before it.

        ``amplitude`` has its zero frequency at the corner; the misfit is the numerator of the R-factor.
        """
        exits = self.probe * patch
        far = torch.fft.fft2(exits, norm="ortho")
        counts = intensity(far)
        magnitude = (counts[0] if len(counts) == 1 else counts.sum(0)).sqrt()
        target = torch.where(amplitude < 0, magnitude, amplitude)
        misfit = float((magnitude - target).abs_().sum())
        difference = torch.fft.ifft2(far.mul_(target.div_(magnitude.clamp_min_(1e-6))), norm="ortho").sub_(exits)
        update = difference * self._back
        return (update[0] if len(update) == 1 else update.sum(0)), difference, misfit


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What :func:`retrieve` found: probe ``(modes, N, N)``, object ``(H, W)``, its origin, weight, R by sweep.

    ``left_out`` are the rows of frames whose amplitudes cannot be true.
    """

    probe: Tensor
    object: Tensor
    origin_px: tuple[int, int]
    weight: Tensor
    rfactors: list[float]
    left_out: tuple[int, ...] = ()


def retrieve(
    amplitude: Tensor,
    positions_px: NDArray[np.float64],
    probe: Tensor,
    *,
    sweeps: int = 40,
    full_sweeps: int = 12,
    decay: float = 0.9,
    update_probe: bool = True,
    seed: int = 0,
    on_sweep: Callable[[int, float], None] | None = None,
) -> Retrieval:
    """Retrieve probe and object of a whole scan from a guess of the probe.

    Parameters
    ----------
    amplitude : (n, N, N) float32
        sqrt(counts), zero frequency in the middle, -1 = no data.
    positions_px : (n, 2) float64
    probe : (modes, N, N) complex64
        First guess; its energy is set to the vacuum counts.
    sweeps, full_sweeps, decay
        Full step for the first ``full_sweeps``, then times ``decay`` a sweep.

    The result is in the gauge of :func:`fix_gauge`.

    Raises
    ------
    ReconstructionError
        If parts do not fit together, the patterns hold no photon, or the positions span an area that no scan has.
    """
    n = probe.shape[-1]
    _check(amplitude, positions_px, probe)
    rows = believable_frames(amplitude)
    left_out = tuple(sorted(set(range(len(amplitude))) - set(rows.tolist())))
    if left_out:
        amplitude, positions_px = amplitude[rows.tolist()], positions_px[rows]
    probe = probe * (vacuum_counts(amplitude) / float(probe.abs().square().sum())) ** 0.5
    corner = np.round(positions_px).astype(np.int64) - n // 2
    origin = corner.min(axis=0)
    places = (corner - origin).tolist()
    height, width = (corner.max(axis=0) - origin + n).tolist()
    estimate = torch.ones(height, width, dtype=torch.complex64, device=probe.device)
    patterns = torch.fft.ifftshift(amplitude, dim=(-2, -1))
    total = float(torch.where(patterns < 0, 0.0, patterns).double().sum())
    step, random, alpha, rfactors = ProjectionStep(probe), np.random.default_rng(seed), 1.0, []
    for sweep in range(sweeps):
        alpha *= decay if sweep >= full_sweeps else 1.0
        order = random.permutation(len(patterns)).tolist()
        misfit = _sweep(step, estimate, ((patterns[i], places[i]) for i in order), alpha, update_probe)
        rfactors.append(misfit / total)
        if on_sweep:
            on_sweep(sweep, rfactors[-1])
    weight = torch.zeros(height, width, device=probe.device)
    for y, x in places:
        weight[y : y + n, x : x + n] += step.intensity / step.peak
    fixed_probe, fixed_object, where = fix_gauge(step.probe, estimate, weight, (int(origin[0]), int(origin[1])))
    return Retrieval(fixed_probe, fixed_object, where, weight, rfactors, left_out=left_out)


def _check(amplitude: Tensor, positions_px: NDArray[np.float64], probe: Tensor) -> None:
    """Raise :class:`ReconstructionError` for parts of a scan that do not fit together."""
    n = probe.shape[-1]
    if amplitude.shape[-1] != n:
        raise ReconstructionError(
            f"the probe is {n} px but the patterns are {amplitude.shape[-1]} px; crop one to the other"
        )
    check_positions(positions_px, len(amplitude))
    check_extent(positions_px, n)
    check_light(amplitude)
    check_probe(probe)


def _sweep(
    step: ProjectionStep,
    estimate: Tensor,
    frames: Iterable[tuple[Tensor, list[int]]],
    alpha: float,
    update_probe: bool,
) -> float:
    """Update object and probe by (pattern ``(N, N)``, corner [y, x]) of each frame in turn; return the misfit."""
    n, misfit = step.probe.shape[-1], 0.0
    for pattern, (y, x) in frames:
        patch = estimate[y : y + n, x : x + n]
        update, difference, misfit_before = step(patch, pattern)
        misfit += misfit_before
        # the probe's update uses the patch as it was
        gain = patch.conj() * (alpha / max(float(patch.abs().square().max()), LEAST_OBJECT)) if update_probe else None
        patch.add_(update, alpha=alpha)
        if gain is not None:
            step.set_probe(step.probe + gain * difference)
    return misfit


def fix_gauge(
    probe: Tensor, estimate: Tensor, weight: Tensor, origin_px: tuple[int, int]
) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Return probe, object and its origin in the fixed gauge.

    Mean object amplitude 1 where the weight is above 5 % of its greatest (the probe takes the scale, so its energy is
    the expected vacuum counts); mean object phase 0; probe centroid in the middle to half a pixel, the object's origin
    moved against it. Whole pixels only, so nothing is interpolated.
    """
    covered = weight > 0.05 * weight.max()
    scale = float(estimate[covered].abs().mean())
    mean = (estimate[covered] * weight[covered]).sum()
    phase = mean / mean.abs().clamp_min(1e-12)
    dy, dx = (-round(c) for c in centroid_px(probe))
    probe = torch.roll(probe, (dy, dx), dims=(-2, -1)) * scale
    return probe, estimate * (phase.conj() / scale), (origin_px[0] + dy, origin_px[1] + dx)
