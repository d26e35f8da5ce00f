"""Writes the rows of how-to/positions.md: every kind of position error, found by :func:`find_positions`. Run by hand.

python -m tests.endurance.positions_table [KIND or SCAN ...]        (a minute of one core for each kind, two for each other scan)
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import numpy as np
import torch

from ptychopinn.positions.find import find_positions
from ptychopinn.simulate import Recipe
from tests.support.position_errors import SCAN, apart_px, measured_scan, told_positions

SIZES_PX = (0.3, 1, 3, 5, 8, 15, 30)
KINDS_OF_ERROR = ("scatter", "vibration", "backlash", "wild", "drift", "scale", "rotation", "shear")
OTHER_SCANS = {
    "1e4 photons": replace(SCAN, counts=1e4),
    "1e6 photons": replace(SCAN, counts=1e6),
    "overlap 60 %": replace(SCAN, overlap_ratio=0.6),
    "overlap 80 %": replace(SCAN, overlap_ratio=0.8),
}
IN_OTHER_SCANS = (("scatter", 1), ("scatter", 3), ("scatter", 8), ("wild", 30), ("drift", 8), ("rotation", 3))


def row(kind: str, size_px: float, recipe: Recipe, name: str = "") -> str:
    """Return a line: medians over the affected frames before and after, R of a quick picture, CPU seconds."""
    drawn, amplitude = measured_scan(recipe)
    true = drawn.positions_px
    told = told_positions(kind, size_px, true) if size_px else true
    begun = time.process_time()
    found = find_positions(amplitude, told, drawn.probe)
    seconds = time.process_time() - begun
    affected = apart_px(told, true) > 1e-6 if kind == "wild" else np.full(len(true), True)
    before, after = (float(np.median(apart_px(places, true)[affected])) for places in (told, found.positions_px))
    used = found.found_rfactor if found.is_corrected else found.told_rfactor
    left = "" if found.is_corrected or not size_px else " (left)"
    label = f"{kind}, {size_px:g} px" if size_px else kind
    label = f"{name}: {label}" if name else label
    return f"| {label} | {before:.2f} | {after:.2f}{left} | {found.told_rfactor:.3f} | {used:.3f} | {seconds:.1f} |"


def main(asked: list[str]) -> None:
    """Print the rows that are asked for, all without a name."""
    torch.set_num_threads(1)
    print("| error | before, px | after, px | R before | R after | CPU s |\n|---|---|---|---|---|---|")
    for kind in KINDS_OF_ERROR:
        for size in SIZES_PX if not asked or kind in asked else ():
            print(row(kind, size, SCAN), flush=True)
    for name, recipe in {"": SCAN, **OTHER_SCANS}.items():
        if not asked or (name or "none") in asked:
            print(row("none", 0, recipe, name), flush=True)
        for kind, size in IN_OTHER_SCANS if name and (not asked or name in asked) else ():
            print(row(kind, size, recipe, name), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
