"""Trains on simulated scans, predicts another scan of the same probe in fresh processes, and compares with the truth.

    python deploy/training/truth_table.py FOLDER [--frames N] [--epochs N]

Prints a line for each way: correlation and SSIM of the phase with the truth and R-factor, on that scan and on the first one
that was trained on; and the training's CPU seconds.
Needs torchmetrics, which the extra ``lightning`` brings.
"""

from __future__ import annotations

import argparse
import json
import resource
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
STEPS = ["--set", "training.learning_rate=5e-4", "--set", "training.gradient_clip_val=1.0"]
NEAR = [*CNN, *ALONE, *STEPS, "--set", "training.overlap_frames=6"]
WAYS: dict[str, list[str]] = {
    "cnn, neighbourhoods": NEAR,
    "cnn, neighbourhoods, truth": [*NEAR, "--set", "model.mode=Supervised"],
    "cnn, groups of 4": [*CNN, "--set", "data.n_subsample=2", "--set", "data.K=4"],
    "lift as shipped": [],
    "lift, fine-tuned": ["finetune", "shipped"],
}


def call(*words: object) -> tuple[str, float]:
    """Run a verb in a process of its own; return its stdout, and its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "daemon.cli", *map(str, words)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}: {done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


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
    weights = None if found.live is None else found.live.network_weight
    if weights is None:
        sys.exit(f"{product}: holds no weights; predict it with this version")
    picture, weight = found.object[place], weights[place]
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
    return correlation, float(
        torch.as_tensor(structural_similarity_index_measure(phases[0], phases[1], data_range=span))
    )


def score(bundle: str, scan: Path, product: Path) -> dict[str, float]:
    """Predict a scan; return correlation and SSIM of its phase with the truth, and R."""
    said, _ = call("predict", scan, "--bundle", bundle, "--output", product, "--json")
    (predicted,) = json.loads(said)
    correlation, ssim = compare(product, scan)
    return {"correlation": correlation, "ssim": ssim, "rfactor": predicted["rfactors"][-1]}


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
            _, seconds = call(*words, *training, "--output", bundle, *more, "--json")
        line: dict[str, object] = {"way": name, "training_cpu_s": round(seconds, 1)}
        for kind, scan in (("unseen", held_out), ("trained on", training[0])):
            line[kind] = score(bundle, scan, place.with_suffix(".h5"))
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
