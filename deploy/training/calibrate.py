"""Fit what :mod:`ptychopinn.refine.certainty` expects: ``python deploy/training/calibrate.py network.pt pictures.json``.

Scans of seeds that no score uses, each refined from the network's first look for 2, 5, 10 and 20 passes: what the picture
and its patterns tell, and its phase correlation with the truth. Written are all pictures (JSON) and, to stdout, the fit and, for
what the package's own constants expect, what there was. With ``--seeds 0 1 --check`` the held-out scans, nothing is fitted.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from score import refined, refiner_on

from ptychopinn.model.network import load_network
from ptychopinn.refine.certainty import MOST_UNEXPLAINED, expected_correlation
from ptychopinn.simulate import Recipe, simulate_scan
from ptychopinn.training.heldout import Layout, heldout_recipes, predict_looks

PASSES = (2, 5, 10, 20)
BINS = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0)


def pictures(network: torch.nn.Module, recipe: Recipe) -> Iterator[dict[str, Any]]:
    """Yield what is seen of one scan's picture, and how right it is, after so many passes."""
    scan = simulate_scan(recipe)
    layout = Layout(scan)
    with torch.inference_mode():
        (seen,) = predict_looks(network, layout.optics, scan.amplitude, layout.overlap, 1)
        refiner = refiner_on(scan, layout, layout.stitch(seen))
    for passes in PASSES:
        right = layout.correlation(refined(refiner, layout, passes))
        found = refiner.certainty()
        if found is None:
            raise RuntimeError("the refiner has a picture but no certainty")
        about = {"size_px": recipe.size_px, "counts": recipe.counts, "phase_rad": recipe.phase_rad, "seed": recipe.seed}
        yield {**about, "passes": passes, "noise": found.noise, "unexplained": found.unexplained, "correlation": right}


def fitted(rows: list[dict[str, Any]]) -> NDArray[np.float64]:
    """Return noise at half, its power, and the weight of what is unexplained: least absolute errors, near 1 sharper."""
    noise, unexplained, right = (np.array([r[k] for r in rows]) for k in ("noise", "unexplained", "correlation"))
    right = right.clip(0, 1)

    def error(logs: NDArray[np.float64]) -> float:
        half, power, weight = np.exp(logs)
        expected = 1 / (1 + (noise / half) ** power + weight * unexplained.clip(0, MOST_UNEXPLAINED))
        return float((np.abs(np.log((1.02 - expected) / (1.02 - right))) + np.abs(expected - right)).mean())

    found = minimize(error, [2.5, -0.5, -2.0], method="Nelder-Mead", options={"maxiter": 9000, "xatol": 1e-5})
    return np.exp(found.x)


def table(rows: list[dict[str, Any]]) -> str:
    """Return, for each range of what is expected, the correlations found."""
    expected = np.array([expected_correlation(r["noise"], r["unexplained"]) for r in rows])
    right = np.array([r["correlation"] for r in rows])
    lines = ["| expected | pictures | a tenth is below | median | a tenth is above |", "|---|---|---|---|---|"]
    for low, high in zip(BINS, BINS[1:], strict=False):
        mine = right[(expected >= low) & (expected < high)]
        if mine.size:
            cells = " | ".join(f"{q:.2f}" for q in np.quantile(mine, (0.1, 0.5, 0.9)))
            lines.append(f"| {low} to {high} | {mine.size} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Fit, or check, what correlation is expected of a picture.")
    parser.add_argument("network", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=range(20, 26), help="30 scans each")
    parser.add_argument("--check", action="store_true", help="fit nothing")
    options = parser.parse_args()
    network = load_network(options.network)
    rows = [p for seed in options.seeds for recipe in heldout_recipes(seed=seed) for p in pictures(network, recipe)]
    options.output.write_text(json.dumps(rows))
    if not options.check:
        print("noise at half, its power, weight of the unexplained:", np.round(fitted(rows), 3))
    print(table(rows))


if __name__ == "__main__":
    main()
