"""Compares files and scales with the original's own code; by hand, since PtychoPINN is not on PyPI and CI has no other source.

    PYTHONPATH=. python tests/endurance/original_ptychopinn.py CHECKOUT

CHECKOUT is a folder with hoidn/PtychoPINN (GPL-3; last tried with 712c23f3). Its code is imported as it is, in this process
alone, with TensorFlow and a few others replaced by stubs: none of the functions used here computes with them. Prints one
line for each comparison; the exit code is 1 if one fails.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import json
import sys
import tempfile
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import torch

from daemon.files import read_scan
from ptychopinn.contract.training_export import write_training_file
from ptychopinn.data import read_training_file
from ptychopinn.model.cnn_scaling import CountStatistics
from ptychopinn.model.scale_contract import contract_fault
from tests.unit.ptychopinn.contract.test_absolute_scale import SCALE, scene, write
from tests.unit.ptychopinn.contract.test_upstream_files import a_scan

STUBBED = (
    "tensorflow",
    "tensorflow_addons",
    "tensorflow_probability",
    "keras",
    "tf_keras",
    "skimage",
    "pandas",
    "sklearn",
    "cv2",
    "dill",
    "tqdm",
    "numba",
    "imageio",
    "seaborn",
)
"""Packages that the original imports and that are not installed here."""


class _Stub(types.ModuleType):
    __path__: list[str] = []  # noqa: RUF012, a package without files

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock(name=name)


class _Stubs(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> Any:
        del path, target
        is_stubbed = name.partition(".")[0] in STUBBED
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if is_stubbed else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Stub(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def pairs_are_taken_alike(folder: Path) -> bool:
    """All pairs of version and domain are taken or refused alike; its explicit legacy pair alone is not had here."""
    del folder
    resolve = importlib.import_module("ptycho_torch.scaling_contract").resolve_scale_contract
    different = []
    for version in (None, "ci_intensity_v2", "legacy_v1", "x"):
        for domain in (None, "count_intensity", "normalized_amplitude", "x"):
            data = {"scale_contract_version": version, "measurement_domain": domain}
            ours = not contract_fault({"physics_forward_mode": "rectangular_scaled"}, data, has_statistics=True)
            try:
                theirs = bool(resolve(version, domain))
            except ValueError:
                theirs = False
            different += [] if ours == theirs else [(version, domain)]
    return different == [("legacy_v1", "normalized_amplitude")]


def amplitudes_become_the_same_photons(folder: Path) -> bool:
    """Photons and probe are those of its adapter; the photons are those of the metadata that it writes."""
    adapt = importlib.import_module("ptycho_torch.scaling_contract").adapt_normalized_amplitude_to_ci
    metadata = importlib.import_module("ptycho.metadata").MetadataManager
    counts, probe = scene()
    stated = {"physics_parameters": {"nphotons": counts.sum() / len(counts)}}
    path = write(folder / "plain.npz", counts, probe / SCALE, json.dumps(stated))
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files if name != "_metadata"}
    metadata.save_with_metadata(str(folder / "its.npz"), arrays, stated)
    roots, given = (torch.from_numpy(arrays[name]) for name in ("diffraction", "probeGuess"))
    photons, physical = adapt(roots, given, SCALE)
    scan, trained = read_scan(folder / "its.npz"), read_training_file(folder / "its.npz")
    found = ((scan.counts, photons), (trained.amplitude**2, photons), (scan.probe, physical), (trained.probe, physical))
    return all(np.allclose(np.squeeze(ours), theirs.numpy(), rtol=1e-5) for ours, theirs in found if ours is not None)


def statistics_are_the_same(folder: Path) -> bool:
    """The factor of the network's input and the mean counts are those of its function."""
    del folder
    derive = importlib.import_module("ptycho_torch.scaling_contract").derive_ci_experiment_statistics
    counts = torch.tensor(scene()[0])
    theirs, ours = derive(counts[:, None], counts.shape[-1]), CountStatistics.of(counts)
    return bool(
        np.isclose(float(theirs.rms_input_scale), ours.rms_input_scale)
        and np.isclose(float(theirs.mean_measured_intensity), ours.mean_measured_intensity)
    )


def our_files_are_read(folder: Path) -> bool:
    """``RawData.from_file`` reads the default of ``convert``: roots of photons, positions (x, y), the probe."""
    scan = a_scan()
    write_training_file(folder / "ours.npz", scan, "ptychopinn")
    raw = importlib.import_module("ptycho.raw_data").RawData.from_file(str(folder / "ours.npz"))
    with np.load(folder / "ours.npz") as archive:
        y, x = (scan.positions_px - archive["object_origin_px"]).T
    pairs = ((raw.diff3d**2, scan.counts), (raw.xcoords, x), (raw.ycoords, y), (raw.probeGuess, scan.probe[0]))
    return all(np.allclose(theirs, ours, atol=1e-5) for theirs, ours in pairs)


COMPARISONS: tuple[Callable[[Path], bool], ...] = (
    pairs_are_taken_alike,
    amplitudes_become_the_same_photons,
    statistics_are_the_same,
    our_files_are_read,
)


def main() -> None:
    """Run all comparisons."""
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "ptycho_torch").is_dir():
        sys.exit("give the folder of a checkout of hoidn/PtychoPINN")
    sys.path.insert(0, sys.argv[1])
    sys.meta_path.insert(0, _Stubs())
    with tempfile.TemporaryDirectory() as folder:
        results = [compare(Path(folder)) for compare in COMPARISONS]
    for compare, is_alike in zip(COMPARISONS, results, strict=True):
        print(f"{'ok    ' if is_alike else 'DIFFERS'} {(compare.__doc__ or '').splitlines()[0]}")
    sys.exit(not all(results))


if __name__ == "__main__":
    main()
