"""Simulated training data, as described by a DatagenConfig."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.config import legacy
from ptychopinn.config.manager import ConfigManager
from ptychopinn.contract.training_export import Dialect, TrainingScan, write_training_file
from ptychopinn.errors import ConfigurationError, FileFormatError
from ptychopinn.simulate import PROBES, TEXTURES, Recipe, SimulatedScan, draw_recipe, simulate_scan
from ptychopinn.simulate.detector import DetectorFaults

OBJECT_CLASSES = {"dead_leaves": "leaves", "natural_patch": "noise", "procedural": "shapes"}
"""PtychoPINN's kinds of objects, and the most similar texture here."""
PIXEL_SIZE_M = 2.8e-8
"""Object pixel written into simulated files, m: that of the demo's scan."""


class Datagen:
    """Makes scans: for each probe ``objects_per_probe`` objects, each with ``diff_per_object`` patterns.

    Parameters
    ----------
    configs
        ``DatagenConfig``; ``N`` and ``nphotons`` of DataConfig; ``seed`` of TrainingConfig.
    probes : sequence of (modes, N, N), optional
        In place of the files ``probe_paths``; without either, probes are simulated.

    Raises
    ------
    ConfigurationError
        If the kind of object is not known.
    FileFormatError
        If a probe cannot be read.
    """

    def __init__(self, configs: ConfigManager | None = None, probes: Sequence[NDArray[np.complex64]] = ()) -> None:
        self._configs = configs or ConfigManager()
        legacy.update_params(self._configs)
        wanted = self._configs.datagen_config
        self._texture = OBJECT_CLASSES.get(wanted.object_class, wanted.object_class)
        if self._texture not in TEXTURES:
            known = ", ".join([*TEXTURES, *OBJECT_CLASSES])
            raise ConfigurationError(f"DatagenConfig.object_class is {wanted.object_class}; use one of {known}")
        arrays = list(probes) or [_read_probe(Path(path)) for path in wanted.probe_paths]
        self._probes: list[Tensor | None] = [torch.from_numpy(_modes(array)) for array in arrays] or [None]

    def __len__(self) -> int:
        """Return the number of scans."""
        return len(self._probes) * self._configs.datagen_config.objects_per_probe

    def scans(self) -> Iterator[SimulatedScan]:
        """Yield the scans; the same seed gives the same scans."""
        objects = self._configs.datagen_config.objects_per_probe
        for number in range(len(self)):
            yield simulate_scan(self._recipe(number), self._probes[number // objects])

    def write(self, directory: Path | str, dialect: Dialect = "diff3d") -> Iterator[Path]:
        """Write the scans as training files ``scan-0000.npz`` and so on; yield each path when it is written."""
        directory = Path(directory)
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise ConfigurationError(
                f"{directory} cannot be created ({fault.strerror}); choose another directory"
            ) from fault
        for number, scan in enumerate(self.scans()):
            path = directory / f"scan-{number:04d}.npz"
            write_training_file(path, training_scan(scan, PIXEL_SIZE_M), dialect)
            yield path

    def _recipe(self, number: int) -> Recipe:
        data, wanted = self._configs.data_config, self._configs.datagen_config
        rng = np.random.default_rng((self._configs.training_config.seed, number))
        drawn = draw_recipe(data.N, rng, probe_kinds=list(PROBES), textures=[self._texture], modes=1)
        return Recipe(
            size_px=data.N,
            probe_kind=drawn.probe_kind,
            footprint_ratio=drawn.footprint_ratio,
            texture=self._texture,
            phase_rad=drawn.phase_rad,
            absorption=drawn.absorption,
            counts=data.nphotons,
            track=drawn.track,
            overlap_ratio=drawn.overlap_ratio,
            frames=wanted.diff_per_object,
            faults=DetectorFaults(stop_px=wanted.beamstop_diameter / 2),
            object_px=wanted.image_size,
            seed=drawn.seed,
        )


def training_scan(scan: SimulatedScan, pixel_size_m: float) -> TrainingScan:
    """Return a simulated scan for a training file: photons, and a mask of pixels without data."""
    amplitude = scan.amplitude.numpy()
    counts = np.rint(np.maximum(amplitude, 0) ** 2)
    return TrainingScan(
        counts=counts.astype(np.uint16 if counts.max() < 65535 else np.uint32),
        positions_px=scan.positions_px,
        probe=scan.probe.numpy(),
        object=scan.object.numpy(),
        mask=np.asarray((amplitude < 0).all(axis=0), dtype=bool),
        extras={"object_pixel_size_m": pixel_size_m},
    )


def _read_probe(path: Path) -> NDArray[np.complex64]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            key = next((key for key in ("probeGuess", "probe") if key in archive), None)
            array = None if key is None else np.asarray(archive[key])
    except FileNotFoundError:
        raise FileFormatError(f"{path}: there is no such file; give an NPZ with a probe") from None
    except Exception as fault:  # whatever a reader meets
        raise FileFormatError(f"{path}: not an NPZ file, or damaged; give an NPZ file with a probe") from fault
    if array is None or array.ndim not in (2, 3) or not np.iscomplexobj(array):
        raise FileFormatError(f"{path}: has no complex probeGuess or probe (modes, N, N); give a file with one")
    return array.astype(np.complex64)


def _modes(probe: NDArray[np.complex64]) -> NDArray[np.complex64]:
    return probe[None] if probe.ndim == 2 else probe
