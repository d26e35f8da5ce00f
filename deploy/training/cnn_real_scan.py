"""Trains a cnn on the demo's measured scan alone, unsupervised, and compares its picture with a converged ePIE one.

    python deploy/training/cnn_real_scan.py FOLDER [--epochs N] [--seed N]

Prints the correlation of the phases over the box of the scan positions, after the free phase and ramp are taken off, and the
training's CPU seconds. The two pictures lie on the same positions, so no shift is looked for. Deterministic on one machine
with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from daemon.files import Product, read_product
from ptychopinn.training.heldout import phase_correlation

DATA = Path(__file__).parents[2] / "daemon" / "demo_data"
SCAN, PROBE, GUESS = (DATA / f"siemens-star{end}" for end in (".cxi", "-probe.npz", "-guess.npz"))
SETTINGS = (
    "model.n_filters_scale=1",
    "model.object_big=false",
    "data.grid_size=[1,1]",
    "training.overlap_frames=6",
    "training.batch_size=1",
    "training.learning_rate=5e-4",
    "training.scheduler=WarmupCosine",
    "training.gradient_clip_val=1.0",
)
FINE_STEPS = 64

Complex = NDArray[np.complex64]


def call(*words: object) -> float:
    """Run a verb in a process of its own; return its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "daemon.cli", *map(str, words)], check=False, stdout=sys.stderr)
    if done.returncode:
        sys.exit(done.returncode)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def in_box(product: Product) -> Complex:
    """Return the picture in the box of the scan positions."""
    centres = np.asarray(product.positions_m) / product.pixel_size_m - np.asarray(product.object_origin_px)
    (top, left), (bottom, right) = (np.round(edge(centres, axis=0)).astype(int) for edge in (np.min, np.max))
    picture: Complex = product.object[top:bottom, left:right]
    return picture


def without_ramp(picture: Complex, reference: Complex) -> Complex:
    """Return the picture with the phase ramp taken off that it has against a reference."""
    product = picture * reference.conj()
    padded = 2 * max(product.shape)
    peak = np.unravel_index(np.abs(np.fft.fft2(product, (padded, padded))).argmax(), (padded, padded))
    fine = np.linspace(-1, 1, 2 * FINE_STEPS + 1)
    waves = [
        np.exp(-2j * np.pi * np.outer((place + fine) / padded, np.arange(side)))
        for place, side in zip(peak, product.shape, strict=True)
    ]
    strength = np.abs(waves[0] @ product @ waves[1].T)
    row, column = np.unravel_index(strength.argmax(), strength.shape)
    flat: Complex = (picture * waves[0][row][:, None] * waves[1][column]).astype(np.complex64)
    return flat


def compare(product: Path, reference: Path) -> float:
    """Return the correlation of two products' phases."""
    found, wanted = (in_box(read_product(path)) for path in (product, reference))
    pair = [torch.from_numpy(np.ascontiguousarray(a)) for a in (without_ramp(found, wanted), wanted)]
    return phase_correlation(pair[0], pair[1], torch.ones(wanted.shape, dtype=torch.bool))


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=42)
    wanted = parser.parse_args()
    wanted.folder.mkdir(parents=True, exist_ok=True)
    bundle, found, reference = (wanted.folder / name for name in ("cnn.zip", "cnn.h5", "epie.h5"))
    course = (*SETTINGS, f"training.epochs={wanted.epochs}", f"training.seed={wanted.seed}")
    settings = [word for setting in course for word in ("--set", setting)]
    cpu = call("train", SCAN, "--probe", PROBE, "--model", "cnn", "--output", bundle, *settings)
    call("predict", SCAN, "--probe", PROBE, "--bundle", bundle, "--output", found)
    if not reference.exists():
        call("refine", SCAN, "--probe", GUESS, "--sweeps", 60, "--full-sweeps", 25, "--output", reference)
    about = {"epochs": wanted.epochs, "seed": wanted.seed, "cpu_s": round(cpu, 1)}
    print(json.dumps({**about, "correlation": round(compare(found, reference), 4)}))


if __name__ == "__main__":
    main()
