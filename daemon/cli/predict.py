"""``predict``: reconstruct data files with a model."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import NamedTuple

import typer

from daemon.cli.batch import FileBatch
from daemon.cli.prediction import PredictOptions, Predictor
from daemon.cli.truth import truth_words
from daemon.cli.verdict import PictureVerdict
from daemon.errors import ConfigError
from daemon.files import scans_of
from daemon.messages.summaries import PredictionSummary

PRODUCT_SUFFIXES = (".h5", ".hdf5", ".npz")
"""Endings of an output that is one file, not a directory."""


class Job(NamedTuple):
    """A scan to predict: its file, its number if the file holds several, its product."""

    path: Path
    number: int | None
    target: Path


def run_predict(data: list[Path], output: Path, options: PredictOptions, as_json: bool) -> None:
    """Predict each scan. A file that cannot be read is skipped; the exit code is then 3."""
    jobs = jobs_of(data, output, options.scan_number)
    predictor, batch = Predictor(options), FileBatch()
    done = []
    for job in jobs:
        summary = batch.attempt(job.path, partial(predictor.predict, target=job.target, number=job.number))
        if summary is None:
            continue
        done.append(summary)
        if not as_json:
            typer.echo(prediction_line(summary))
        if summary["verdict"] == "nonsense":
            batch.refuse()
    if done and done[-1]["looks"] < options.looks:
        typer.echo(f"the model {done[-1]['model']} supports one look; --looks {options.looks} is ignored", err=True)
    if as_json:
        typer.echo(json.dumps(done))
    batch.end()


def jobs_of(data: list[Path], output: Path, number: int | None) -> list[Job]:
    """Return the scans to predict: that of ``number`` in each file, or each. Products of several scans are numbered.

    Files of the same name get the name of their folder as a prefix.
    """
    scans = [1 if number is not None else scans_of(path) for path in data]
    if len(data) == 1 and scans[0] > 1 and output.suffix.lower() in PRODUCT_SUFFIXES and not output.is_dir():
        raise ConfigError(
            f"{data[0]} holds {scans[0]} scans, but --output {output} is one file; give a directory, or --scan"
        )
    is_folder = sum(scans) > 1 or len(data) > 1 or output.is_dir()
    try:
        (output if is_folder else output.parent).mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        advice = "for several scans, give a directory" if is_folder else "choose another place"
        raise ConfigError(f"--output {output} cannot be created ({fault.strerror}); {advice}") from fault
    if not is_folder:
        return [Job(data[0], number, output)]
    stems = [path.name.split(".")[0] for path in data]
    uses = Counter(stems)
    names = [s if uses[s] == 1 else f"{p.resolve().parent.name}-{s}" for s, p in zip(stems, data, strict=True)]
    jobs = []
    for path, name, count in zip(data, names, scans, strict=True):
        if count == 1:
            jobs.append(Job(path, number, output / f"{name}.h5"))
        else:
            jobs += [Job(path, one, output / f"{name}-scan{one}.h5") for one in range(count)]
    _refuse_twice([job.target for job in jobs])
    return jobs


def _refuse_twice(targets: list[Path]) -> None:
    twice = next((target for target, count in Counter(targets).items() if count > 1), None)
    if twice is not None:
        raise ConfigError(
            f"two of the files would be written to {twice}; run predict once for each, with different output directories"
        )


def prediction_line(summary: PredictionSummary) -> str:
    """Return the lines for the screen."""
    rfactors = ", ".join(map(_number, summary["rfactors"]))
    refined = f", refined {_number(summary['rfactor'])}" if summary["sweeps"] else ""
    refused = f", {len(summary['refused'])} refused" if summary["refused"] else ""
    speed = f"{summary['frames_per_s']:.0f} frames/s"
    verdict = PictureVerdict(summary["doubts"]).line
    doubts = "".join(
        f"\n{summary['output']}: {line}" for line in (summary["resolution"], summary["positions"], verdict) if line
    )
    truth = truth_words(summary["comparison"])
    return f"{summary['output']}: {summary['frames']} frames{refused}, {speed}, R {rfactors}{refined}{truth}{doubts}"


def _number(rfactor: float | None) -> str:
    return "unknown" if rfactor is None else f"{rfactor:.4f}"
