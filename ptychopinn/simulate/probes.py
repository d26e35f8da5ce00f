r"""Probe library, in the fixed gauge: unit energy, intensity centroid at pixel N/2 to half a pixel.

Lengths are object pixels, frequencies q cycles a pixel. A distance enters as the defocus :math:`D = \lambda z / pixel^2`
of the Fresnel transfer :math:`\exp(i \pi D q^2)`, so a pupil of radius q defocused by D lights a disc of radius D q.

The linear phase of a probe stays as it is: it moves the pattern by whole pixels on the detector (a centre that is a
little off), the projections follow it exactly, and the network's inputs are free of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Real = NDArray[np.floating[Any]]
Complex = NDArray[np.complex128]


def _frequencies(size_px: int) -> tuple[Real, Real]:
    axis = np.fft.fftfreq(size_px)
    return axis[:, None], axis[None, :]


def _axes(size_px: int) -> tuple[Real, Real]:
    axis = np.arange(size_px) - size_px / 2.0
    return axis[:, None], axis[None, :]


def _below(value: Real, edge: float, width: float) -> Real:
    """1 where ``value`` is well below ``edge``, 0 well above, soft over ``width``."""
    out: Real = 1 / (1 + np.exp(np.clip((value - edge) / width, -40, 40)))
    return out


def _to_sample(pupil: NDArray[Any]) -> Complex:
    field: Complex = np.fft.fftshift(np.fft.ifft2(pupil, norm="ortho"))
    return field


def _to_pupil(field: Complex) -> Complex:
    pupil: Complex = np.fft.fft2(np.fft.ifftshift(field), norm="ortho")
    return pupil


def smooth_noise(size_px: int, scale: float, rng: np.random.Generator) -> Real:
    """Return periodic noise ``(N, N)`` of mean square 1 whose spectrum falls off at ``scale`` cycles a pixel."""
    qy, qx = _frequencies(size_px)
    noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=(size_px, size_px))) * np.exp(-(qy**2 + qx**2) / scale**2)).real
    out: Real = noise / max(float(noise.std()), 1e-12)
    return out


def _aperture(radius_px: float, rng: np.random.Generator) -> float:
    """Draw a pupil radius, cycles a pixel, that can light a disc of ``radius_px``."""
    low = min(max(0.04, 0.9 / radius_px), 0.2)
    return float(rng.uniform(low, 0.34))


def _sign(rng: np.random.Generator) -> float:
    return float(rng.choice((-1.0, 1.0)))


def _zernike(u: Real, v: Real, rng: np.random.Generator, strength: float) -> Real:
    """Return a random phase of astigmatism, coma, trefoil and spherical aberration over the unit disc, rad."""
    r2 = np.minimum(u * u + v * v, 1.5)
    terms = (
        u * u - v * v,
        2 * u * v,
        (3 * r2 - 2) * u,
        (3 * r2 - 2) * v,
        u * (u * u - 3 * v * v),
        v * (3 * u * u - v * v),
        6 * r2 * r2 - 6 * r2 + 1,
    )
    total: Real = np.zeros_like(r2)
    for term in terms:
        total = total + rng.normal() * strength * term
    return total


def _zone_plate(size_px: int, radius_px: float, rng: np.random.Generator) -> Complex:
    qy, qx = _frequencies(size_px)
    q, edge = np.hypot(qy, qx), rng.uniform(0.3, 1.2) / size_px
    outer = _aperture(radius_px, rng)
    defocus = _sign(rng) * radius_px * rng.uniform(0.65, 1.0) / outer
    stop = rng.uniform(0.15, 0.6)
    pupil = _below(q, outer, edge) * (1 - rng.uniform(0.8, 1.0) * _below(q, stop * outer, edge))
    pupil = pupil * np.exp(-rng.uniform(0, 1.2) * (q / outer) ** 2)
    return _to_sample(pupil * np.exp(1j * np.pi * defocus * q**2))


def _pinhole(size_px: int, radius_px: float, rng: np.random.Generator) -> Complex:
    y, x = _axes(size_px)
    radius = radius_px * rng.uniform(0.65, 0.95)
    if rng.random() < 0.25:
        ratio = rng.uniform(0.5, 1.0)
        field: Real = _below(abs(y), radius * ratio, 0.4) * _below(abs(x), radius, 0.4)
    else:
        field = _below(np.hypot(y, x * rng.uniform(0.85, 1.15)), radius, rng.uniform(0.3, 1.0))
    qy, qx = _frequencies(size_px)
    defocus = _sign(rng) * radius**2 / np.exp(rng.uniform(np.log(1.5), np.log(40)))
    return _to_sample(_to_pupil(field.astype(np.complex128)) * np.exp(1j * np.pi * defocus * (qy**2 + qx**2)))


def _mirrors(size_px: int, radius_px: float, rng: np.random.Generator) -> Complex:
    qy, qx = _frequencies(size_px)
    edge = rng.uniform(0.3, 1.5) / size_px
    pupil = np.ones((size_px, size_px), dtype=np.complex128)
    sign = _sign(rng)
    for q in (qy, qx):
        half = _aperture(radius_px, rng) * 0.9
        defocus = sign * radius_px * rng.uniform(0.5, 0.9) / half
        coma = rng.normal() * 0.6
        pupil = pupil * _below(abs(q), half, edge)
        pupil = pupil * np.exp(1j * (np.pi * defocus * q**2 + coma * np.clip(q / half, -1.2, 1.2) ** 3))
    return _to_sample(pupil)


def _gaussian(size_px: int, radius_px: float, rng: np.random.Generator) -> Complex:
    y, x = _axes(size_px)
    wide, narrow = radius_px * rng.uniform(0.55, 0.75), radius_px * rng.uniform(0.4, 0.75)
    turn = rng.uniform(0, np.pi)
    u, v = y * np.cos(turn) + x * np.sin(turn), x * np.cos(turn) - y * np.sin(turn)
    curvature = rng.uniform(-0.22, 0.22) / radius_px
    field: Complex = np.exp(-((u / wide) ** 2) - (v / narrow) ** 2 + 1j * np.pi * curvature * (u * u + v * v))
    return field


def _aberrated(size_px: int, radius_px: float, rng: np.random.Generator) -> Complex:
    qy, qx = _frequencies(size_px)
    outer = _aperture(radius_px, rng)
    q, edge = np.hypot(qy, qx), rng.uniform(0.3, 1.2) / size_px
    defocus = _sign(rng) * radius_px * rng.uniform(0.4, 0.85) / outer
    phase = np.pi * defocus * q**2 + _zernike(qy / outer, qx / outer, rng, rng.uniform(0.1, 0.9))
    return _to_sample(_below(q, outer, edge) * np.exp(1j * phase))


def _diffuser(size_px: int, radius_px: float, rng: np.random.Generator) -> Complex:
    y, x = _axes(size_px)
    phase = rng.uniform(1.5, 5.0) * smooth_noise(size_px, rng.uniform(0.03, 0.09), rng)
    field: Complex = _below(np.hypot(y, x), radius_px * rng.uniform(0.7, 0.95), 1.5) * np.exp(1j * phase)
    return field


PROBES: dict[str, Callable[[int, float, np.random.Generator], Complex]] = {
    "zone_plate": _zone_plate,
    "pinhole": _pinhole,
    "mirrors": _mirrors,
    "gaussian": _gaussian,
    "aberrated": _aberrated,
    "diffuser": _diffuser,
}
"""Probe kinds; each makes a field ``(N, N)`` that lights about a disc of the radius given."""


def _imperfect(field: Complex, rng: np.random.Generator) -> Complex:
    """Return a field whose pupil has small smooth errors, as every real optic's."""
    size = field.shape[0]
    scale = rng.uniform(0.03, 0.12)
    gain = 1 + rng.uniform(0, 0.2) * smooth_noise(size, scale, rng)
    phase = rng.uniform(0, 0.4) * smooth_noise(size, scale, rng)
    return _to_sample(_to_pupil(field) * gain * np.exp(1j * phase))


