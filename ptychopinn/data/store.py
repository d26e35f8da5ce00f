"""The data set on disk: memory-mapped TensorDicts, one folder for each experiment; each frame is stored once.

``STORE/000/frames`` (images, positions, label if stated), ``optics`` (probe, truth if known), ``groups`` (members, and which
are held out);
``STORE/store.json`` describes its sources. A store is written completely or not at all.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray

from ptychopinn.config.sections import DataConfig, TrainingConfig
from ptychopinn.data.experiment import Experiment
from ptychopinn.data.gather import ExperimentFrames
from ptychopinn.data.grouping import draw_groups
from ptychopinn.errors import FileFormatError, GeometryError, ProbeMismatchError, ReconstructionError
from ptychopinn.physics.scan_check import check_extent, check_light, check_spread
from ptychopinn.tensor_dict import TensorDict

SCHEMA_VERSION = 1
"""Version of the layout of a store; a change makes older programs refuse it."""
ABOUT = "store.json"


class ExperimentFacts(TypedDict):
    """Facts about one experiment of a store."""

    name: str
    frames: int
    groups: int
    held_out: int
    """Number of groups for validation."""
    modes: int
    has_truth: bool
    """Whether the truth is known, as an object or under each frame."""
    constants: dict[str, float]
    """Scaling constants, see :mod:`ptychopinn.model.cnn_scaling`."""


class StoreFacts(TypedDict):
    """Content of ``store.json``."""

    schema_version: int
    identity: str
    experiments: list[ExperimentFacts]
    refused: list[str]
    """Why scans were left out."""
    data: dict[str, object]
    """Fields of the :class:`DataConfig`."""


def build_store(
    folder: Path | str,
    scans: Iterable[Experiment],
    data: DataConfig,
    training: TrainingConfig,
    *,
    identity: str = "",
    refused: list[ReconstructionError] | None = None,
) -> None:
    """Write the data set of scans; it replaces an existing one.

    Parameters
    ----------
    identity
        Text that identifies scans and settings.
    refused
        Gets the errors of scans, which are then left out; None: the first error is raised.

    Raises
    ------
    GeometryError, ProbeMismatchError
        If a scan is not of the configured N or gives no group, or no scan is left.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(f".{folder.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        facts: StoreFacts = {
            "schema_version": SCHEMA_VERSION,
            "identity": identity,
            "experiments": _write_all(part, scans, data, training, refused),
            "refused": [],
            "data": asdict(data),
        }
        facts["refused"] = [str(fault) for fault in refused or ()]
        part.joinpath(ABOUT).write_text(json.dumps(facts, indent=1))
        shutil.rmtree(folder, ignore_errors=True)
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_all(
    part: Path,
    scans: Iterable[Experiment],
    data: DataConfig,
    training: TrainingConfig,
    refused: list[ReconstructionError] | None,
) -> list[ExperimentFacts]:
    """Write each scan into its own folder; return the facts about each."""
    about: list[ExperimentFacts] = []
    for scan in scans:
        folder = part / f"{len(about):03d}"
        try:
            about.append(_write(folder, scan, data, training, len(about)))
        except ReconstructionError as fault:
            if refused is None:
                raise
            refused.append(fault)
            shutil.rmtree(folder, ignore_errors=True)
        del scan  # its frames are freed before the next scan is read
    if not about:
        if refused and len(refused) == 1:
            raise refused[0]
        reasons = "; ".join(map(str, refused or ())) or "give at least one"
        raise GeometryError(f"there is no scan to train on: {reasons}")
    return about


def _write(folder: Path, scan: Experiment, data: DataConfig, training: TrainingConfig, number: int) -> ExperimentFacts:
    side = scan.amplitude.shape[-1]
    if side != data.N:
        raise ProbeMismatchError(
            f"{scan.name}: the frames are {side} px but N is {data.N}; set N to {side}, or crop them"
        )
    try:
        check_extent(scan.positions_px, side)
        check_spread(scan.positions_px)
        check_light(scan.amplitude)
    except GeometryError as fault:
        raise GeometryError(f"{scan.name}: {fault}") from None
    groups, centres = _groups(scan, data, training, number)
    held_out = _held_out(centres, training, number)
    training_frames = np.unique(groups[~held_out])
    frames = ExperimentFrames.of(scan, data, training_frames)
    optics = {"probe": torch.from_numpy(scan.probe)}
    if frames.truth is not None:
        optics["truth"] = frames.truth
    stored = {name: getattr(frames, name) for name in ("images", "positions_px", "start_px", "scan_index")}
    stored |= {} if frames.label is None else {"label": frames.label}
    drawn = {"nn_indices": torch.from_numpy(groups), "is_held_out": torch.from_numpy(held_out)}
    for name, tensors, size in (
        ("frames", stored, [len(frames.images)]),
        ("optics", optics, []),
        ("groups", drawn, [len(groups)]),
    ):
        TensorDict(tensors, batch_size=size).memmap(folder / name)
    return {
        "name": scan.name,
        "frames": len(frames.images),
        "groups": len(groups),
        "held_out": int(held_out.sum()),
        "modes": len(scan.probe),
        "has_truth": frames.truth is not None or frames.label is not None,
        "constants": dict(frames.constants),
    }


def _groups(
    scan: Experiment, data: DataConfig, training: TrainingConfig, number: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the groups of all scans of an experiment, at most ``n_groups``, and the frame that each was drawn around."""
    seed = training.seed if data.subsample_seed is None else data.subsample_seed
    rng = np.random.default_rng((seed, number))
    index = np.zeros(len(scan.amplitude), dtype=np.int64) if scan.scan_index is None else scan.scan_index
    parts = []
    for one in np.unique(index):
        of_scan = np.flatnonzero(index == one)
        try:
            groups, centres = draw_groups(scan.positions_px[of_scan], data, rng)
        except GeometryError as fault:
            raise GeometryError(f"{scan.name}: {fault}") from None
        parts.append((of_scan[groups], of_scan[centres]))
    groups, centres = (np.concatenate(part) for part in zip(*parts, strict=True))
    if training.n_groups is not None and training.n_groups < len(groups):
        chosen = np.sort(rng.permutation(len(groups))[: training.n_groups])
        groups, centres = groups[chosen], centres[chosen]
    return groups, centres


def _held_out(centres: NDArray[np.int64], training: TrainingConfig, number: int) -> NDArray[np.bool_]:
    """Return which groups are for validation: all groups drawn around positions that the seed selects."""
    places = np.unique(centres)
    count = round(training.validation_split * len(places))
    if training.validation_split > 0 and len(places) > 1:
        count = min(max(1, count), len(places) - 1)
    chosen = np.random.default_rng((training.seed, number, 1)).permutation(places)[:count]
    return np.isin(centres, chosen)


def store_facts(folder: Path | str) -> StoreFacts:
    """Return the facts about a store.

    Raises
    ------
    FileFormatError
        If there is no store, or another version of the program wrote it.
    """
    try:
        found = json.loads(Path(folder).joinpath(ABOUT).read_text())
        version = found["schema_version"]
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise FileFormatError(f"{folder}: not a data set of a training ({fault}); build it again") from fault
    if version != SCHEMA_VERSION:
        raise FileFormatError(
            f"{folder}: has schema {version}, but this program reads {SCHEMA_VERSION}; build it again"
        )
    found.setdefault("refused", [])  # stores of older versions do not list them
    facts: StoreFacts = found
    return facts
