r"""The third stage: below some pixels, object, probe, positions and their linear part are moved together, by conjugate gradients.

The misfit is the Poisson likelihood, halved, so that it is sum (|F(P O)| - a)^2 where there is much light. With the amplitudes
alone pixels with hardly a photon look darker than they are, hence the object larger: scale comes out 1.4 % too large at 22
photons a pixel. Frames lie between the pixels: the probe is moved by the rest. A step's length comes from the change of the far
fields along it, one transform a frame.

Priors are normal distributions as wide as what they hold is found to be: of the positions around those that were told and of the
probe around the given one. So exact positions stay, and so does scale, which a free probe would pay for with its curvature.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.physics.diffraction import intensity
from ptychopinn.positions.canvas import Corners, SearchCanvas
from ptychopinn.positions.drift_guard import steadied
from ptychopinn.positions.fitting import Estimate, ramps
from ptychopinn.positions.linear_map import KINDS, PRIOR, Moments, matrix, warped
from ptychopinn.positions.scan import TINY, Frames

CHUNK_FRAMES = 32
FEW_PHOTONS = 0.3
"""Added to measured and computed counts of a pixel, so that a dark one weighs little."""
OBJECT_KEEP, PROBE_KEEP = 0.02, 0.1
"""Share of the greatest curvature that is added to each curvature."""
PROBE_STEP, PLACE_STEP, MAP_STEP = 0.5, 1.0, 2.0
"""Parts of a step before its length is found. Positions that went four times as far left 1.04 px on the measured spiral after 14
iterations, these 0.92."""
LONGEST_PX, LONGEST_MAP_PX = 2.0, 3.0
NARROWEST_PX, NARROWEST_PROBE = 0.02, 0.02
"""Least widths of the priors of positions, pixels, and of the probe, over its own size."""


@dataclass(slots=True, eq=False)
class Change:
    """A change of object ``(H, W)``, probe ``(N, N)``, places ``(n, 2)`` and the four kinds of their linear part."""

    picture: Tensor
    probe: Tensor
    places: NDArray[np.float64]
    linear: NDArray[np.float64]

    def dot(self, other: Change) -> float:
        """Return the real inner product."""
        fields = (self.picture.conj() * other.picture).real.sum() + (self.probe.conj() * other.probe).real.sum()
        return float(fields) + float((self.places * other.places).sum()) + float(self.linear @ other.linear)

    def plus(self, other: Change, factor: float) -> Change:
        """Return the sum of this and some of another change."""
        return Change(
            self.picture + factor * other.picture,
            self.probe + factor * other.probe,
            self.places + factor * other.places,
            self.linear + factor * other.linear,
        )

    def times(self, factor: float) -> Change:
        """Return some of this change."""
        return Change(factor * self.picture, factor * self.probe, factor * self.places, factor * self.linear)


@dataclass(slots=True, eq=False)
class _Weights:
    """Curvatures along object, probe, places ``(n, 2, 2)`` and linear part ``(4, 4)``."""

    picture: Tensor
    probe: Tensor
    places: NDArray[np.float64]
    linear: NDArray[np.float64]


class Descent:
    """Iterations over all frames, from an estimate that is a good picture already; ``estimate`` is changed.

    ``value`` is the misfit before the last iteration. ``told_px`` are the positions told, with the linear part found.
    """

    def __init__(self, frames: Frames, canvas: SearchCanvas, estimate: Estimate) -> None:
        self.estimate = estimate
        self.value = np.inf
        self.told_px = frames.told_px.copy()
        self._frames = frames
        self._canvas = canvas
        self._middle_px = frames.told_px.mean(axis=0)
        self._far = torch.empty_like(frames.amplitude, dtype=torch.complex64)
        self._probes = torch.empty_like(self._far)
        self._frequency = torch.fft.fftfreq(frames.size_px, device=canvas.device)
        self._corners: Corners = canvas.corners(estimate.positions_px)
        self._rest_px = np.zeros_like(estimate.positions_px)
        self._slopes = (estimate.picture, estimate.picture)
        self._prior_px = self._prior_probe = self._prior_linear = 0.0
        self._last: tuple[Change, Change, float] | None = None

    def run(self, *, moves_linear: bool = True) -> None:
        """Make one iteration."""
        last_value = self.value
        gradient, weights = self._look()
        ready = self._conditioned(gradient, weights, moves_linear=moves_linear)
        slope = gradient.dot(ready)
        direction = ready.times(-1.0)
        if self._last is not None and self.value <= last_value:
            before, way, before_slope = self._last
            lead = max(0.0, (slope - before.dot(ready)) / before_slope)
            led = direction.plus(way, lead)
            direction = led if gradient.dot(led) < 0 else direction
        self._last = (gradient, direction, max(slope, TINY))
        self._go(direction, -gradient.dot(direction) / max(self._bend(direction), TINY))

    def _parts(self) -> list[slice]:
        return [slice(begin, begin + CHUNK_FRAMES) for begin in range(0, len(self._frames), CHUNK_FRAMES)]

    def _look(self) -> tuple[Change, _Weights]:
        """Return gradient and curvatures here; keep far fields, misfit and priors."""
        here, canvas = self.estimate, self._canvas
        self._corners = canvas.corners(here.positions_px)
        self._rest_px = here.positions_px - canvas.places(self._corners)
        self._slopes = _slopes(here.picture)
        sums = _Sums(self._frames, canvas)
        spectrum = torch.fft.fft2(here.probe)
        for part in self._parts():
            ramp = ramps(self._frequency, self._rest_px[part])
            self._probes[part] = torch.fft.ifft2(spectrum * ramp)
            seen = self._patches(part)
            self._far[part] = sums.add(part, self._corners[part], seen, (self._probes[part], ramp))
        gradient, weights = sums.totals()
        deviance, pixels = sums.deviance()
        here.noise = max(1.0, 4 * deviance / max(1.0, pixels))  # an amplitude's variance is 1/4
        self.value = deviance + self._add_priors(gradient, weights)
        return gradient, weights

    def _patches(self, part: slice) -> tuple[Tensor, Tensor, Tensor]:
        return tuple(self._canvas.cut(plane, self._corners[part]) for plane in (self.estimate.picture, *self._slopes))  # type: ignore[return-value]

    def _add_priors(self, gradient: Change, weights: _Weights) -> float:
        here = self.estimate
        away = here.positions_px - self.told_px
        away -= np.median(away, axis=0)
        width = max(NARROWEST_PX, float(np.square(away).mean()) ** 0.5) if np.any(away) else 1.0
        apart = here.probe - self._frames.probe
        least = NARROWEST_PROBE**2 * float(intensity(self._frames.probe).mean())
        self._prior_px = here.noise / (4 * width**2)
        self._prior_probe = here.noise / (4 * max(least, float(intensity(apart).mean())))
        self._prior_linear = here.noise / (4 * PRIOR**2)
        gradient.places += self._prior_px * away
        gradient.probe += self._prior_probe * apart
        weights.places += self._prior_px * np.eye(2)
        weights.probe += self._prior_probe
        weights.linear += self._prior_linear * np.eye(len(KINDS))
        return self._prior_px * float(np.square(away).sum()) + self._prior_probe * float(intensity(apart).sum())

    def _conditioned(self, gradient: Change, weights: _Weights, *, moves_linear: bool) -> Change:
        places = PLACE_STEP * np.linalg.solve(weights.places, gradient.places[..., None])[..., 0]
        linear = MAP_STEP * np.linalg.solve(weights.linear, gradient.linear)
        return Change(
            gradient.picture / (weights.picture + OBJECT_KEEP * weights.picture.max()),
            PROBE_STEP * gradient.probe / (weights.probe + PROBE_KEEP * weights.probe.max()),
            np.asarray(places - places.mean(axis=0), dtype=np.float64),
            np.asarray(linear if moves_linear else np.zeros(len(KINDS)), dtype=np.float64),
        )

    def _bend(self, way: Change) -> float:
        """Return the curvature of the misfit along a direction."""
        spectrum = torch.fft.fft2(way.probe)
        places = torch.from_numpy(way.places).float().to(self._canvas.device)[:, :, None, None]
        by = matrix(way.linear)
        u = Moments(self._frames.size_px, self._canvas.device).u
        lies_y, lies_x = (float(row[0]) * u[0] + float(row[1]) * u[1] for row in by)
        total = torch.zeros((), device=self._canvas.device)
        for part in self._parts():
            patches, slope_y, slope_x = self._patches(part)
            changes = torch.fft.ifft2(spectrum * ramps(self._frequency, self._rest_px[part]))
            seen = self._canvas.cut(way.picture, self._corners[part])
            seen = seen + (places[part, 0] - lies_y) * slope_y + (places[part, 1] - lies_x) * slope_x
            change = torch.fft.fft2(self._probes[part] * seen + changes * patches, norm="ortho")
            far, amplitude = self._far[part], self._frames.amplitude[part]
            along = (far.conj() * change).real
            total += torch.where(amplitude < 0, 0.0, along.square() / (intensity(far) + FEW_PHOTONS)).sum()
        held = self._prior_px * float(np.square(way.places).sum())
        return float(total) + held + self._prior_probe * float(intensity(way.probe).sum())

    def _go(self, way: Change, length: float) -> None:
        """Go along a direction, not too far."""
        here, by = self.estimate, matrix(way.linear)
        rim_px = float(np.abs((self.told_px - self._middle_px) @ by.T).max())
        furthest = float(np.abs(way.places).max())
        length = min(length, LONGEST_PX / max(furthest, TINY), LONGEST_MAP_PX / max(rim_px, TINY))
        if not np.isfinite(length):
            return
        if np.any(way.linear):
            by = length * by
            here.picture = warped(here.picture, self._slopes, by, self._canvas, self._middle_px)
            here.positions_px = here.positions_px + (here.positions_px - self._middle_px) @ by.T
            self.told_px = self.told_px + (self.told_px - self._middle_px) @ by.T
        here.picture = here.picture + length * way.picture
        here.probe = here.probe + length * way.probe
        here.positions_px = here.positions_px + length * way.places
        if not np.any(way.linear):
            here.positions_px = steadied(self.told_px, here.positions_px)


class _Sums:
    """What all frames say about a step."""

    def __init__(self, frames: Frames, canvas: SearchCanvas) -> None:
        n, device = frames.size_px, canvas.device
        self._frames = frames
        self._canvas = canvas
        self._values, self._weights = canvas.zeros(torch.complex64), canvas.zeros(torch.float32)
        self._probe = torch.zeros(n, n, dtype=torch.complex64, device=device)
        self._lit = torch.zeros(n, n, device=device)
        self._moments = Moments(n, device)
        self._pulls: list[Tensor] = []
        self._deviance = torch.zeros(2, device=device, dtype=torch.float64)

    def add(
        self, part: slice, corners: Corners, patches: tuple[Tensor, Tensor, Tensor], probes: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Take some frames with object and slopes ``(n, N, N)``, moved probes and ramps; return the far fields."""
        (seen, *slopes), (probe, ramp), amplitude = patches, probes, self._frames.amplitude[part]
        far: Tensor = torch.fft.fft2(probe * seen, norm="ortho")
        excess = self._excess(intensity(far), amplitude)
        back = torch.fft.ifft2(far * excess, norm="ortho")
        descent, lit = probe.conj() * back, intensity(probe)
        self._canvas.add(self._values, corners, descent)
        self._canvas.add(self._weights, corners, lit)
        self._probe += (torch.fft.fft2(seen.conj() * back) * ramp.conj()).sum(0)
        self._lit += intensity(seen).sum(0)
        pulls = torch.stack([(slope.conj() * descent).real for slope in slopes])
        yx = (slopes[0].conj() * slopes[1]).real
        squares = torch.stack([intensity(slopes[0]), yx, intensity(slopes[1])]) * lit
        self._moments.add(pulls, squares)
        self._pulls.append(torch.cat([pulls, squares]).sum((2, 3)))
        return far

    def _excess(self, counts: Tensor, amplitude: Tensor) -> Tensor:
        """Return the factors on the far field that give the misfit's gradient; add the misfit."""
        valid = amplitude >= 0
        measured = amplitude.square() + FEW_PHOTONS
        ratio = measured / (counts + FEW_PHOTONS)
        excess: Tensor = torch.where(valid, 1 - ratio, 0.0) / 2
        deviance = torch.where(valid, measured * (ratio.log() - 1) + counts + FEW_PHOTONS, 0.0) / 2
        self._deviance += torch.stack([deviance.sum(), valid.sum()])
        return excess

    def deviance(self) -> tuple[float, float]:
        """Return the misfit and the number of pixels with data."""
        value, pixels = self._deviance.tolist()
        return value, pixels

    def totals(self) -> tuple[Change, _Weights]:
        """Return gradient and curvatures."""
        pull_y, pull_x, yy, yx, xx = torch.cat(self._pulls, dim=1).double().cpu().numpy()
        places = np.stack([np.stack([yy, yx], 1), np.stack([yx, xx], 1)], 1) / 2  # half of a change is seen
        gradient = Change(
            self._values, torch.fft.ifft2(self._probe), np.stack([pull_y, pull_x], 1), self._moments.pull()
        )
        return gradient, _Weights(self._weights, self._lit, places, self._moments.curvature())


def _slopes(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Return the slopes along y and x, from two neighbours on each side."""
    y, x = (
        (8 * (picture.roll(-1, axis) - picture.roll(1, axis)) - picture.roll(-2, axis) + picture.roll(2, axis)) / 12
        for axis in (0, 1)
    )
    return y, x