def _next_mode(first: Complex, number: int, rng: np.random.Generator) -> Complex:
    """Return a further incoherent mode: a derivative of the first (a blurred source) or the first at another focus."""
    qy, qx = _frequencies(first.shape[0])
    pupil = _to_pupil(first)
    if rng.random() < 0.7:
        turn = rng.uniform(0, np.pi) + number * np.pi / 2
        return _to_sample(pupil * (qy * np.cos(turn) + qx * np.sin(turn)))
    spread = float(np.sqrt((abs(pupil) ** 2 * (qy**2 + qx**2)).sum() / (abs(pupil) ** 2).sum()))
    return _to_sample(pupil * np.exp(1j * np.pi * _sign(rng) * rng.uniform(0.5, 1.0) / spread**2 * (qy**2 + qx**2)))


def _with_modes(first: Complex, modes: int, rng: np.random.Generator) -> Complex:
    fields = [first / np.linalg.norm(first)]
    for number in range(1, modes):
        field = _next_mode(first, number, rng)
        for other in fields:
            field = field - (other.conj() * field).sum() * other
        fields.append(field / max(float(np.linalg.norm(field)), 1e-12))
    shares = np.array([rng.uniform(1.0, 6.0), *np.sort(rng.uniform(0.1, 0.9, size=modes - 1))[::-1]])
    stack: Complex = np.stack(fields) * np.sqrt(shares / shares.sum())[:, None, None]
    return stack


