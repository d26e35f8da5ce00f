"""Score a trained network on held-out simulated scans: ``python deploy/training/score.py network.pt scores.json``.

Side by side, on the same scans: the lift alone, the network after each look, ten passes of the refiner from the
network's last look, ten passes from an empty object, and thirty passes from the truth itself, which tells what the photons
of the scan allow. Correlation is that of the stitched phase with the truth. The
held-out scans have other seeds than training, and a probe kind and an object family that training never draws. Written
are all scores (JSON) and, to stdout, a Markdown table by probe kind, size and counts, overlap, phase, and limit.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ptychopinn.model.network import load_network
from ptychopinn.refine.refined_layer import Refiner
from ptychopinn.simulate import Recipe, SimulatedScan, simulate_scan
from ptychopinn.training.heldout import Layout, heldout_recipes, predict_looks

LOOKS, PASSES, LIMIT_PASSES = 3, 10, 30
ENOUGH = 0.95
COLUMNS = ("lift", "look 1", "look 2", "look 3", "look 3 + passes", "passes from 1", "limit")


def score(network: torch.nn.Module, scan: SimulatedScan) -> dict[str, float]:
    """Return the correlation in each column."""
    layout = Layout(scan)
    with torch.inference_mode():
        (lifted,) = predict_looks(None, layout.optics, scan.amplitude, layout.overlap, 1)
        seen = predict_looks(network, layout.optics, scan.amplitude, layout.overlap, LOOKS)
        pictures = [layout.stitch(patches) for patches in (lifted, *seen)]
        starts = ((pictures[-1], PASSES), (torch.ones_like(pictures[0]), PASSES), (layout.truth, LIMIT_PASSES))
        pictures += [refined(refiner_on(scan, layout, start), layout, passes) for start, passes in starts]
    return {name: layout.correlation(picture) for name, picture in zip(COLUMNS, pictures, strict=True)}


def refiner_on(scan: SimulatedScan, layout: Layout, start: torch.Tensor) -> Refiner:
    """Return a refiner of the scan that begins with a picture ``(H, W)``."""
    n = scan.recipe.size_px
    refiner = Refiner(scan.probe, lambda box: start[box.window])
    for i, (y, x) in enumerate(layout.corners.tolist()):
        refiner.add(i, scan.amplitude[i], (y + n // 2, x + n // 2))
    return refiner


def refined(refiner: Refiner, layout: Layout, passes: int) -> torch.Tensor:
    """Return the object ``(H, W)`` when each frame has been visited so often, 1 where none lies."""
    while refiner.least_visits < passes:
        refiner.step()
    value, weight = refiner.read()
    (y, x), (height, width) = refiner.origin_px, layout.truth.shape
    return torch.where(weight > 0, value, 1)[-y : height - y, -x : width - x]


def table(results: list[tuple[Recipe, dict[str, float]]]) -> str:
    """Return medians and, in brackets, the share at or above ENOUGH, by class."""
    classes: list[tuple[str, Callable[[Recipe, dict[str, float]], str]]] = [
        ("all", lambda r, s: "all"),
        ("probe", lambda r, s: r.probe_kind),
        ("patterns", lambda r, s: f"{r.size_px} px, {r.counts:.0e} counts"),
        ("overlap", lambda r, s: "60-70 %" if r.overlap_ratio < 0.7 else "70-80 %"),
        ("phase", lambda r, s: "weak, under 0.5 rad" if abs(r.phase_rad) < 0.5 else "strong, 0.5-3 rad"),
        ("limit", lambda r, s: f"{'at least' if s['limit'] >= ENOUGH else 'under'} {ENOUGH}"),
    ]
    lines = [f"| scans | n | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 2) + "|"]
    for title, key in classes:
        for name in sorted({key(r, s) for r, s in results}):
            mine = [s for r, s in results if key(r, s) == name]
            cells = [[s[c] for s in mine] for c in COLUMNS]
            words = [f"{np.median(c):.2f} ({np.mean(np.array(c) >= ENOUGH):.0%})" for c in cells]
            lines.append(f"| {title}: {name} | {len(mine)} | {' | '.join(words)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Score a network on held-out simulated scans.")
    parser.add_argument("network", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--rounds", type=int, default=2, help="30 scans each")
    parser.add_argument("--counts", type=float, help="only the scans with so many counts a frame")
    parser.add_argument("--frames", type=int, default=64, help="of each scan")
    parser.add_argument("--size", type=int, help="of the patterns in all scans, pixels; else 64 and 128")
    options = parser.parse_args()
    network = load_network(options.network)
    sizes = (64, 64, 64, 64, 128) if options.size is None else (options.size,) * 4
    recipes = [
        recipe for seed in range(options.rounds) for recipe in heldout_recipes(sizes, seed=seed, frames=options.frames)
    ]
    recipes = [recipe for recipe in recipes if options.counts in (None, recipe.counts)]
    results = [(recipe, score(network, simulate_scan(recipe))) for recipe in recipes]
    kept: list[dict[str, Any]] = [
        {
            "probe": r.probe_kind,
            "object": r.texture,
            "size_px": r.size_px,
            "counts": r.counts,
            "overlap": r.overlap_ratio,
            "phase_rad": r.phase_rad,
            "seed": r.seed,
            "correlation": s,
        }
        for r, s in results
    ]
    options.output.write_text(json.dumps(kept, indent=1))
    print(table(results))


if __name__ == "__main__":
    main()
