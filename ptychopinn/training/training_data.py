"""The data sets of a training: built once in its folder, opened as training groups and validation groups."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ptychopinn.config.manager import ConfigManager
from ptychopinn.config.sections import TrainingConfig
from ptychopinn.data.dataset import PtychoDataset, StorePart
from ptychopinn.data.experiment import Experiment
from ptychopinn.data.shared import ReadScan, ScanSource, own_rank, share_store
from ptychopinn.data.store import store_facts
from ptychopinn.data.training_file import training_files
from ptychopinn.errors import FileFormatError, GeometryError
from ptychopinn.training.neighbourhood import neighbourhood_config
from ptychopinn.training.task import neighbourhood_frames

STORE, TEST_STORE = "data", "test-data"
"""Folders of the data set to train on, and of that of ``test_data_file``."""


def scan_sources(data: Sequence[Path | str | Experiment]) -> list[ScanSource]:
    """Return the files among the data and in directories among them, then the scans in memory."""
    files = [one for one in data if not isinstance(one, Experiment)]
    scans: list[ScanSource] = [one for one in data if isinstance(one, Experiment)]
    return [*(training_files(files) if files or not scans else []), *scans]


def build_data(
    folder: Path,
    configs: ConfigManager,
    sources: Sequence[ScanSource],
    read: ReadScan,
    on_refused: Callable[[str], object] | None,
) -> str:
    """Build the data sets in a folder, unless they exist; return their identity.

    Raises
    ------
    ReconstructionError
        If they cannot be built, or ``test_data_file`` is missing.
    """
    test = _test_files(configs.training_config)
    data, training = configs.data_config, configs.training_config
    frames = neighbourhood_frames(training, configs.model_config)
    if frames:
        data, read = neighbourhood_config(data, frames), _in_photons(read)
        sources = [s.with_photon_probe() if isinstance(s, Experiment) else s for s in sources]
    identity = share_store(folder / STORE, sources, read, data, training, is_lenient=on_refused is not None)
    if on_refused is not None and own_rank() == 0:
        for reason in store_facts(folder / STORE)["refused"]:
            on_refused(reason)
    if not test:
        return identity
    return json.dumps([identity, share_store(folder / TEST_STORE, test, read, data, _whole(training))])


def _whole(training: TrainingConfig) -> TrainingConfig:
    return replace(training, validation_split=0.0, n_groups=None)


def _test_files(training: TrainingConfig) -> list[Path]:
    if training.test_data_file is None:
        return []
    path = Path(training.test_data_file)
    if not path.exists():
        raise FileFormatError(f"{path}: there is no such file; correct test_data_file, or leave it out")
    return training_files([path])


def open_data(folder: Path, configs: ConfigManager) -> tuple[PtychoDataset, PtychoDataset | None]:
    """Return the groups to train on and those for the validation: ``test_data_file``, else held-out ones, if any."""
    model, has_test = configs.model_config, configs.training_config.test_data_file is not None
    is_supervised = model.mode == "Supervised"

    def opened(store: str, part: StorePart) -> PtychoDataset:
        sigma = model.probe_mask_sigma if model.probe_mask else None
        return PtychoDataset(folder / store, part, has_labels=is_supervised, probe_mask_sigma_px=sigma)

    training = opened(STORE, "all" if has_test else "training")
    validation = opened(TEST_STORE, "all") if has_test else opened(STORE, "validation")
    bare = [about["name"] for one in (training, validation) for about in one.facts if not about["has_truth"]]
    if is_supervised and bare:
        raise GeometryError(
            f"{bare[0]}: has no objectGuess and no label, which supervised training needs; set mode to Unsupervised"
        )
    return training, validation if len(validation) else None


def _in_photons(read: ReadScan) -> ReadScan:
    return lambda path: read(path).with_photon_probe()
