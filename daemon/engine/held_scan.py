"""A running scan for requests of other threads: copies, never the engine's own arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daemon.engine.scan import ScanWork
from ptychopinn.device import to_host


@dataclass(frozen=True, slots=True, eq=False)
class HeldScan:
    """Stitched frames in the order of stitching, the probes, and what is in memory of single frames.

    ``indexes`` ``(n,)`` and ``told_px`` ``(n, 2)`` [y, x]. ``probe`` ``(modes, N, N)`` is that of the newest picture,
    ``first_probe`` the one that the scan began with. ``offsets_px`` gives by how much frames lie
    elsewhere than told, None where they may not; ``rfactors`` gives R by index; ``pattern`` gives the amplitudes ``(N, N)`` of a
    frame.
    """

    indexes: NDArray[np.int64]
    told_px: NDArray[np.float64]
    probe: NDArray[np.complex64]
    first_probe: NDArray[np.complex64]
    offsets_px: Callable[[Sequence[int]], NDArray[np.float64]] | None
    rfactors: Callable[[], dict[int, float]]
    pattern: Callable[[int], NDArray[np.float32] | None]


def held(work: ScanWork) -> HeldScan:
    """Return copies of what a running scan holds; safe from any thread."""
    indexes, told_px = work.places.copied()
    refiner, first = work.refiner, work.model.probe
    return HeldScan(
        indexes=indexes,
        told_px=told_px,
        probe=np.asarray(to_host(first if refiner is None else refiner.probe), dtype=np.complex64),
        first_probe=np.asarray(to_host(first), dtype=np.complex64),
        offsets_px=work.offsets_px,
        rfactors=dict if refiner is None else refiner.frame_rfactors,
        pattern=work.pattern,
    )
