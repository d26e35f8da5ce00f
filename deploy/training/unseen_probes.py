"""Held-out scans of strong phase through measured probes, which no training has seen.

The probes come from two measured scans: the demo's star and the spiral of a nanoprobe (``cnm-spiral-247.npz``, from the test
data of AdvancedPhotonSource/tike), whose three modes are retrieved here first. Each is brought to another focus, so that it
lights a disc of another size, gets aberrations and speckle, and is cut to N pixels. Half of the scans have two or three
modes: those of the spiral, or the beam smeared by vibration. Objects have 1 to 3 rad: the simulator's families, and the
spiral's own sample. Frames have 3e4 to 1e6 counts, neighbours overlap by 60 to 80 %.

    python deploy/training/unseen_probes.py cnm-spiral-247.npz
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from ptychopinn.api import PtychoModel
from ptychopinn.model import Model
from ptychopinn.model.bundle import find_bundle
from ptychopinn.mosaic.canvas import Box
from ptychopinn.refine import neighbour_passes
from ptychopinn.refine.retrieve import retrieve
from ptychopinn.simulate import TEXTURES, Recipe, SimulatedScan, simulate_scan
from ptychopinn.simulate.objects import make_texture
from ptychopinn.simulate.probes import centre, footprint_px, smooth_noise
from ptychopinn.training.heldout import Layout
from ptychopinn.workflow.inference import reconstruct

Complex = NDArray[np.complex128]
STAR = Path(__file__).parents[2] / "daemon" / "demo_data" / "siemens-star-probe.npz"
ENOUGH = 0.9
"""Correlation that a strong sample should reach."""
SEED = 2**41
"""Seed of these scans; the other held-out scans use 2**40, training uses small ones."""
DEFOCUS = np.sign(steps := np.arange(-36, 37)) * (1.17 ** np.abs(steps) - 1.0)
"""Trial distances D as they enter the Fresnel transfer exp(i pi D q^2), q in cycles a pixel."""
RING, SLIT = 0.3, (0.06, 0.14)
"""Radius of the measured pupils' bright ring, and range of the slit's half width, cycles a pixel."""
FOOTPRINTS = (0.3, 0.75)
"""Range of the lit diameter over N."""
SHARES = ((0.6, 0.85), (0.2, 0.45))
"""Range of the first mode's share of the light, and of the third's relative to the second's."""
LEAST_CONTRAST = 0.2
"""Least standard deviation of a texture in its middle third: strong phase there, no empty place."""
TEXTURE_PX = 320
"""Side of a texture, px."""
SAMPLE_PX = 280
"""Side of the part of the spiral's sample that is well covered, px."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Probes of measured scans ``(modes, 128, 128)``, and the spiral's sample as a texture from 0 to 1."""

    probes: dict[str, Complex]
    texture: NDArray[np.float32]


