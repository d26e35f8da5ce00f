"""Score a trained network on held-out simulated scans: ``python deploy/training/score.py network.pt scores.json``.

Side by side, on the same scans: the lift alone, the network after each look, ten passes of the refiner from the
network's last look, ten passes from an empty object, and thirty passes from the truth itself, which tells what the photons
of the scan allow. Correlation is that of the stitched phase with the truth. The
held-out scans have other seeds than training, and a probe kind and an object family that training never draws. Written
are all scores (JSON) and, to stdout, a Markdown table by probe kind, size and counts, overlap, and phase.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ptychopinn.heldout import heldout_recipes, looks_at, phase_correlation
from ptychopinn.model.network import load_network
from ptychopinn.model.optics import Optics
from ptychopinn.model.overlap import Overlap
from ptychopinn.refine import Refiner
from ptychopinn.simulate import Recipe, SimulatedScan, simulate_scan

LOOKS, PASSES, LIMIT_PASSES = 3, 10, 30
COLUMNS = ("lift", "look 1", "look 2", "look 3", "look 3 + passes", "passes from 1", "limit")


def score(network: torch.nn.Module, scan: SimulatedScan) -> dict[str, float]:
    """Return the correlation in each column."""
    optics = Optics(scan.probe[None])
    corners = torch.from_numpy(scan.corners_px)
    low = corners.amin(0)
    overlap = Overlap((corners - low)[None], scan.recipe.size_px)
    height, width = overlap.shape
    truth = scan.object[int(low[0]) : int(low[0]) + height, int(low[1]) : int(low[1]) + width]
    with torch.inference_mode():
        (lifted,) = looks_at(None, optics, scan.amplitude, overlap, 1)
        seen = looks_at(network, optics, scan.amplitude, overlap, LOOKS)
        total = overlap.stitch(lifted, optics.weight)[1]
        covered = total[0] > 0.3 * total[0].median().clamp_min(0.5)
        pictures = [overlap.stitch(p, optics.weight)[0][0] for p in (lifted, *seen)]
        starts = ((pictures[-1], PASSES), (torch.ones_like(pictures[0]), PASSES), (truth, LIMIT_PASSES))
        pictures += [refined(scan, corners - low, start, passes) for start, passes in starts]
    return {name: phase_correlation(p, truth, covered) for name, p in zip(COLUMNS, pictures, strict=True)}


def refined(scan: SimulatedScan, corners: torch.Tensor, start: torch.Tensor, passes: int) -> torch.Tensor:
    """Return the object ``(H, W)`` after the passes, 1 where no frame lies."""
    n = scan.recipe.size_px

    def start_at(position_px: tuple[float, float]) -> torch.Tensor:
        y, x = (round(p) - n // 2 for p in position_px)
        return start[y : y + n, x : x + n]

    refiner = Refiner(scan.probe, start_at)
    for i, (y, x) in enumerate(corners.tolist()):
        refiner.add(i, scan.amplitude[i], (y + n // 2, x + n // 2))
    while refiner.least_visits < passes:
        refiner.step()
    value, weight = refiner.read()
    y, x = refiner.origin_px
    out = torch.ones_like(start)
    inside = value[-y : -y + start.shape[0], -x : -x + start.shape[1]]
    known = weight[-y : -y + start.shape[0], -x : -x + start.shape[1]] > 0
    return torch.where(known, inside, out)


def table(results: list[tuple[Recipe, dict[str, float]]]) -> str:
    """Return medians and, in brackets, the share at or above 0.95, by class."""
    classes: list[tuple[str, Callable[[Recipe], str]]] = [
        ("all", lambda r: "all"),
        ("probe", lambda r: r.probe_kind),
        ("patterns", lambda r: f"{r.size_px} px, {r.counts:.0e} counts"),
        ("overlap", lambda r: "60-70 %" if r.overlap_ratio < 0.7 else "70-80 %"),
        ("phase", lambda r: "weak, under 0.5 rad" if abs(r.phase_rad) < 0.5 else "strong, 0.5-3 rad"),
    ]
    lines = [f"| scans | n | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 2) + "|"]
    for title, key in classes:
        for name in sorted({key(r) for r, _ in results}):
            mine = [s for r, s in results if key(r) == name]
            cells = [[s[c] for s in mine] for c in COLUMNS]
            words = [f"{np.median(c):.2f} ({np.mean(np.array(c) >= 0.95):.0%})" for c in cells]
            lines.append(f"| {title}: {name} | {len(mine)} | {' | '.join(words)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Score a network on held-out simulated scans.")
    parser.add_argument("network", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--rounds", type=int, default=2, help="30 scans each")
    parser.add_argument("--counts", type=float, help="only the scans with so many counts a frame")
    options = parser.parse_args()
    network = load_network(options.network)
    recipes = [recipe for seed in range(options.rounds) for recipe in heldout_recipes(seed=seed)]
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
