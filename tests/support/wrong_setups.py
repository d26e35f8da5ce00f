"""Forty wrong set-ups of one tiny scan: probe, geometry, positions, frames and beam, each wrong in one way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.simulate import Recipe, simulate_scan

N, FRAMES, COUNTS = 32, 64, 1e5


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """Amplitudes ``(n, N, N)``, positions ``(n, 2)`` in pixels, probe ``(modes, N, N)``."""

    amplitude: Tensor
    positions_px: NDArray[np.float64]
    probe: Tensor


@cache
def right() -> Scan:
    """Return the scan with nothing wrong."""
    recipe = Recipe(size_px=N, frames=FRAMES, counts=COUNTS, phase_rad=1.0, probe_kind="aberrated", seed=5)
    scan = simulate_scan(recipe)
    return Scan(scan.amplitude, np.asarray(scan.positions_px, dtype=np.float64), scan.probe)


Change = Callable[[Scan], Scan]


def _probe(change: Callable[[Tensor], Tensor]) -> Change:
    return lambda scan: Scan(scan.amplitude, scan.positions_px, change(scan.probe).contiguous())


def _patterns(change: Callable[[Tensor], Tensor]) -> Change:
    return lambda scan: Scan(change(scan.amplitude.clone()).contiguous(), scan.positions_px, scan.probe)


def _positions(change: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Change:
    return lambda scan: Scan(scan.amplitude, change(scan.positions_px.copy()), scan.probe)


def _frame(value: Callable[[Tensor], Tensor], rows: slice = slice(7, 8)) -> Change:
    def change(amplitude: Tensor) -> Tensor:
        amplitude[rows] = value(amplitude[rows])
        return amplitude

    return _patterns(change)


def _scaled(factors: Tensor) -> Change:
    return _patterns(lambda a: a * factors.sqrt()[:, None, None])


def _noise(shape: torch.Size, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.complex64)


def _resized(probe: Tensor, factor: float) -> Tensor:
    axis = torch.linspace(-1, 1, N) * factor
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij")[::-1], dim=-1)[None]
    planes = torch.view_as_real(probe).permute(0, 3, 1, 2)
    moved = torch.nn.functional.grid_sample(planes, grid.expand(len(probe), -1, -1, -1), align_corners=True)
    return torch.view_as_complex(moved.permute(0, 2, 3, 1).contiguous())


def _wild(positions_px: NDArray[np.float64]) -> NDArray[np.float64]:
    positions_px[10] += 1e5
    return positions_px


def _unknown(positions_px: NDArray[np.float64]) -> NDArray[np.float64]:
    positions_px[10] = np.nan
    return positions_px


_DRIFT = torch.linspace(1, 0, FRAMES)
_FLICKER = torch.exp(torch.randn(FRAMES, generator=torch.Generator().manual_seed(1)))
_RANDOM = np.random.default_rng(3)

SETUPS: dict[str, Change] = {
    "probe twice as wide": _probe(lambda p: _resized(p, 0.5)),
    "probe half as wide": _probe(lambda p: _resized(p, 2.0)),
    "probe conjugate": _probe(torch.conj_physical),
    "probe transposed": _probe(lambda p: p.transpose(-2, -1)),
    "probe mirrored": _probe(lambda p: p.flip(-1)),
    "probe moved by a quarter": _probe(lambda p: p.roll(N // 4, -1)),
    "probe of noise": _probe(lambda p: _noise(p.shape, 2) * p.abs().mean()),
    "probe flat": _probe(lambda p: torch.ones_like(p) * p.abs().mean()),
    "probe of one pixel": _probe(
        lambda p: torch.zeros_like(p).index_put_(
            tuple(map(torch.tensor, ([0], [16], [16]))), p.abs().square().sum().sqrt() + 0j
        )
    ),
    "probe zero": _probe(torch.zeros_like),
    "probe with a NaN": _probe(
        lambda p: p.clone().index_put_(tuple(map(torch.tensor, ([0], [3], [3]))), torch.tensor(complex("nan")))
    ),
    "probe 1e6 times too bright": _probe(lambda p: p * 1e3),
    "probe 1e6 times too weak": _probe(lambda p: p * 1e-3),
    "probe out of focus": _probe(
        lambda p: torch.fft.ifft2(
            torch.fft.fft2(p) * torch.exp(-8j * (torch.fft.fftfreq(N)[:, None] ** 2 + torch.fft.fftfreq(N) ** 2) * 10)
        )
    ),
    "patterns transposed": _patterns(lambda a: a.transpose(-2, -1)),
    "patterns mirrored": _patterns(lambda a: a.flip(-1)),
    "patterns turned by 90 degrees": _patterns(lambda a: torch.rot90(a, 1, (-2, -1))),
    "patterns 5 px off centre": _patterns(lambda a: a.roll(5, -1)),
    "patterns with zero frequency at the corner": _patterns(lambda a: torch.fft.fftshift(a, dim=(-2, -1))),
    "energy off by 20 %": _positions(lambda p: p * 1.2),
    "energy off by half": _positions(lambda p: p * 0.5),
    "positions in metres": _positions(lambda p: p * 1e-9),
    "positions in nanometres": _positions(lambda p: p * 1e4),
    "positions transposed": _positions(lambda p: p[:, ::-1].copy()),
    "positions shuffled": _positions(lambda p: _RANDOM.permutation(p)),
    "positions all the same": _positions(np.zeros_like),
    "one position far away": _positions(_wild),
    "one position not a number": _positions(_unknown),
    "empty beam": _patterns(torch.zeros_like),
    "all saturated": _patterns(lambda a: torch.full_like(a, -1.0)),
    "all the same count": _patterns(lambda a: torch.full_like(a, 65535.0**0.5)),
    "pure noise": _patterns(lambda a: _noise(a.shape, 4).abs() * a.mean()),
    "half the pixels masked": _patterns(lambda a: torch.where(torch.arange(N) % 2 == 0, -1.0, a)),
    "beam lost in the second half": _frame(torch.zeros_like, slice(FRAMES // 2, None)),
    "beam fading out": _scaled(_DRIFT),
    "beam flickering": _scaled(_FLICKER),
    "beam drifting out of the detector": _patterns(
        lambda a: torch.stack([p.roll(i * 24 // FRAMES, -1) for i, p in enumerate(a)])
    ),
    "one frame 1e6 times too bright": _frame(lambda a: a * 1e3),
    "one frame of NaN": _frame(lambda a: a * float("nan")),
    "one frame of zeros": _frame(torch.zeros_like),
    "one frame infinitely bright": _frame(lambda a: a + float("inf")),
    "one hot pixel in all frames": _patterns(
        lambda a: a.index_put_((torch.arange(FRAMES), torch.tensor(3), torch.tensor(5)), torch.tensor(1e4))
    ),
}
