"""``bench real``: both measured scans, reconstructed by this program and by pty-chi in the same time on the same cores.

Each engine reconstructs each scan for the same wall time, one after the other. The reference is pty-chi's LSQML on the corrected
positions after a longer time (without pty-chi: this program), so it favours LSQML a little.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import typer
from numpy.typing import NDArray

from daemon.cli.bench.real_engines import EngineRun, by_ptychi, live, offline
from daemon.cli.bench.real_page import write_page
from daemon.cli.bench.real_scans import RealCase, real_cases
from daemon.cli.progress import progress
from ptychopinn.diagnosis.comparison import PlacedPicture, compare_pictures, position_errors_px
from ptychopinn.errors import GeometryError

REFERENCE_RATIO = 3.0
"""Time of the reference over that of an engine."""


@dataclass(frozen=True, slots=True)
class RealOptions:
    """The options of the measurement; ``frames`` limits each scan, None: all frames."""

    spiral: Path | None
    engine_python: Path | None
    output: Path
    seconds: float
    frames: int | None


@dataclass(frozen=True, slots=True)
class RealRow:
    """One line of the table; None: unknown, or without a meaning."""

    scan: str
    engine: str
    rfactor: float | None
    phase_correlation: float | None
    frc_px: float | None
    frc_nm: float | None
    position_error_px: float | None
    seconds: float
    curve: list[tuple[float, float]]
    """Time, s, and phase correlation with the reference."""


@dataclass(frozen=True, slots=True, eq=False)
class RealResult:
    """The rows of a scan, the pictures of the engines and of the reference."""

    rows: list[RealRow]
    pictures: dict[str, PlacedPicture]


Engine = Callable[[RealCase, float], EngineRun]


def run_real(options: RealOptions, as_json: bool) -> None:
    """Measure, and write the page with its pictures."""
    threads = len(os.sched_getaffinity(0))
    engines = _engines(options.engine_python, threads)
    cases = real_cases(options.spiral, options.frames)
    with progress(len(cases) * (len(engines) + 1), "reconstructing", "runs") as bar:
        results = [_measure(case, engines, options.seconds, bar.update) for case in cases]
    page = write_page(options.output, results, options.seconds, threads)
    rows = [asdict(row) for result in results for row in result.rows]
    typer.echo(json.dumps({"page": str(page), "rows": rows}) if as_json else f"{page}: {len(rows)} reconstructions")


def _engines(python: Path | None, threads: int) -> dict[str, Engine]:
    engines: dict[str, Engine] = {
        "live": live,
        "offline": lambda case, seconds: offline(case, seconds, threads),
    }
    if python is not None:
        engines["LSQML"] = lambda case, seconds: by_ptychi(case, seconds, python, "lsqml", threads)
        engines["rPIE"] = lambda case, seconds: by_ptychi(case, seconds, python, "rpie", threads)
    return engines


def _measure(case: RealCase, engines: dict[str, Engine], seconds: float, on_run: Callable[[], object]) -> RealResult:
    best = engines.get("LSQML", engines["offline"])
    right = replace(case, positions_px=case.true_px)
    reference = best(right, REFERENCE_RATIO * seconds).pictures[-1][1]
    on_run()
    rows, pictures = [], {"reference": reference}
    for name, engine in engines.items():
        run = engine(case, seconds)
        frc_px = run.frc_px if name == "live" else _half_resolution_px(case, engine, seconds)
        rows.append(_row(case, name, run, frc_px, reference))
        pictures[name] = run.pictures[-1][1]
        on_run()
    return RealResult(rows, pictures)


def _row(case: RealCase, name: str, run: EngineRun, frc_px: float | None, reference: PlacedPicture) -> RealRow:
    agreement = [(at, _correlation(picture, reference)) for at, picture in run.pictures]
    error = None
    if run.positions_px is not None and len(run.positions_px) == len(case.true_px):
        error = position_errors_px(run.positions_px, case.true_px)[1]
    pixel_m = case.pixel_size_m
    return RealRow(
        scan=case.name,
        engine=name,
        rfactor=run.rfactor,
        phase_correlation=agreement[-1][1],
        frc_px=frc_px,
        frc_nm=None if frc_px is None or pixel_m is None else frc_px * pixel_m * 1e9,
        position_error_px=error,
        seconds=agreement[-1][0],
        curve=[(at, value) for at, value in agreement if value is not None],
    )


def _half_resolution_px(case: RealCase, engine: Engine, seconds: float) -> float | None:
    """Return the resolution of two halves of the frames, each reconstructed in half of the time."""
    halves = [engine(_rows(case, np.arange(begin, len(case.amplitude), 2)), seconds / 2) for begin in (0, 1)]
    try:
        return compare_pictures(halves[0].pictures[-1][1], halves[1].pictures[-1][1]).frc_px
    except GeometryError:
        return None


def _rows(case: RealCase, rows: NDArray[np.int64]) -> RealCase:
    told = case.positions_px[rows]
    true = case.true_px[rows] if case.finds_positions else told
    return replace(case, amplitude=case.amplitude[rows.tolist()], positions_px=told, true_px=true)


def _correlation(picture: PlacedPicture, reference: PlacedPicture) -> float | None:
    try:
        return compare_pictures(picture, reference).phase_correlation
    except GeometryError:
        return None