def measured(spiral: Path) -> Measured:
    """Return what the measured scans give; the spiral's is retrieved in half a minute."""
    with np.load(STAR) as star:
        probes = {"star": np.asarray(star["probe"], dtype=np.complex128)}
    with np.load(spiral) as file:
        amplitude = torch.from_numpy(np.sqrt(file["counts"].astype(np.float32)))
        places = file["position_corrected_px"].astype(np.float64) + amplitude.shape[-1] // 2
        found = retrieve(amplitude, places, torch.from_numpy(file["probe"]), sweeps=20)
    probes["spiral"] = _orthogonal(np.asarray(found.probe.numpy(), dtype=np.complex128))
    picture, (height, width) = found.object.numpy(), found.object.shape
    rows, columns = ((side - SAMPLE_PX) // 2 for side in (height, width))
    middle = picture[rows : rows + SAMPLE_PX, columns : columns + SAMPLE_PX]
    phase = np.angle(middle * np.conj(middle.mean()))
    low, high = np.quantile(phase, (0.01, 0.99))
    return Measured(probes, np.clip((high - phase) / (high - low), 0, 1).astype(np.float32))


def _orthogonal(probe: Complex) -> Complex:
    """Return orthogonal modes of the same sum of intensities in the far field, strongest first."""
    flat = probe.reshape(len(probe), -1)
    _, sizes, rows = np.linalg.svd(flat, full_matrices=False)
    modes: Complex = (sizes[:, None] * rows).reshape(probe.shape)
    return modes


def _pupil(field: Complex) -> Complex:
    out: Complex = np.fft.fft2(np.fft.ifftshift(field, axes=(-2, -1)), norm="ortho")
    return out


def _sample(pupil: Complex) -> Complex:
    out: Complex = np.fft.fftshift(np.fft.ifft2(pupil, norm="ortho"), axes=(-2, -1))
    return out


def _cut(field: Complex, size_px: int) -> Complex:
    """Return the middle of modes ``(modes, n, n)``, faded out at its rim."""
    low = (field.shape[-1] - size_px) // 2
    axis = np.abs(np.arange(size_px) - size_px / 2 + 0.5) / (size_px / 2)
    fade = np.clip((1 - axis) / 0.12, 0, 1)
    cut: Complex = field[:, low : low + size_px, low : low + size_px] * fade[:, None] * fade[None]
    return cut


def _aberrations(size_px: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a phase of the pupil: astigmatism, coma, trefoil, and its smooth errors, rad."""
    q = np.fft.fftfreq(size_px) / 0.35
    v, u = q[:, None], q[None]
    square = np.minimum(u * u + v * v, 2.0)
    terms = (u * u - v * v, 2 * u * v, (3 * square - 2) * u, (3 * square - 2) * v, u * (u * u - 3 * v * v))
    strength = rng.uniform(0.1, 0.8)
    phase: NDArray[np.float64] = sum((rng.normal() * strength * term for term in terms), np.zeros_like(square))
    return phase + rng.uniform(0.1, 0.5) * smooth_noise(size_px, rng.uniform(0.03, 0.1), rng)


def _slit(pupil: Complex, rng: np.random.Generator) -> Complex:
    """Return the part of pupils ``(modes, n, n)`` that a slit on the bright ring lets through, brought to the middle."""
    n, turn = pupil.shape[-1], rng.uniform(0, 2 * np.pi)
    place = [-round(float(c * RING * n)) for c in (np.cos(turn), np.sin(turn))]
    q = np.abs(np.fft.fftfreq(n))
    openings = [1 / (1 + np.exp((q - rng.uniform(*SLIT)) * n / rng.uniform(0.7, 2.0))) for _ in range(2)]
    through: Complex = np.roll(pupil, place, axis=(-2, -1)) * openings[0][:, None] * openings[1][None]
    return through


def unseen_probe(
    source: Complex, size_px: int, modes: int, rng: np.random.Generator, *, has_slit: bool = False
) -> Tensor:
    """Return a probe ``(modes, N, N)`` complex64 of unit energy made from a measured one."""
    beam = _smeared(source, modes, rng) if len(source) < modes else source[:modes]
    n = beam.shape[-1]
    q = np.fft.fftfreq(n)
    square = q[:, None] ** 2 + q[None] ** 2
    pupil = _pupil(beam)
    if has_slit:
        pupil = _slit(pupil, rng)
    pupil = pupil * np.exp(1j * _aberrations(n, rng))
    wanted, side = rng.uniform(*FOOTPRINTS) * size_px, rng.choice((-1.0, 1.0))
    trials = [_sample(pupil * np.exp(1j * np.pi * d * square)) for d in DEFOCUS]
    lit = np.array([footprint_px(torch.from_numpy(t)) for t in trials])
    focus = int(lit.argmin())
    sided = [i for i in range(len(DEFOCUS)) if (i - focus) * side >= 0]
    field = trials[min(sided, key=lambda i: abs(lit[i] - wanted))]
    speckle = rng.uniform(0.0, 0.8) * smooth_noise(n, rng.uniform(0.04, 0.12), rng)
    grain = 1 + rng.uniform(0.0, 0.3) * smooth_noise(n, rng.uniform(0.04, 0.12), rng)
    field = _orthogonal(_cut(centre(field * grain * np.exp(1j * speckle)), size_px))
    if modes > 1:
        field = _shared(field, rng)
    field = centre(field)
    return torch.from_numpy((field / np.linalg.norm(field)).astype(np.complex64))


def _smeared(source: Complex, modes: int, rng: np.random.Generator) -> Complex:
    """Return the strongest modes of a beam that vibrates by one to three pixels, mostly along one axis."""
    pupil, q = _pupil(source[0]), np.fft.fftfreq(source.shape[-1])
    turn, reach = rng.uniform(0, np.pi), rng.uniform(1.0, 3.0)
    moves = rng.normal(size=(12, 2)) * reach * np.array([1.0, 0.3])
    ramps = [
        np.exp(
            -2j
            * np.pi
            * (q[:, None] * (a * np.cos(turn) + b * np.sin(turn)) + q[None] * (a * np.sin(turn) - b * np.cos(turn)))
        )
        for a, b in moves
    ]
    return _orthogonal(np.stack([_sample(pupil * ramp) for ramp in ramps]))[:modes]


def _shared(field: Complex, rng: np.random.Generator) -> Complex:
    """Return modes whose shares of the light are drawn."""
    first, ratio = rng.uniform(*SHARES[0]), rng.uniform(*SHARES[1])
    rest = np.array([1.0, ratio])[: len(field) - 1]
    shares = np.concatenate(([first], (1 - first) * rest / rest.sum()))
    norms = np.linalg.norm(field.reshape(len(field), -1), axis=1)
    shared: Complex = field * (np.sqrt(shares) / norms)[:, None, None]
    return shared


def _enlarged(family: str, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a texture from 0 to 1 with features up to four times as large as the simulator's: slow phase."""
    factor = float(np.exp(rng.uniform(0, np.log(4))))
    while True:
        drawn = ndimage.zoom(make_texture(family, int(TEXTURE_PX / factor), rng), factor, order=1)
        texture: NDArray[np.float32] = np.clip(drawn, 0, 1).astype(np.float32)
        middle = texture[TEXTURE_PX // 3 : -TEXTURE_PX // 3, TEXTURE_PX // 3 : -TEXTURE_PX // 3]
        if middle.std() > LEAST_CONTRAST:
            return texture


def unseen_scans(
    known: Measured, count: int = 60, size_px: int = 64, frames: int = 100, seed: int = 0
) -> list[SimulatedScan]:
    """Return scans; every second has two or three modes, every sixth the spiral's sample."""
    scans, kinds = [], list(TEXTURES)
    for number in range(count):
        rng = np.random.default_rng((SEED, seed, number))
        modes = 1 if number % 2 == 0 else int(rng.choice((2, 3)))
        source = known.probes[("star", "spiral")[number // 2 % 2]]
        probe = unseen_probe(source, size_px, modes, rng, has_slit=number // 4 % 2 == 1)
        family = "maze" if number % 3 == 1 else str(rng.choice(kinds))
        recipe = Recipe(
            size_px=size_px,
            probe_kind="measured",
            modes=modes,
            texture="sample" if number % 6 == 2 else family,
            phase_rad=float(rng.uniform(1.0, 3.0)) * float(rng.choice((-1, 1))),
            absorption=float(rng.uniform(0, 0.5)),
            counts=float(10 ** rng.uniform(4.5, 6)),
            track=str(rng.choice(("raster", "snake", "spiral", "jitter"))),
            overlap_ratio=float(rng.uniform(0.6, 0.8)),
            frames=frames,
            seed=int(rng.integers(2**62)),
        )
        texture = known.texture if recipe.texture == "sample" else _enlarged(recipe.texture, rng)
        scans.append(simulate_scan(recipe, probe, texture))
    return scans


def picture_correlation(model: Model, scan: SimulatedScan, looks: int) -> float:
    """Return the correlation of the network layer's phase with the truth, as ``predict --looks`` makes it."""
    layout = Layout(scan)
    found = reconstruct(model, scan.probe, scan.amplitude, scan.positions_px, looks=looks).mosaic
    (y, x), (height, width) = scan.corners_px.min(axis=0), layout.truth.shape
    return layout.correlation(found.picture(Box(int(y), int(x), height, width)))


def main() -> None:
    """Print the scores as JSON: medians of all scans, of those with one mode and with several, and the lower quartile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spiral", type=Path, help="cnm-spiral-247.npz")
    parser.add_argument("--bundle", default="shipped")
    parser.add_argument("--scans", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--without-passes", action="store_true", help="further looks start from the mosaic as it is")
    options = parser.parse_args()
    if options.without_passes:
        neighbour_passes.MOST_PIXELS = 0
    path = find_bundle(options.bundle)
    if path is None:
        parser.error("--bundle none has no network")
    trained = PtychoModel.load(path)
    scans = unseen_scans(measured(options.spiral), options.scans, seed=options.seed)
    for looks in (1, 2):
        found = np.array([picture_correlation(trained.for_probe(scan.probe), scan, looks) for scan in scans])
        figures = {
            "looks": looks,
            "median": np.median(found),
            "one mode": np.median(found[::2]),
            "several modes": np.median(found[1::2]),
            "lower quartile": np.quantile(found, 0.25),
            "least": found.min(),
            "share from 0.9 on": (found >= ENOUGH).mean(),
        }
        print(json.dumps({name: round(float(value), 3) for name, value in figures.items()}), flush=True)


if __name__ == "__main__":
    main()