def centre(probe: Complex) -> Complex:
    """Return modes ``(modes, N, N)`` rolled by whole pixels so that the intensity's centroid lies at N/2."""
    intensity = (abs(probe) ** 2).sum(0)
    axis = np.arange(probe.shape[-1]) - probe.shape[-1] // 2
    shift = [-round(float((intensity.sum(1 - k) * axis).sum() / intensity.sum())) for k in (0, 1)]
    rolled: Complex = np.roll(probe, shift, axis=(-2, -1))
    return rolled


def make_probe(kind: str, size_px: int, footprint_px: float, modes: int, rng: np.random.Generator) -> Tensor:
    """Return a probe ``(modes, N, N)`` complex64 of unit energy in the fixed gauge.

    Parameters
    ----------
    kind
        One of :data:`PROBES`.
    footprint_px
        Diameter of the lit disc, about.
    modes
        Incoherent modes, strongest first.
    """
    field = _imperfect(PROBES[kind](size_px, footprint_px / 2, rng), rng)
    if rng.random() < 0.1:
        y, x = _axes(size_px)
        field = field * np.exp(2j * np.pi * (y * rng.uniform(-2, 2) + x * rng.uniform(-2, 2)) / size_px)
    stack = centre(_with_modes(field, modes, rng)) * np.exp(1j * rng.uniform(0, 2 * np.pi))
    return torch.from_numpy((stack / np.linalg.norm(stack)).astype(np.complex64))


def footprint_px(probe: Tensor, energy: float = 0.9) -> float:
    """Return the diameter of the disc around pixel N/2 that holds a share of the probe's energy."""
    intensity = probe.abs().square().sum(0).flatten().double()
    n = probe.shape[-1]
    axis = torch.arange(n, device=probe.device) - n // 2
    radius = torch.hypot(axis[:, None].double(), axis[None, :].double()).flatten()
    order = torch.argsort(radius)
    inside = torch.cumsum(intensity[order], 0) / intensity.sum()
    return 2 * float(radius[order][int((inside < energy).sum())]) + 1


def mistaken(probe: Tensor, error: float, rng: np.random.Generator) -> Tensor:
    """Return a probe as a retrieval would give it: off by a smooth field of ``error`` times its norm, same energy."""
    if not error:
        return probe
    n = probe.shape[-1]
    field = smooth_noise(n, 0.15, rng) + 1j * smooth_noise(n, 0.15, rng)
    local = probe * torch.from_numpy(field.astype(np.complex64))
    off = probe + error * local * (probe.abs().square().sum() / local.abs().square().sum()).sqrt()
    return off * (probe.abs().square().sum() / off.abs().square().sum()).sqrt()
