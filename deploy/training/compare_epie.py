"""Strong-phase held-out scans: network and thirty passes of the refiner against a hundred sweeps of ePIE from an empty object.

    python deploy/training/compare_epie.py network.pt results.json

Both know the probe. Scans of 0.5 rad and more, unseen probes, 1e3 to 1e6 counts a frame, overlap 50 to 80 %; the
correlation is that of the phase with the truth.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from score import refined, refiner_on

from ptychopinn.model.network import load_network
from ptychopinn.refine.retrieve import retrieve
from ptychopinn.simulate import Recipe, simulate_scan
from ptychopinn.training.heldout import Layout, heldout_recipes, predict_looks

PASSES, SWEEPS, LOOKS = 30, 100, 3
STRONG_RAD = 0.5


def recipes(count: int) -> list[Recipe]:
    """Return held-out recipes of strong phase, the overlap drawn anew from 50 to 80 %."""
    rng = np.random.default_rng(7)
    found: list[Recipe] = []
    seed = 10
    while len(found) < count:
        drawn = [r for r in heldout_recipes((64, 64, 64, 64, 64), seed) if abs(r.phase_rad) >= STRONG_RAD]
        found += [replace(r, overlap_ratio=float(rng.uniform(0.5, 0.8))) for r in drawn]
        seed += 1
    return found[:count]


def compare(network: torch.nn.Module, recipe: Recipe) -> dict[str, float]:
    """Return the correlation of both."""
    scan = simulate_scan(recipe)
    layout = Layout(scan)
    with torch.inference_mode():
        patches = predict_looks(network, layout.optics, scan.amplitude, layout.overlap, LOOKS)[-1]
        ours = refined(refiner_on(scan, layout, layout.stitch(patches)), layout, PASSES)
        positions = scan.corners_px + recipe.size_px // 2
        found = retrieve(scan.amplitude, positions, scan.probe, sweeps=SWEEPS, update_probe=False)
    return {"ours": layout.correlation(ours), "epie": layout.correlation(found.object)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare with ePIE on strong-phase held-out scans.")
    parser.add_argument("network", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--scans", type=int, default=50)
    options = parser.parse_args()
    network = load_network(options.network)
    results = []
    for recipe in recipes(options.scans):
        scores = compare(network, recipe)
        about = {"probe": recipe.probe_kind, "counts": recipe.counts, "overlap": recipe.overlap_ratio}
        results.append({**about, "phase_rad": recipe.phase_rad, **scores})
    options.output.write_text(json.dumps(results, indent=1))
    for counts in (1e3, 1e4, 1e5, 1e6, None):
        mine = [r for r in results if counts in (None, r["counts"])]
        wins = sum(r["ours"] > r["epie"] for r in mine)
        ours, epie = (float(np.median([r[k] for r in mine])) for k in ("ours", "epie"))
        print(f"{counts or 'all'}: {wins} of {len(mine)} won, median correlation {ours:.3f} against {epie:.3f}")


if __name__ == "__main__":
    main()
