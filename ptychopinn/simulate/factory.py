"""Simulated scans from a recipe, and neighbourhoods of scans for training.

The recipe with its seed determines the scan. Gauge as in :mod:`ptychopinn.refine.refined_layer`: probe centroid at N/2,
mean object amplitude 1 over the scan (the probe takes the scale); with ``is_vacuum_gauge`` the probe's energy is the vacuum
counts instead and an absorbing object stays below 1, as with a probe measured without the sample.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.errors import GeometryError
from ptychopinn.physics.diffraction import expected_counts
from ptychopinn.simulate.detector import DetectorFaults, draw_faults, measure
from ptychopinn.simulate.objects import TEXTURES, Texture, make_object, make_texture
from ptychopinn.simulate.patterns import TRACKS, scan_positions
from ptychopinn.simulate.probes import PROBES, footprint_px, make_probe, mistaken

MARGIN_PX = 2
"""Width of the object around the patches, px."""
MIXED_SHARE = 0.2
"""Share of the textures in a bank that mix two families."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Parameters of a simulated scan.

    Parameters
    ----------
    footprint_ratio
        Lit diameter over N.
    phase_rad, absorption
        Phase of the thickest part of the object, and -log of its amplitude.
    counts
        Counts of a frame without a sample.
    overlap_ratio
        1 - step / footprint.
    object_px
        Rows and columns of the object; the scan's step becomes smaller if the scan would not fit. None: as the scan needs.
    jitter_px, position_error_px
        rms scatter of the stage that is recorded, and that is not.
    probe_error
        Norm of the error of the given probe, relative to the probe.
    is_vacuum_gauge
        Whether the energy of the probe is ``counts``; else the mean object amplitude is 1.
    """

    size_px: int = 64
    probe_kind: str = "zone_plate"
    modes: int = 1
    footprint_ratio: float = 0.4
    texture: str = "shapes"
    phase_rad: float = 0.5
    absorption: float = 0.1
    counts: float = 1e5
    track: str = "raster"
    overlap_ratio: float = 0.7
    frames: int = 100
    jitter_px: float = 0.0
    position_error_px: float = 0.0
    probe_error: float = 0.0
    is_vacuum_gauge: bool = False
    faults: DetectorFaults = DetectorFaults()
    object_px: tuple[int, int] | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class SimulatedScan:
    """The data of a simulated scan, and the truth.

    ``amplitude (n, N, N)`` float32, -1 = no data; ``positions_px (n, 2)`` recorded, pixels of the object's own frame;
    ``probe (modes, N, N)`` complex64 as given; ``object (H, W)`` complex64, its pixel (0, 0) at ``(0, 0)``;
    ``true_corners_px (n, 2)`` the true top-left pixels of the patches.
    """

    recipe: Recipe
    amplitude: Tensor
    positions_px: NDArray[np.float64]
    probe: Tensor
    object: Tensor
    true_corners_px: NDArray[np.int64]

    @property
    def corners_px(self) -> NDArray[np.int64]:
        """Top-left pixels ``(n, 2)`` of the patches at the recorded positions, rounded and limited to the object."""
        return _on_object(self.positions_px - self.recipe.size_px // 2, self.object.shape, self.recipe.size_px)


def _on_object(places: NDArray[np.float64], shape: Sequence[int], size_px: int) -> NDArray[np.int64]:
    last = np.array(shape) - size_px
    return np.clip(np.round(places), 0, last).astype(np.int64)


def draw_recipe(
    size_px: int,
    rng: np.random.Generator,
    *,
    probe_kinds: Sequence[str],
    textures: Sequence[str],
    modes: int | None = None,
) -> Recipe:
    """Return a random recipe in the range of real scans: phase 0.05-3 rad, 1e2-1e7 counts, overlap 50-85 %."""
    low, high = (3.0, 6.0) if rng.random() < 0.8 else (2.0, 7.0)
    phase = float(np.exp(rng.uniform(np.log(0.05), np.log(3.0)))) * float(rng.choice((-1, 1)))
    return Recipe(
        size_px=size_px,
        probe_kind=str(rng.choice(list(probe_kinds))),
        modes=modes if modes is not None else int(rng.choice((1, 2, 3), p=(0.7, 0.2, 0.1))),
        footprint_ratio=float(rng.uniform(0.15, 0.6)),
        texture=str(rng.choice(list(textures))),
        phase_rad=phase,
        absorption=0.0 if rng.random() < 0.35 else min(2.0, abs(phase) * float(rng.uniform(0, 0.7))),
        counts=float(10 ** rng.uniform(low, high)),
        track=str(rng.choice(list(TRACKS))),
        overlap_ratio=float(rng.uniform(0.5, 0.85)),
        jitter_px=float(rng.uniform(0, 1.5)) if rng.random() < 0.5 else 0.0,
        position_error_px=float(rng.uniform(0, 0.8)) if rng.random() < 0.3 else 0.0,
        probe_error=float(rng.uniform(0, 0.12)) if rng.random() < 0.6 else 0.0,
        is_vacuum_gauge=bool(rng.random() < 0.3),
        faults=draw_faults(size_px, rng),
        seed=int(rng.integers(2**62)),
    )


def simulate_scan(recipe: Recipe, probe: Tensor | None = None, texture: Texture | None = None) -> SimulatedScan:
    """Return the scan of a recipe.

    Parameters
    ----------
    probe : (modes, N, N) complex64, optional
        Replaces the probe of the recipe; its energy is set to the counts of the recipe.
    texture : (side, side) float32, optional
        Replaces the texture of the recipe; it must be large enough for the scan.
    """
    rng = np.random.default_rng(recipe.seed)
    probe = _probe_of(recipe, rng) if probe is None else probe / probe.abs().square().sum().sqrt()
    step = max(1.0, (1 - recipe.overlap_ratio) * footprint_px(probe))
    points = scan_positions(recipe.track, recipe.frames, step, recipe.jitter_px, rng)
    if recipe.object_px is not None:
        points = _fitted(points, recipe.object_px, recipe.size_px)
    if texture is None:
        side = int(np.ceil(np.ptp(points, axis=0).max())) + recipe.size_px + 8
        side = max(side, *(recipe.object_px or (0, 0)))
        texture = make_texture(recipe.texture, side, rng)
    return _expose(recipe, probe, points, texture, rng)


def _fitted(points: NDArray[np.float64], object_px: tuple[int, int], size_px: int) -> NDArray[np.float64]:
    """Return the positions, closer together if their patches would not fit into the object.

    Raises
    ------
    GeometryError
        If the object is smaller than a patch.
    """
    room = np.array(object_px) - size_px - 2 * MARGIN_PX
    if room.min() < 0:
        raise GeometryError(
            f"the object of {object_px[0]} x {object_px[1]} px is too small for patches of {size_px} px; "
            f"make it at least {size_px + 2 * MARGIN_PX} px"
        )
    extent = np.ptp(points, axis=0)
    factor = min(1.0, float((room / np.maximum(extent, 1e-9)).min()))
    fitted: NDArray[np.float64] = points * factor
    return fitted


def _probe_of(recipe: Recipe, rng: np.random.Generator) -> Tensor:
    lit = recipe.footprint_ratio * recipe.size_px
    return make_probe(recipe.probe_kind, recipe.size_px, lit, recipe.modes, rng)


def _expose(
    recipe: Recipe, probe: Tensor, points: NDArray[np.float64], texture: Texture, rng: np.random.Generator
) -> SimulatedScan:
    """Simulate the measurement of a scan in the middle of the texture; ``probe`` has unit energy."""
    n, side = recipe.size_px, np.array(texture.shape)
    extent = np.ceil(np.ptp(points, axis=0)).astype(int) + n + 2 * MARGIN_PX
    margin = np.zeros(2, int) + MARGIN_PX
    if recipe.object_px is not None:
        margin = margin + (np.array(recipe.object_px) - extent) // 2
        extent = np.array(recipe.object_px)
    window = [
        slice(b, b + e) for b, e in zip(np.maximum(0, (side - extent) // 2), np.minimum(extent, side), strict=True)
    ]
    sample = make_object(texture[window[0], window[1]], recipe.phase_rad, recipe.absorption)
    recorded = points - points.min(axis=0) + n // 2 + margin
    true = recorded + rng.normal(scale=recipe.position_error_px, size=points.shape)
    corners = _on_object(true - n // 2, sample.shape, n)
    scale = recipe.counts**0.5
    if not recipe.is_vacuum_gauge:
        inside = slice(n // 4, -(n // 4))
        mean = float(sample[inside, inside].abs().mean())
        sample, scale = sample / mean, scale * mean
    probe = probe * scale
    patches = torch.stack([sample[y : y + n, x : x + n] for y, x in corners.tolist()])
    amplitude = measure(expected_counts(probe, patches), recipe.counts, recipe.faults, rng)
    return SimulatedScan(
        recipe=recipe,
        amplitude=amplitude,
        positions_px=recorded,
        probe=mistaken(probe, recipe.probe_error, rng),
        object=sample,
        true_corners_px=corners,
    )


class TextureBankState(TypedDict):
    """State of a :class:`TextureBank`: NumPy's generator states as JSON, and the number of the oldest texture.

    ``origins`` are the states from which each texture was drawn, ``random`` the state for the next one.
    """

    origins: list[str]
    random: str
    next: int


class TextureBank:
    """Textures that many scans cut from; the oldest ones are replaced one by one."""

    def __init__(self, side_px: int, count: int, kinds: Sequence[str], seed: Sequence[int]) -> None:
        self._side_px = side_px
        self._kinds = list(kinds)
        self._random = np.random.default_rng(seed)
        self._origins = [""] * count
        self._textures = [self._make(number) for number in range(count)]
        self._next = 0

    @classmethod
    def restored(cls, side_px: int, kinds: Sequence[str], state: TextureBankState) -> TextureBank:
        """Return the bank of a :meth:`state_dict`; its textures are drawn again."""
        bank = cls(side_px, 0, kinds, (0,))
        bank._origins = list(state["origins"])
        for number, origin in enumerate(state["origins"]):
            bank._random.bit_generator.state = json.loads(origin)
            bank._textures.append(bank._make(number))
        bank._random.bit_generator.state = json.loads(state["random"])
        bank._next = state["next"]
        return bank

    def state_dict(self) -> TextureBankState:
        """Return the state for :meth:`restored`."""
        return {"origins": list(self._origins), "random": self._random_state(), "next": self._next}

    def _random_state(self) -> str:
        return json.dumps(self._random.bit_generator.state)

    def _make(self, number: int) -> tuple[str, Texture]:
        self._origins[number] = self._random_state()
        kind = self._kinds[number % len(self._kinds)]
        texture = make_texture(kind, self._side_px, self._random)
        if self._random.random() < MIXED_SHARE:
            other = make_texture(str(self._random.choice(self._kinds)), self._side_px, self._random)
            texture = texture + other * np.float32(self._random.uniform(0.2, 1))
            texture /= texture.max()
        return kind, texture

    def renew(self, count: int) -> None:
        """Replace the oldest textures."""
        for _ in range(count):
            self._textures[self._next] = self._make(self._next)
            self._next = (self._next + 1) % len(self._textures)

    def draw(self, side_px: int, rng: np.random.Generator) -> tuple[str, Texture]:
        """Return the family and a random window of at most ``side_px`` squared, randomly rotated and mirrored."""
        kind, texture = self._textures[int(rng.integers(len(self._textures)))]
        side = min(side_px, self._side_px)
        y, x = rng.integers(0, self._side_px - side + 1, size=2)
        window = np.rot90(texture[y : y + side, x : x + side], int(rng.integers(4)))
        return kind, window.T if rng.random() < 0.5 else window


def draw_neighbourhood(recipe: Recipe, bank: TextureBank) -> SimulatedScan:
    """Return the ``recipe.frames`` frames of a larger scan that are nearest to a random place; the bank gives the texture."""
    rng = np.random.default_rng(recipe.seed)
    probe = _probe_of(recipe, rng)
    step = max(1.0, (1 - recipe.overlap_ratio) * footprint_px(probe))
    points = scan_positions(recipe.track, 4 * recipe.frames, step, recipe.jitter_px, rng)
    far = np.hypot(*(points - rng.uniform(-step, step, size=2)).T)
    points = points[np.sort(np.argsort(far)[: recipe.frames])]
    _, texture = bank.draw(int(np.ceil(np.ptp(points, axis=0).max())) + recipe.size_px + 4, rng)
    return _expose(recipe, probe, points, texture, rng)


__all__ = [
    "PROBES",
    "TEXTURES",
    "Recipe",
    "SimulatedScan",
    "TextureBank",
    "draw_neighbourhood",
    "draw_recipe",
    "simulate_scan",
]
