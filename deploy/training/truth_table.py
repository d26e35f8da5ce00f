"""Trains on simulated scans, predicts another scan of the same probe in fresh processes, and compares with the truth.

    python deploy/training/truth_table.py FOLDER [--frames N] [--epochs N]

Prints a table: correlation of the phase and SSIM of the phase with the truth, R-factor, and the training's seconds.
Needs torchmetrics, which the extra ``lightning`` brings.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from daemon.cli.simulate import PIXEL_SIZE_M
from daemon.files import read_product
from ptychopinn.contract.training_export import write_training_file
from ptychopinn.datagen import training_scan
from ptychopinn.heldout import phase_correlation
from ptychopinn.simulate import Recipe, simulate_scan

CNN = ["train", "--model", "cnn", "--set", "model.n_filters_scale=1"]
ALONE = ["--set", "data.grid_size=[1,1]", "--set", "model.object_big=false", "--set", "training.batch_size=1"]
NEAR = [*CNN, *ALONE, "--set", "training.overlap_frames=6", "--set", "training.gradient_clip_val=1.0"]
WAYS: dict[str, list[str]] = {
    "cnn, neighbourhoods": NEAR,
    "cnn, neighbourhoods, truth": [*NEAR, "--set", "model.mode=Supervised"],
    "cnn, groups of 4": [*CNN, "--set", "data.n_subsample=2", "--set", "data.K=4"],
    "lift as shipped": [],
    "lift, fine-tuned": ["finetune", "shipped"],
}


def call(*words: object) -> str:
    """Run a verb in a process of its own; return its stdout."""
    done = subprocess.run(
        [sys.executable, "-m", "daemon.cli", *map(str, words)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}: {done.stderr}")
    return done.stdout


def write_scans(folder: Path, recipe: Recipe, count: int) -> list[Path]:
    """Write scans of consecutive seeds, all of the first one's probe."""
    probe, paths = None, []
    for number in range(count):
        scan = simulate_scan(replace(recipe, seed=recipe.seed + number), probe)
        probe = scan.probe if probe is None else probe
        paths.append(folder / f"scan-{number}.npz")
        write_training_file(paths[-1], training_scan(scan, PIXEL_SIZE_M), "diff3d")
    return paths


def compare(product: Path, scan: Path) -> tuple[float, float]:
    """Return correlation and SSIM of the phase with the truth, where the picture was seen well."""
    found = read_product(product)
    with np.load(scan) as archive:
        truth = archive["objectGuess"]
    low = [round(float(v)) for v in found.object_origin_px]
    begin = [max(0, v) for v in low]
    end = [min(o + s, t) for o, s, t in zip(low, found.object.shape, truth.shape, strict=True)]
    place = tuple(slice(a - o, b - o) for a, b, o in zip(begin, end, low, strict=True))
    picture, weight = found.object[place], found.live.network_weight[place]
    true = truth[begin[0] : end[0], begin[1] : end[1]]
    well = weight > 0.3 * np.median(weight[weight > 0])
    correlation = phase_correlation(*(torch.from_numpy(np.ascontiguousarray(a)) for a in (picture, true, well)))
    rows, columns = (np.flatnonzero(well.any(axis=axis)) for axis in (1, 0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    phases = []
    for field in (picture, true):
        turned = field * np.conj(field[well].sum()) / abs(field[well].sum())
        phases.append(torch.from_numpy(np.where(well, np.angle(turned), 0)[box])[None, None].double())
    span = float(phases[1].max() - phases[1].min())
    return correlation, float(structural_similarity_index_measure(*phases, data_range=span))


def main() -> None:
    """Print the table as JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--only", choices=WAYS, action="append")
    wanted = parser.parse_args()
    wanted.folder.mkdir(parents=True, exist_ok=True)
    recipe = Recipe(
        size_px=64, probe_kind="zone_plate", texture="shapes", phase_rad=0.6, frames=wanted.frames, overlap_ratio=0.75
    )
    *training, held_out = write_scans(wanted.folder, recipe, 4)
    course = ["--set", "training.scheduler=WarmupCosine", "--set", f"training.epochs={wanted.epochs}"]
    for name in wanted.only or WAYS:
        words = WAYS[name]
        place = wanted.folder / name.replace(", ", "-").replace(" ", "-")
        bundle, seconds = "shipped", 0.0
        if words:
            bundle = f"{place}.zip"
            more = course if words[0] == "train" else []
            told = json.loads(call(*words, *training, "--output", bundle, *more, "--json"))
            seconds = told["seconds"]
        product = place.with_suffix(".h5")
        (predicted,) = json.loads(call("predict", held_out, "--bundle", bundle, "--output", product, "--json"))
        correlation, ssim = compare(product, held_out)
        line = {"way": name, "correlation": correlation, "ssim": ssim, "rfactor": predicted["rfactors"][-1]}
        print(json.dumps({**line, "training_s": seconds}), flush=True)


if __name__ == "__main__":
    main()
