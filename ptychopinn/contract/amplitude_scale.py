"""From normalised amplitudes to photons: the scale S of a file's patterns, and the probe that belongs to them.

PtychoPINN converts amplitudes to its count regime by photons = (S * amplitude)^2 and probe = S * probe, since the two share
their units. Its simulated files state the mean photons of a frame in ``_metadata``, a pickled JSON text.
"""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from ptychopinn.physics.unit_ratio import UNIT_RATIO

METADATA = "_metadata"
ROUNDING = 1e-5
"""Relative difference from 1 up to which a scale is rounding: a float32 root is good to 6e-8, its square to 1.2e-7."""
_NO_METADATA = (
    *(ValueError, KeyError, TypeError, IndexError, EOFError, AttributeError),
    *(MemoryError, OverflowError, pickle.UnpicklingError),
)
"""Errors of json and pickle for a text or a pickle of another kind, or a damaged one."""
LARGEST_TEXT = 1 << 20
"""Greatest size of the metadata that is read, 1 MiB; PtychoPINN's have 1 KiB."""


def stated_photons(archive: Mapping[str, Any]) -> float | None:
    """Return the mean photons of a frame that ``_metadata`` of a file of PtychoPINN states; None if there is none.

    The pickle in it is read without running anything that it names.
    """
    if METADATA not in archive or not isinstance(archive, NpzFile) or archive.zip is None:
        return None
    with suppress(*_NO_METADATA):
        with archive.zip.open(f"{METADATA}.npy") as stream:
            found = json.loads(_text(stream))["physics_parameters"]["nphotons"]
        if isinstance(found, int | float) and 0 < found < float("inf"):
            return float(found)
    return None


def probe_with_patterns(probe: NDArray[Any], frame_energy: float, scale: float) -> NDArray[Any]:
    """Return a probe scaled as its patterns were, if the two had the same units, else unchanged.

    Parameters
    ----------
    frame_energy
        Sum of the squares of the brightest frame, in the units of the file.
    scale
        Photons are (scale * amplitude)^2.
    """
    energy = float(np.square(np.abs(probe), dtype=np.float64).sum())
    share_units = frame_energy > 0 and 1 / UNIT_RATIO < energy / frame_energy < UNIT_RATIO
    return (probe * scale).astype(np.complex64) if share_units else probe


def brightest(amplitude: NDArray[Any]) -> float:
    """Return the greatest sum of squares of a frame ``(n, N, N)``; values below 0 and not finite ones have no data."""
    sums = (np.square(np.where(np.isfinite(a) & (a > 0), a, 0), dtype=np.float64).sum() for a in amplitude)
    return float(max(sums, default=0.0))


def scale_between(amplitude: NDArray[Any], photons: NDArray[Any]) -> float:
    """Return S with photons = (S * amplitude)^2; 1 if it is 1 but for rounding, or nothing is lit."""
    place = int(np.nanargmax(photons)) if np.isfinite(photons).any() else 0
    root = float(amplitude.flat[place])
    scale = float(photons.flat[place]) ** 0.5 / root if root > 0 else 1.0
    return 1.0 if abs(scale - 1) < ROUNDING else scale


class _Inert:
    """In place of everything that a pickle names: it only keeps the state."""

    def __init__(self, *_: object) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _InertUnpickler(pickle.Unpickler):
    def find_class(self, _module: str, _name: str) -> Any:
        return _Inert


def _text(stream: IO[bytes]) -> str:
    """Return the text in an array of one object."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    _, _, dtype = read(stream)
    if not dtype.hasobject:
        return str(np.frombuffer(stream.read(LARGEST_TEXT), dtype)[0])
    found = _InertUnpickler(io.BytesIO(stream.read(LARGEST_TEXT))).load()
    return str(found.state[-1][0])
