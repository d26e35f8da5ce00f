"""The probe at places between the pixels: moved by eighths of a pixel, and gradients moved back.

The patch of a frame at ``q`` is cut at ``round(q)`` and the probe is moved by the rest, so a step still costs two transforms. A
move is a phase ramp on the spectrum; a moved probe is kept until the probe changes or memory is short.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ptychopinn.device import is_batched, to_device
from ptychopinn.physics.diffraction import intensity, shift_ramp, slopes

STEPS = 8
MOST_BYTES = 128 << 20

Shift = tuple[int, int]
"""A move (y, x) in eighths of a pixel."""


class _Moved:
    """A moved probe ``(modes, N, N)``, its conjugate, its intensity ``(N, N)``, its slopes: each made when it is asked for."""

    def __init__(self, probe: Tensor) -> None:
        self.probe = probe
        self.slopes: tuple[Tensor, Tensor] | None = None

    @cached_property
    def back(self) -> Tensor:
        return self.probe.conj().resolve_conj()

    @cached_property
    def intensity(self) -> Tensor:
        lit = intensity(self.probe)
        return lit[0] if len(lit) == 1 else lit.sum(0)


class _Moves:
    """The different moves of some frames; ``which (B,)`` is the number of each frame's move among them."""

    def __init__(self, shifts: Sequence[Shift], field: Tensor) -> None:
        self._size_px, self._device = field.shape[-1], field.device
        self.shifts = tuple(shifts)
        self.different = sorted(set(shifts))
        numbers = {shift: number for number, shift in enumerate(self.different)}
        self.which = to_device(np.array([numbers[shift] for shift in shifts], dtype=np.int64), field.device)

    @cached_property
    def ramps(self) -> Tensor:
        """The factors ``(moves, 1, N, N)`` on a spectrum that move it; see :func:`shift_ramp`."""
        turns = np.array(self.different, dtype=np.float32).T[:, :, None] / STEPS * np.fft.fftfreq(self._size_px)
        y, x = to_device(np.exp(-2j * np.pi * turns).astype(np.complex64), self._device)
        both: Tensor = y[:, None, :, None] * x[:, None, None, :]
        return both


class _MovedAtOnce(NamedTuple):
    """Probes ``(moves, modes, N, N)`` at the different moves of some frames, and their intensities ``(moves, N, N)``."""

    moves: _Moves
    probes: Tensor
    intensities: Tensor


class ShiftedProbes:
    """The moved copies of a probe ``(modes, N, N)``, each made when it is first asked for."""

    def __init__(self, probe: Tensor) -> None:
        self.probe = probe
        self._spectrum: Tensor | None = None
        self._unmoved = _Moved(probe)
        self._moved: OrderedDict[Shift, _Moved] = OrderedDict()
        self._most = _most(probe, 6)  # probe, conjugate, two slopes, and as much again at most for their squares
        self._at_once: _MovedAtOnce | None = None

    def probe_at(self, shift: Shift) -> Tensor:
        """Return the probe moved."""
        return self._at(shift).probe

    def intensity_at(self, shift: Shift) -> Tensor:
        """Return the moved probe's intensity ``(N, N)``."""
        return self._at(shift).intensity

    def stack(self, shifts: Sequence[Shift]) -> Tensor:
        """Return the probes of some frames ``(B, modes, N, N)``; ``(1, modes, N, N)`` where all are the same."""
        if len(set(shifts)) == 1:
            return self.probe_at(shifts[0])[None]
        if (moved := self._all_at(shifts)) is not None:
            return moved.probes[moved.moves.which]
        return torch.stack([self.probe_at(shift) for shift in shifts])

    def back_stack(self, shifts: Sequence[Shift]) -> Tensor:
        """Return the conjugates of :meth:`stack`."""
        if len(set(shifts)) == 1:
            return self._at(shifts[0]).back[None]
        return self.stack(shifts).conj()

    def intensity_stack(self, shifts: Sequence[Shift]) -> Tensor:
        """Return the moved probes' intensities ``(B, N, N)`` of some frames."""
        if len(set(shifts)) == 1:
            return self.intensity_at(shifts[0]).expand(len(shifts), -1, -1)
        if (moved := self._all_at(shifts)) is not None:
            return moved.intensities[moved.moves.which]
        return torch.stack([self.intensity_at(shift) for shift in shifts])

    def slopes_at(self, shift: Shift) -> tuple[Tensor, Tensor]:
        """Return the moved probe's slopes along y and x as real numbers ``(2, 2 modes N N)``, and their squares ``(2, N N)``."""
        moved = self._at(shift)
        if moved.slopes is None:
            both = torch.stack(slopes(moved.probe))
            moved.slopes = torch.view_as_real(both).flatten(1), both.abs().square().sum(1).flatten(1)
        return moved.slopes

    def _all_at(self, shifts: Sequence[Shift]) -> _MovedAtOnce | None:
        """Return the probes at all moves of some frames, kept where they are few; None on a CPU (one by one)."""
        if not is_batched(self.probe.device):
            return None
        if self._at_once is not None and self._at_once.moves.shifts == tuple(shifts):
            return self._at_once
        found = self._moved_at_once(_Moves(shifts, self.probe))
        self._at_once = found if len(found.probes) <= self._most else None
        return found

    def _moved_at_once(self, moves: _Moves) -> _MovedAtOnce:
        if self._spectrum is None:
            self._spectrum = torch.fft.fft2(self.probe)
        probes = torch.fft.ifft2(self._spectrum * moves.ramps)
        return _MovedAtOnce(moves, probes, torch.linalg.vector_norm(probes, dim=1).square())

    def _at(self, shift: Shift) -> _Moved:
        if shift == (0, 0):
            return self._unmoved
        if shift in self._moved:
            self._moved.move_to_end(shift)
        else:
            if self._spectrum is None:
                self._spectrum = torch.fft.fft2(self.probe)
            probe = torch.fft.ifft2(self._spectrum * _ramp(self.probe, shift))
            self._moved[shift] = _Moved(probe)
            if len(self._moved) > self._most:
                self._moved.popitem(last=False)
        return self._moved[shift]


