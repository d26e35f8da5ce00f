"""The two measured scans of ``bench real``: the shipped Siemens star, and the spiral from a file that the user has."""

from __future__ import annotations

import bz2
import io
import pickle
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from daemon.cli.demo import PROBE, SCAN
from daemon.cli.scan_input import positions_of
from daemon.files import read_probe, read_scan
from ptychopinn.detector.geometry import to_amplitude
from ptychopinn.errors import FileFormatError
from ptychopinn.physics.diffraction import vacuum_counts

SPIRAL_KEYS = ("counts", "position_measured_px", "position_corrected_px", "probe")
ARCHIVED = "tests/data/position-error-247.pickle.bz2"
"""The spiral in the source archive of tike 0.26.0."""
ALLOWED = {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}
"""What the pickle may name, beside NumPy's functions that rebuild arrays."""


@dataclass(frozen=True, slots=True, eq=False)
class RealCase:
    """A scan with the positions that the engines get; ``true_px`` are the corrected ones where those are others."""

    name: str
    amplitude: torch.Tensor
    positions_px: NDArray[np.float64]
    true_px: NDArray[np.float64]
    probe: torch.Tensor
    pixel_size_m: float | None

    @property
    def finds_positions(self) -> bool:
        """Whether the engines have to find the positions."""
        return self.true_px is not self.positions_px

    @property
    def sample(self) -> str:
        """The first word of the name: cases of one sample have the same frames and true positions."""
        return self.name.partition(",")[0]

    @property
    def slug(self) -> str:
        """The name in file names."""
        return "-".join(self.name.replace(",", "").split())

    def rows(self, some: slice) -> RealCase:
        """Return the case with some of its frames only."""
        told = self.positions_px[some]
        true = self.true_px[some] if self.finds_positions else told
        return replace(self, amplitude=self.amplitude[some], positions_px=told, true_px=true)


def real_cases(spiral: Path | None, frames: int | None) -> list[RealCase]:
    """Return the star and, with a file, the spiral with corrected and with measured positions."""
    cases = [_star(), *([] if spiral is None else _spirals(spiral))]
    return [case.rows(slice(frames)) for case in cases]


def _star() -> RealCase:
    scan = read_scan(SCAN)
    positions_px, pixel_size_m = positions_of(scan, SCAN, None)
    amplitude = torch.from_numpy(to_amplitude(scan.counts, scan.mask, None))
    probe = torch.from_numpy(read_probe(PROBE).probe)
    return RealCase("star", amplitude, positions_px, positions_px, probe=probe, pixel_size_m=pixel_size_m)


def _spirals(path: Path) -> list[RealCase]:
    counts, measured, corrected, modes = _spiral_arrays(path)
    amplitude = torch.from_numpy(to_amplitude(counts, None, None))
    half = counts.shape[-1] / 2
    told, true = (each.astype(np.float64) + half for each in (measured, corrected))
    probe = torch.from_numpy(modes.astype(np.complex64))
    probe *= float((vacuum_counts(amplitude) / probe.abs().square().sum()) ** 0.5)
    return [
        RealCase("spiral, corrected positions", amplitude, true, true, probe=probe, pixel_size_m=None),
        RealCase("spiral, measured positions", amplitude, told, true, probe=probe, pixel_size_m=None),
    ]


def _spiral_arrays(path: Path) -> list[NDArray[Any]]:
    """Return counts ``(n, N, N)``, measured and corrected corners ``(n, 2)``, probe ``(modes, N, N)``."""
    try:
        if tarfile.is_tarfile(path):
            return _archived(path)
        with np.load(path, allow_pickle=False) as file:
            return [file[key] for key in SPIRAL_KEYS]
    except (OSError, KeyError, ValueError, EOFError, pickle.UnpicklingError, tarfile.TarError) as fault:
        raise FileFormatError(
            f"{path}: is neither an NPZ with {', '.join(SPIRAL_KEYS)} nor tike's source archive with {ARCHIVED} ({fault})"
        ) from fault


def _archived(path: Path) -> list[NDArray[Any]]:
    with tarfile.open(path) as archive:
        names = [name for name in archive.getnames() if name.endswith(ARCHIVED)]
        member = archive.extractfile(names[0]) if names else None
        if member is None:
            raise KeyError(ARCHIVED)
        parts = _ArraysOnly(io.BytesIO(bz2.decompress(member.read()))).load()
    counts, measured, corrected, probe = (np.asarray(part) for part in parts)
    mean, half = counts.mean(axis=0), counts.shape[-1] // 2
    if mean[:4, :4].sum() > mean[half - 2 : half + 2, half - 2 : half + 2].sum():  # the zero frequency is at the corner
        counts = np.fft.fftshift(counts, axes=(1, 2))
    return [counts, measured, corrected, probe.reshape(-1, *probe.shape[-2:])]


class _ArraysOnly(pickle.Unpickler):
    """Rebuilds lists of arrays and refuses everything else: a pickle may name any function."""

    def find_class(self, module: str, name: str) -> Any:
        is_rebuilding = module.startswith("numpy") and name in ("_reconstruct", "_frombuffer", "scalar")
        if (module, name) in ALLOWED or is_rebuilding:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is not an array")
