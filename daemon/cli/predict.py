"""``predict``: reconstruct data files with a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from daemon.cli.batch import FileBatch
from daemon.cli.prediction import PredictOptions, Predictor
from daemon.cli.truth import truth_words
from daemon.cli.verdict import PictureVerdict
from daemon.errors import ConfigError


def run_predict(data: list[Path], output: Path, options: PredictOptions, as_json: bool) -> None:
    """Predict each file. A file that cannot be read is skipped; the exit code is then 3."""
    targets = dict(zip(data, _targets(data, output), strict=True))
    predictor, batch = Predictor(options), FileBatch()
    done = []
    for path in data:
        summary = batch.attempt(path, lambda each: predictor.predict(each, targets[each]))
        if summary is None:
            continue
        done.append(summary)
        if not as_json:
            typer.echo(_line(summary))
        if summary["verdict"] == "nonsense":
            batch.refuse()
    if done and done[-1]["looks"] < options.looks:
        typer.echo(f"the model {done[-1]['model']} supports one look; --looks {options.looks} is ignored", err=True)
    if as_json:
        typer.echo(json.dumps(done))
    batch.end()


def _targets(data: list[Path], output: Path) -> list[Path]:
    """Return the product file of each data file. Files of the same name get the name of their folder as a prefix."""
    is_folder = len(data) > 1 or output.is_dir()
    try:
        (output if is_folder else output.parent).mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        advice = "for several files, give a directory" if is_folder else "choose another place"
        raise ConfigError(f"--output {output} cannot be created ({fault.strerror}); {advice}") from fault
    if not is_folder:
        return [output]
    stems = [path.name.split(".")[0] for path in data]
    names = [s if stems.count(s) == 1 else f"{p.resolve().parent.name}-{s}" for s, p in zip(stems, data, strict=True)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(
            f"two of the files would be written to {output / twice}.h5; run predict once for each, "
            "with different output directories"
        )
    return [output / f"{name}.h5" for name in names]


def _line(summary: dict[str, Any]) -> str:
    rfactors = ", ".join(map(_number, summary["rfactors"]))
    refined = f", refined {_number(summary['rfactor'])}" if summary["sweeps"] else ""
    refused = f", {len(summary['refused'])} refused" if summary["refused"] else ""
    speed = f"{summary['frames_per_s']:.0f} frames/s"
    verdict = PictureVerdict(summary["doubts"]).line
    doubts = "".join(f"\n{summary['output']}: {line}" for line in (summary["positions"], verdict) if line)
    truth = truth_words(summary["comparison"])
    return f"{summary['output']}: {summary['frames']} frames{refused}, {speed}, R {rfactors}{refined}{truth}{doubts}"


def _number(rfactor: float | None) -> str:
    return "unknown" if rfactor is None else f"{rfactor:.4f}"
