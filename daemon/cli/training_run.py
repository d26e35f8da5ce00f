"""Runs a training for ``train`` and ``finetune``: data of any format, checkpoints, a stop that loses nothing."""

from __future__ import annotations

import json
import shutil
import signal
import time
import tomllib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import typer

from daemon.cli.batch import at_file
from daemon.cli.exit_codes import ExitCode
from daemon.cli.scan_input import positions_of, print_doubts, probe_of, read_data
from daemon.cli.workflow_config import RUN, workflow_of
from daemon.errors import ConfigError
from daemon.files import ScanFile, SeveralScansError, read_probe
from daemon.files.access import refusing
from daemon.files.beginning import read_beginning
from daemon.journal.reading import is_journal
from ptychopinn.config.manager import SECTIONS, ConfigManager
from ptychopinn.config.section import Sections
from ptychopinn.config.sections import DataConfig
from ptychopinn.data import Experiment, own_rank, read_training_file
from ptychopinn.detector.geometry import to_amplitude
from ptychopinn.errors import ConfigurationError, FileFormatError, ReconstructionError, TrainingInterruptedError
from ptychopinn.model.ptycho_model import PtychoModel
from ptychopinn.training import Trainer
from ptychopinn.training.interrupt import stopped_by
from ptychopinn.training.training_data import STORE, TEST_STORE

SUFFIXES = (".npz", ".cxi", ".h5", ".hdf5", ".nxs", ".ptyd", ".ptyr")
TRAINING_KEYS = ("diff3d", "diffraction")


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """The options of both verbs. ``work`` is the folder of checkpoints and log; None: beside the bundle."""

    config: Path | None = None
    settings: tuple[str, ...] = ()
    probe: Path | None = None
    pixel_size_m: float | None = None
    work: Path | None = None
    is_resumed: bool = False
    devices: int = 1
    mlflow: str | None = None
    is_compiled: bool = False


def scan_paths(data: Sequence[Path]) -> list[Path]:
    """Return the given files and the files in the given directories; a journal stays a directory."""
    found: list[Path] = []
    for path in data:
        if path.is_dir() and not is_journal(path):
            inside = sorted(one for one in path.iterdir() if one.suffix in SUFFIXES)
            if not inside:
                raise FileFormatError(
                    f"{path} contains no file with the ending {', '.join(SUFFIXES)}; give training data"
                )
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise FileFormatError(f"{path} does not exist; give training data")
    return found


def stated_data(options: TrainingOptions) -> list[Path]:
    """Return the data that the configuration names.

    Raises
    ------
    ConfigError
        If it names no data.
    """
    named = ConfigManager.from_dict(_stated(options)).update(options.settings).training_config.stated_data
    if not named:
        raise ConfigError("there is no training data; give files or directories of scans, or training.train_data_file")
    return [Path(name) for name in named]


def reader(
    options: TrainingOptions, nphotons: float, *, is_silent: bool = False, scratch: Path | None = None
) -> Callable[[Path], Experiment]:
    """Return a function that reads a data file for training and prints doubts about it, unless ``is_silent``.

    Training files are read in parts: doubts are those about their beginning, and the frames are kept in ``scratch`` on
    disk, if it is given.
    """
    probe = None if options.probe is None else read_probe(options.probe).probe

    def read(path: Path) -> Experiment:
        with at_file(path):
            return as_experiment(path)

    def as_experiment(path: Path) -> Experiment:
        is_own = _is_training_file(path)
        try:
            scan = read_beginning(path) if is_own else read_data(path)
        except SeveralScansError:
            return own_form(path)
        if not is_silent:
            print_doubts(scan, path)
        _refuse_nonsense(scan)
        if is_own:
            return own_form(path)
        positions, _ = positions_of(scan, path, options.pixel_size_m)
        return Experiment(
            name=path.name,
            amplitude=to_amplitude(scan.counts, scan.mask, None),
            positions_px=np.asarray(positions, dtype=np.float64),
            probe=probe_of(scan, path, options.probe).probe,
        )

    def own_form(path: Path) -> Experiment:
        found = read_training_file(path, nphotons, scratch=scratch)
        return found if probe is None else replace(found, probe=probe)

    return read


def _refuse_nonsense(scan: ScanFile) -> None:
    """Refuse a scan that would train wrongly. A missing overlap is allowed: single patterns train too."""
    fatal = next((one.text for one in scan.doubts if one.is_fatal and one.topic != "overlap"), None)
    if fatal is not None:
        raise FileFormatError(fatal)


def _is_training_file(path: Path) -> bool:
    """Whether a file is a training file of PtychoPINN; an unreadable one is none."""
    if path.suffix != ".npz" or not zipfile.is_zipfile(path):
        return False
    with refusing(path), path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        return any(key in archive for key in TRAINING_KEYS)


