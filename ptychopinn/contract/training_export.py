"""Writing training files without loss, in one of three dialects; ``measurement_domain`` states what the patterns are.

``diffraction`` contains sqrt(photons), ``diff3d`` (Ptychodus) the photons; ``ptychopinn`` contains sqrt(photons) under both
keys, so that both loaders of PtychoPINN read it; they also need a probe of one mode as ``(N, N)``. Coordinates are in the
object's frame, x before y; ``coords_relative`` is centre minus position. Roots of photons are float32 if their squares
recover the photons exactly, else float64; 0 = no data. ``bad_pixels`` marks pixels without data in every frame, ``no_data``
those without data in some frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ptychopinn.atomic import atomic_path
from ptychopinn.contract.no_data import marks, roots
from ptychopinn.errors import GeometryError
from ptychopinn.physics.scan_check import check_extent

Dialect = Literal["diffraction", "diff3d", "ptychopinn"]


@dataclass(frozen=True, slots=True, eq=False)
class TrainingScan:
    """A scan for training.

    Parameters
    ----------
    counts : (n, N, N) integer or float
        Photons, zero frequency in the middle.
    positions_px : (n, 2) float64
        [y, x], of any origin.
    probe : (modes, N, N) complex64
    object : (H, W) complex64, optional
        The truth or a guess; its pixel (0, 0) is at ``object_origin_px`` [y, x].
    scan_index : (n,) int64, optional
    mask : (N, N) bool, optional
        True = bad.
    members : (g, C) int64, optional
        Frames of each group; None: each frame is a group.
    extras
        Further entries of the contract: optics, ``position_m``, ``frame_index``.

    Raises
    ------
    GeometryError
        If shapes do not fit together, or positions are not finite.
    """

    counts: NDArray[Any]
    positions_px: NDArray[np.float64]
    probe: NDArray[np.complex64]
    object: NDArray[np.complex64] | None = None
    object_origin_px: tuple[float, float] = (0.0, 0.0)
    scan_index: NDArray[np.int64] | None = None
    mask: NDArray[np.bool_] | None = None
    members: NDArray[np.int64] | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        frames, *sides = self.counts.shape
        if len(sides) != 2 or sides[0] != sides[1] or list(self.probe.shape[-2:]) != sides:
            raise GeometryError(
                f"patterns {self.counts.shape} and probe {self.probe.shape} do not fit together; crop them to one square"
            )
        if self.positions_px.shape != (frames, 2) or not np.isfinite(self.positions_px).all():
            raise GeometryError(f"the positions are not {frames} finite pairs; give one [y, x] for each pattern")
        if self.members is not None and (self.members.min(initial=0) < 0 or self.members.max(initial=0) >= frames):
            raise GeometryError(f"a group has a member outside the {frames} frames; number them from 0")


def write_training_file(path: Path | str, scan: TrainingScan, dialect: Dialect = "diffraction") -> None:
    """Write a compressed training file; it gets its name when it is complete."""
    origin, picture = _object(scan)
    own = scan.positions_px - origin
    values: dict[str, Any] = {
        **_patterns(scan.counts, dialect),
        "xcoords": own[:, 1],
        "ycoords": own[:, 0],
        **group_coordinates(own, scan.members),
        "scan_index": np.zeros(len(own), np.int64) if scan.scan_index is None else scan.scan_index,
        "probeGuess": scan.probe[0] if scan.probe.ndim == 3 and len(scan.probe) == 1 else scan.probe,
        "objectGuess": picture,
        "object_origin_px": origin,
        **scan.extras,
    }
    always, some = marks(scan.counts)
    bad = always if scan.mask is None or always is None else always | scan.mask
    if bad is not None or scan.mask is not None:
        values["bad_pixels"] = scan.mask if bad is None else bad
    if some is not None and dialect != "diff3d":
        values["no_data"] = some
    with atomic_path(Path(path)) as part, part.open("xb") as stream:
        np.savez_compressed(stream, **values)


def group_coordinates(positions_px: NDArray[np.float64], members: NDArray[np.int64] | None) -> dict[str, NDArray[Any]]:
    """Return the coordinates of groups ``(g, C)`` of frames at positions ``(n, 2)`` [y, x], in the form of the contract."""
    index = np.arange(len(positions_px))[:, None] if members is None else members
    of_members = positions_px[index][..., ::-1].transpose(0, 2, 1)[:, None]
    offsets = of_members.mean(axis=3, keepdims=True)
    return {"coords_offsets": offsets, "coords_relative": offsets - of_members, "nn_indices": index}


def _patterns(counts: NDArray[Any], dialect: Dialect) -> dict[str, Any]:
    if dialect == "diff3d":
        return {"diff3d": counts, "measurement_domain": "count_intensity"}
    amplitude = roots(counts)
    stated = {"photon_scale": 1.0, "photons_dtype": counts.dtype.str, "measurement_domain": "normalized_amplitude"}
    both = {"diff3d": amplitude.astype(np.float32)} if dialect == "ptychopinn" else {}
    return {"diffraction": amplitude, **both, **stated}


def _object(scan: TrainingScan) -> tuple[NDArray[np.float64], NDArray[np.complex64]]:
    """Return the origin [y, x] and the object; if it is unknown, ones that cover all patches."""
    if scan.object is not None:
        return np.asarray(scan.object_origin_px, dtype=np.float64), scan.object
    side = scan.counts.shape[-1]
    check_extent(scan.positions_px, side)
    low, high = (edge(scan.positions_px, axis=0) for edge in (np.min, np.max))
    origin = np.floor(low) - side // 2
    rows, columns = (np.ceil(high - origin) + (side + 1) // 2 + 1).astype(int)
    return origin, np.ones((rows, columns), dtype=np.complex64)
