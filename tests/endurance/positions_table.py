"""Writes the rows of how-to/positions.md: every kind of position error, found by :func:`find_positions`. Run by hand.

python -m tests.endurance.positions_table FILE [WORD ...]

A scan takes 5 to 20 s of one core; words choose rows: "scatter", "8 px", "1e4".

Finished scans are kept in FILE, one JSON object a line, so an interrupted run goes on. Samples, probes and errors differ by seed.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ptychopinn.positions.find import find_positions
from tests.support.position_errors import SCAN, apart_px, measured_scan, told_positions

SEEDS = (0, 1, 2)
SMALL_KINDS = ("scatter", "vibration", "backlash", "wild", "drift", "scale", "rotation", "shear")
LARGE_KINDS = ("scatter", "vibration", "backlash", "wild", "drift", "rotation")
CORNERS = ((1e4, 0.7), (1e6, 0.7), (1e5, 0.6), (1e5, 0.8), (1e4, 0.6), (1e6, 0.8))
"""Photons a frame and overlap, beside 1e5 and 70 %."""
IN_CORNERS = (
    ("none", 0.0),
    ("scatter", 1.0),
    ("scatter", 3.0),
    ("scatter", 8.0),
    ("vibration", 8.0),
    ("rotation", 3.0),
    ("wild", 30.0),
)


@dataclass(frozen=True, slots=True)
class Case:
    """An error, pixels rms over the frames that it affects, on a scan."""

    kind: str
    size_px: float
    photons: float = 1e5
    overlap: float = 0.7

    @property
    def label(self) -> str:
        """The first cell of the row."""
        size = f", {self.size_px:g} px" if self.size_px else ""
        photons = f", {self.photons:.0e} photons".replace("e+0", "e") if self.photons != SCAN.counts else ""
        overlap = f", overlap {self.overlap:.0%}".replace("%", " %") if self.overlap != SCAN.overlap_ratio else ""
        return f"{self.kind}{size}{photons}{overlap}"


@dataclass(frozen=True, slots=True)
class Measured:
    """Median distances to the truth, pixels, of positions as told and as they are used; R-factors; CPU seconds."""

    label: str
    seed: int
    before_px: float
    after_px: float
    is_taken: bool
    told_rfactor: float
    used_rfactor: float
    cpu_s: float


def cases() -> Iterator[Case]:
    """Return the rows of the table."""
    yield Case("none", 0.0)
    for size_px in (0.3, 1.0, 3.0, 5.0):
        yield from (Case(kind, size_px) for kind in SMALL_KINDS)
    for size_px in (8.0, 15.0):
        yield from (Case(kind, size_px) for kind in LARGE_KINDS)
    yield Case("wild", 30.0)
    for photons, overlap in CORNERS:
        yield from (Case(kind, size_px, photons, overlap) for kind, size_px in IN_CORNERS)


def measure(case: Case, seed: int) -> Measured:
    """Find the positions of one scan."""
    recipe = replace(SCAN, counts=case.photons, overlap_ratio=case.overlap, seed=SCAN.seed + seed)
    drawn, amplitude = measured_scan(recipe)
    true = drawn.positions_px
    told = told_positions(case.kind, case.size_px, true, seed) if case.size_px else true
    begun = time.process_time()
    found = find_positions(amplitude, told, drawn.probe)
    seconds = time.process_time() - begun
    affected = apart_px(told, true) > 1e-6 if case.kind == "wild" else np.full(len(true), True)
    before, after = (float(np.median(apart_px(places, true)[affected])) for places in (told, found.positions_px))
    used = found.found_rfactor if found.is_corrected else found.told_rfactor
    return Measured(case.label, seed, before, after, found.is_corrected, found.told_rfactor, used, seconds)


def row(label: str, scans: Sequence[Measured]) -> str:
    """Return a line: one value for each seed."""
    after = ", ".join(f"{scan.after_px:.2f}" if scan.is_taken else "left" for scan in scans)
    before, told, used, seconds = (
        float(np.mean([getattr(scan, name) for scan in scans]))
        for name in ("before_px", "told_rfactor", "used_rfactor", "cpu_s")
    )
    return f"| {label} | {before:.2f} | {after} | {told:.3f} | {used:.3f} | {seconds:.1f} |"


def main(file: Path, words: Sequence[str]) -> None:
    """Measure the rows that hold all words, and print all that are in the file."""
    torch.set_num_threads(1)
    lines = file.read_text().splitlines() if file.exists() else []
    done = [Measured(**json.loads(line)) for line in lines]
    for case in cases():
        for seed in SEEDS if all(word in case.label for word in words) else ():
            if not any((scan.label, scan.seed) == (case.label, seed) for scan in done):
                done.append(measure(case, seed))
                with file.open("a") as stream:
                    stream.write(json.dumps(asdict(done[-1])) + "\n")
                measured_scan.cache_clear()
    print("| error | before, px | after, px | R before | R after | CPU s |\n|---|---|---|---|---|---|")
    for label in dict.fromkeys(case.label for case in cases()):
        scans = sorted((scan for scan in done if scan.label == label), key=lambda scan: scan.seed)
        if scans:
            print(row(label, scans))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
