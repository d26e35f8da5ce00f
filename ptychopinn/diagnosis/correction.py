"""Corrections of data that do not fit their probe: rotated patterns or positions, another scale, a conjugated probe.

A turn is one of the eight symmetries of the square, named as in :mod:`ptychopinn.detector.geometry`, but about pixel N/2, the
zero frequency of a pattern and the middle of a probe; ``y' = sign_y (x if swapped else y)``, ``x'`` alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.physics.diffraction import NO_DATA

TURNS: dict[str, tuple[bool, int, int]] = {
    "identity": (False, 1, 1),
    "fliplr": (False, 1, -1),
    "flipud": (False, -1, 1),
    "rot180": (False, -1, -1),
    "transpose": (True, 1, 1),
    "antitranspose": (True, -1, -1),
    "rot90_cw": (True, 1, -1),
    "rot90_ccw": (True, -1, 1),
}
"""Whether the axes are swapped, and the signs of y and x afterwards."""


def turned(images: NDArray[Any], turn: str) -> NDArray[Any]:
    """Return images ``(..., N, N)`` turned about pixel N/2 (N even; the first row and column have no partner and stay)."""
    swapped, *signs = TURNS[turn]
    out = images.swapaxes(-1, -2) if swapped else images
    for axis, sign in zip((-2, -1), signs, strict=True):
        if sign < 0:
            out = np.roll(np.flip(out, axis), 1, axis)
    return np.ascontiguousarray(out)


def turn_matrix(turn: str) -> NDArray[np.float64]:
    """Return the matrix ``(2, 2)`` that turns a position ``(y, x)``."""
    swapped, sign_y, sign_x = TURNS[turn]
    matrix = np.array([[0.0, 1.0], [1.0, 0.0]]) if swapped else np.eye(2)
    return np.asarray(matrix * np.array([[sign_y], [sign_x]]), dtype=np.float64)


def composed(first: str, then: str) -> str:
    """Return the turn that equals two turns in sequence."""
    both = turn_matrix(then) @ turn_matrix(first)
    return next(name for name in TURNS if np.array_equal(turn_matrix(name), both))


def moved(amplitude: NDArray[Any], shift_px: tuple[int, int]) -> NDArray[Any]:
    """Return patterns ``(..., N, N)`` shifted by whole pixels; new pixels at the edge have no data."""
    out = np.roll(amplitude, shift_px, (-2, -1))
    for axis, shift in zip((-2, -1), shift_px, strict=True):
        if shift:
            edge = [slice(None)] * out.ndim
            edge[axis] = slice(0, shift) if shift > 0 else slice(shift, None)
            out[tuple(edge)] = NO_DATA
    return out


@dataclass(frozen=True, slots=True)
class Correction:
    """A correction of patterns, positions and probe; the default changes nothing.

    Attributes
    ----------
    pattern_shift_px
        Shift (rows, columns) of a pattern, before its turn.
    pattern_turn, position_turn
        Names of :data:`TURNS`.
    position_scale
        Factor of positions in pixels; the pixel size changes by its inverse.
    is_conjugate
        Whether the probe is conjugated.
    counts_ratio
        Factor of the probe's energy.
    """

    pattern_shift_px: tuple[int, int] = (0, 0)
    pattern_turn: str = "identity"
    position_turn: str = "identity"
    position_scale: float = 1.0
    is_conjugate: bool = False
    counts_ratio: float = 1.0

    @property
    def is_nothing(self) -> bool:
        """Whether nothing is changed."""
        return self == Correction()

    @property
    def changes_patterns(self) -> bool:
        """Whether patterns are shifted or turned."""
        return self.pattern_shift_px != (0, 0) or self.pattern_turn != "identity"

    def patterns(self, amplitude: NDArray[Any]) -> NDArray[Any]:
        """Return shifted and turned amplitudes ``(..., N, N)``, -1 = no data."""
        if not self.changes_patterns:
            return amplitude
        return turned(moved(amplitude, self.pattern_shift_px), self.pattern_turn)

    def turned_positions(self, positions_px: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return turned positions ``(n, 2)``, not scaled (for when the pixel size is corrected instead)."""
        return positions_px @ turn_matrix(self.position_turn).T

    def positions(self, positions_px: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return turned and scaled positions ``(n, 2)``."""
        return self.turned_positions(positions_px) * self.position_scale

    def probe(self, probe: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Return the corrected probe ``(modes, N, N)``."""
        out = probe.conj() if self.is_conjugate else probe
        return np.asarray(out * np.float32(self.counts_ratio**0.5), dtype=np.complex64)

    def after(self, earlier: Correction) -> Correction:
        """Return the correction that equals ``earlier`` followed by this one."""
        back = turn_matrix(earlier.pattern_turn).T @ np.array(self.pattern_shift_px, dtype=np.float64)
        shift = np.rint(back).astype(int) + np.array(earlier.pattern_shift_px)
        return Correction(
            pattern_shift_px=(int(shift[0]), int(shift[1])),
            pattern_turn=composed(earlier.pattern_turn, self.pattern_turn),
            position_turn=composed(earlier.position_turn, self.position_turn),
            position_scale=earlier.position_scale * self.position_scale,
            is_conjugate=earlier.is_conjugate != self.is_conjugate,
            counts_ratio=earlier.counts_ratio * self.counts_ratio,
        )
