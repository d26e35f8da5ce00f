"""Trains on simulated scans, predicts others of the same probe in fresh processes, and compares with the truth.

    python deploy/training/truth_table.py FOLDER [--scans N] [--unseen N] [--only WAY]

Prints a line for each way: correlation and SSIM of the phase with the truth, and R-factor, medians over scans that were
trained on and over unseen ones; and the training's CPU seconds.
Needs torchmetrics, which the extra ``lightning`` brings.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from daemon.cli.simulate import PIXEL_SIZE_M
from daemon.files import read_product
from ptychopinn.contract.training_export import write_training_file
from ptychopinn.simulate import Recipe, simulate_scan
from ptychopinn.training.heldout import phase_correlation
from ptychopinn.workflow.datagen import training_scan

CNN = (
    "model.n_filters_scale=1",
    "training.learning_rate=3e-4",
    "training.scheduler=WarmupCosine",
    "training.gradient_clip_val=1.0",
)
NEAR = (
    *CNN,
    "data.grid_size=[1,1]",
    "model.object_big=false",
    "training.overlap_frames=6",
    "training.batch_size=1",
)
WAYS: dict[str, tuple[str, ...]] = {
    "cnn, neighbourhoods": ("train", "--model", "cnn", *NEAR, "training.epochs=3"),
    "cnn, preset": ("train", "--model", "cnn", "--preset", "neighbourhoods"),
    "cnn, neighbourhoods, truth": ("train", "--model", "cnn", *NEAR, "training.epochs=2", "model.mode=Supervised"),
    "cnn, groups of 4": (
        *("train", "--model", "cnn", *CNN),
        *("training.batch_size=4", "training.epochs=5", "data.n_subsample=2", "model.training_patch_weighting=probe"),
    ),
    "lift as shipped": (),
    "lift, fine-tuned": ("finetune", "shipped", "training.epochs=1"),
}
"""Verb, arguments and settings of each training."""


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
    folder.mkdir(parents=True, exist_ok=True)
    probe, paths = None, []
    for number in range(count):
        scan = simulate_scan(replace(recipe, seed=recipe.seed + number), probe)
        probe = scan.probe if probe is None else probe
        paths.append(folder / f"scan-{number:03d}.npz")
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


def score(bundle: str, scans: Sequence[Path], folder: Path) -> dict[str, float]:
    """Predict scans; return the medians of correlation and SSIM of the phase with the truth, and of R."""
    folder.mkdir(parents=True, exist_ok=True)
    said, _ = call("predict", *scans, "--bundle", bundle, "--output", folder, "--json")
    rows = [
        (*compare(Path(one["output"]), scan), one["rfactors"][-1])
        for one, scan in zip(json.loads(said), scans, strict=True)
    ]
    found = np.median(np.array(rows), axis=0).round(4).tolist()
    return dict(zip(("correlation", "ssim", "rfactor"), found, strict=True))


def main() -> None:
    """Print the table as JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scans", type=int, default=40)
    parser.add_argument("--unseen", type=int, default=5)
    parser.add_argument("--only", choices=WAYS, action="append")
    wanted = parser.parse_args()
    recipe = Recipe(size_px=64, probe_kind="zone_plate", texture="shapes", phase_rad=0.6, frames=64, overlap_ratio=0.75)
    scans = write_scans(wanted.folder / "scans", recipe, wanted.scans + wanted.unseen)
    training, unseen = scans[: wanted.scans], scans[wanted.scans :]
    for name in wanted.only or WAYS:
        place = wanted.folder / name.replace(", ", "-").replace(" ", "-")
        bundle, seconds = "shipped", 0.0
        if WAYS[name]:
            bundle = f"{place}.zip"
            words = [word for word in WAYS[name] if "=" not in word]
            settings = [part for word in WAYS[name] if "=" in word for part in ("--set", word)]
            _, seconds = call(*words, *training, "--output", bundle, *settings, "--json")
        line: dict[str, object] = {"way": name, "training_cpu_s": round(seconds, 1)}
        for kind, some in (("unseen", unseen), ("trained on", training[: wanted.unseen])):
            line[kind] = score(bundle, some, place / kind.replace(" ", "-"))
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