class ProbeDescent:
    """The sum of what frames with moved probes say about the probe."""

    def __init__(self) -> None:
        self._sums: dict[Shift, Tensor] = {}
        self._spectrum: Tensor | None = None

    def add(self, shifts: Sequence[Shift], descents: Tensor) -> None:
        """Take the descents ``(B, modes, N, N)`` of some frames, each for its moved probe."""
        if len(set(shifts)) == 1:
            self._add(shifts[0], descents.sum(0), is_own=True)
            return
        if is_batched(descents.device):
            self._add_at_once(_Moves(shifts, descents), descents)
            return
        for shift, descent in zip(shifts, descents, strict=True):
            self._add(shift, descent)

    def _add_at_once(self, moves: _Moves, descents: Tensor) -> None:
        """Take descents in few launches: the sum over the frames of each move, all moved back."""
        sums = descents.new_zeros((len(moves.different), *descents.shape[1:])).index_add_(0, moves.which, descents)
        part = torch.fft.fft2(sums).mul_(moves.ramps.conj()).sum(0)
        self._spectrum = part if self._spectrum is None else self._spectrum.add_(part)

    def _add(self, shift: Shift, descent: Tensor, *, is_own: bool = False) -> None:
        if shift in self._sums:
            self._sums[shift] += descent
            return
        if len(self._sums) >= _most(descent, 1):
            self._spectrum = self._gathered()
            self._sums.clear()
        self._sums[shift] = descent if is_own else descent.clone()  # a view would keep all frames

    def _gathered(self) -> Tensor:
        total = self._spectrum
        for shift, moved in self._sums.items():
            part = torch.fft.fft2(moved).mul_(_ramp(moved, shift).conj())
            total = part if total is None else total.add_(part)
        if total is None:
            raise ValueError("no frame has been added")
        return total

    def total(self) -> Tensor:
        """Return the descent ``(modes, N, N)`` for the probe itself.

        Raises
        ------
        ValueError
            If no frame has been added.
        """
        if self._spectrum is None and set(self._sums) == {(0, 0)}:
            return self._sums[0, 0]
        back: Tensor = torch.fft.ifft2(self._gathered())
        return back


def split(position_px: tuple[float, float]) -> tuple[tuple[int, int], Shift]:
    """Return the whole pixels (y, x) nearest to a position, and the move that is left."""
    y, x = round(float(position_px[0])), round(float(position_px[1]))
    return (y, x), shift_from((y, x), position_px)


def shift_from(whole_px: tuple[int, int], position_px: tuple[float, float]) -> Shift:
    """Return the move from whole pixels (y, x) to a position."""
    return round((position_px[0] - whole_px[0]) * STEPS), round((position_px[1] - whole_px[1]) * STEPS)


def _most(field: Tensor, copies: int) -> int:
    return max(1, MOST_BYTES // (copies * field.numel() * field.element_size()))


def _ramp(field: Tensor, shift: Shift) -> Tensor:
    return shift_ramp(field, (shift[0] / STEPS, shift[1] / STEPS))
