"""``simulate``: write simulated scans as NPZ files that ``replay``, ``refine`` and other programs read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
import typer

from daemon.cli.progress import progress
from daemon.cli.workflow_config import workflow_of
from daemon.errors import ConfigError
from daemon.files import read_probe
from ptychopinn.contract.training_export import write_training_file
from ptychopinn.errors import ProbeMismatchError
from ptychopinn.simulate import PROBES, TEXTURES, TRACKS, Recipe, simulate_scan
from ptychopinn.workflow.datagen import Datagen, training_scan

PIXEL_SIZE_M = 2.8e-8
"""Size of the object pixel, m, unless a probe file gives it: about that of the demo scan."""


def run_simulate(output: Path, recipe: Recipe, probe_file: Path | None, count: int, as_json: bool) -> None:
    """Write one scan, or ``count`` scans with consecutive seeds to numbered files."""
    for name, value, known in (
        ("--probe", recipe.probe_kind, PROBES),
        ("--object", recipe.texture, TEXTURES),
        ("--track", recipe.track, TRACKS),
    ):
        if value not in known:
            raise ConfigError(f"{name} {value} is not a known kind; choose one of {', '.join(known)}")
    probe, pixel_size_m = None, PIXEL_SIZE_M
    if probe_file is not None:
        found = read_probe(probe_file)
        side_px = found.probe.shape[-1]
        if side_px != recipe.size_px:
            raise ProbeMismatchError(
                f"the probe in {probe_file} has {side_px} px but --size is {recipe.size_px}; give --size {side_px}"
            )
        probe, pixel_size_m = torch.from_numpy(found.probe), found.pixel_size_m or PIXEL_SIZE_M
    output.parent.mkdir(parents=True, exist_ok=True)
    written = []
    with progress(count, "simulating", "scans") as bar:
        for number in range(count):
            path = output if count == 1 else output.with_name(f"{output.stem}-{number:04d}.npz")
            scan = simulate_scan(replace(recipe, seed=recipe.seed + number), probe)
            write_training_file(path, training_scan(scan, pixel_size_m), "diff3d")
            written.append({"file": str(path), "frames": len(scan.amplitude), "seed": scan.recipe.seed})
            bar.update()
    if as_json:
        typer.echo(json.dumps(written))
    else:
        for one in written:
            typer.echo(f"{one['file']}: {one['frames']} frames of {recipe.size_px} px, seed {one['seed']}")


def run_datagen(output: Path, config: Path, as_json: bool) -> None:
    """Write the scans of a workflow configuration to a directory."""
    datagen = Datagen(workflow_of(config, None))
    written = []
    with progress(len(datagen), "simulating", "scans") as bar:
        for path in datagen.write(output):
            written.append(str(path))
            bar.update()
            if not as_json:
                typer.echo(str(path))
    if as_json:
        typer.echo(json.dumps([{"file": path} for path in written]))