def configured(options: TrainingOptions, base: Mapping[str, Mapping[str, Any]], side_px: int) -> ConfigManager:
    """Return ``base``, overridden by the file, then by the settings. N is the side of the patterns."""
    configs = ConfigManager.from_dict(_merged({"data_config": {"N": side_px}}, base, _stated(options)))
    if options.devices > 1:
        configs.update(training_config={"n_devices": options.devices, "framework": "Lightning"})
    configs.update(options.settings)
    if side_px != configs.data_config.N:
        raise ConfigurationError(
            f"data.N is {configs.data_config.N} but the patterns have {side_px} px; remove data.N, or crop the patterns"
        )
    return configs


def _stated(options: TrainingOptions) -> dict[str, Mapping[str, Any]]:
    """Check and return the sections in a file or a tracked run, by their full names."""
    path = options.config
    if path is None:
        return {}
    whole = workflow_of(path, options.mlflow)
    if str(path).startswith(RUN):
        return dict(whole.to_dict())
    text = path.read_text(encoding="utf-8")
    tree = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    found = {}
    for name, section in SECTIONS.items():
        for key in (name, name.removesuffix("_config"), section.__name__):
            if key in tree:
                found[name] = tree[key]
    return found


def _merged(*trees: Mapping[str, Mapping[str, Any]]) -> Sections:
    out: Sections = {}
    for tree in trees:
        for section, values in tree.items():
            out.setdefault(section, {}).update(values)
    return out


def run_training(
    paths: Sequence[Path],
    output: Path,
    options: TrainingOptions,
    configs: ConfigManager,
    train: Callable[[Trainer, list[Path]], PtychoModel],
    *,
    as_json: bool,
) -> None:
    """Train in the work folder, write the bundle, print a summary."""
    work = _work_folder(output, options)
    configs.update(training_config={"output_dir": str(work.resolve())})
    begun = time.monotonic()
    refused: list[str] = []

    def on_refused(reason: str) -> None:
        typer.echo(f"ptycholive: {reason}; the file is not used", err=True)
        refused.append(reason)

    with stopped_by((signal.SIGINT, signal.SIGTERM)) as is_stopped:
        trainer = Trainer(
            configs,
            tracking_uri=options.mlflow,
            should_stop=is_stopped,
            is_compiled=options.is_compiled,
            read=reader(options, configs.data_config.nphotons, scratch=work),
            on_refused=on_refused,
        )
        model = _trained(trainer, paths, train)
    if own_rank() != 0:
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    digest = model.save(output)
    for store in (STORE, TEST_STORE):
        shutil.rmtree(work / store, ignore_errors=True)
    _print_summary(output, digest, model, trainer, time.monotonic() - begun, as_json=as_json)
    if refused:
        raise typer.Exit(ExitCode.REFUSED)


def _trained(
    trainer: Trainer, paths: Sequence[Path], train: Callable[[Trainer, list[Path]], PtychoModel]
) -> PtychoModel:
    try:
        return train(trainer, list(paths))
    except TrainingInterruptedError as fault:
        typer.echo(f"ptycholive: {fault}: repeat the command with --resume", err=True)
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def _work_folder(output: Path, options: TrainingOptions) -> Path:
    """Create and return the folder of checkpoints and log."""
    if output.suffix != ".zip":
        raise ConfigError(f"--output {output}: the name of a bundle must end in .zip")
    work = options.work or output.with_name(f"{output.stem}.training")
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise ConfigError(f"{work} cannot be created ({fault.strerror}); choose another --work") from fault
    return work


def _print_summary(
    output: Path, digest: str, model: PtychoModel, trainer: Trainer, seconds: float, *, as_json: bool
) -> None:
    about = model.bundle.provenance
    metrics = dict(trainer.history[-1]) if trainer.history else {}
    summary = {
        "output": str(output),
        "sha256": digest,
        "architecture": model.bundle.architecture,
        "scans": len(about["experiments"]),
        "groups": sum(one["groups"] for one in about["experiments"]),
        "epochs": len(trainer.history),
        "seconds": round(seconds, 1),
        "metrics": metrics,
        "training_loss": [line["train_loss"] for line in trainer.history if "train_loss" in line],
        "validation_loss": [line["val_loss"] for line in trainer.history if "val_loss" in line],
        "runs": trainer.run_ids,
    }
    if as_json:
        typer.echo(json.dumps(summary))
        return
    losses = ", ".join(f"{name} {metrics[name]:.4g}" for name in ("train_loss", "val_loss") if name in metrics)
    typer.echo(f"{output}: {summary['epochs']} epochs of {summary['groups']} groups in {seconds:.0f} s; {losses}")


def first_side_px(paths: Sequence[Path], options: TrainingOptions, output: Path) -> int:
    """Return the side of the patterns in the first readable file; large frames are kept beside ``output`` meanwhile."""
    read = reader(options, DataConfig().nphotons, is_silent=True, scratch=output.parent)
    faults: list[ReconstructionError] = []
    for path in paths:
        try:
            return int(read(path).amplitude.shape[-1])
        except ReconstructionError as fault:
            faults.append(fault)
    if len(faults) == 1:
        raise faults[0]
    raise FileFormatError(f"none of the {len(paths)} files is usable for training: {'; '.join(map(str, faults))}")
