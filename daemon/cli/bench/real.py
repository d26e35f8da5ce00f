"""``bench real``: both measured scans, reconstructed by this program and by pty-chi in the same time on the same cores.

Each engine reconstructs each scan for the same time, one after the other. The reference is pty-chi's LSQML on the corrected
positions after a longer time (without pty-chi: this program), so it favours LSQML a little. Pictures are compared where the
frames cover them well.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import typer

from daemon.cli.bench.real_engines import Budget, by_ptychi, live, offline
from daemon.cli.bench.real_page import write_page
from daemon.cli.bench.real_runs import EngineRun, RunFolder
from daemon.cli.bench.real_scans import RealCase, real_cases
from daemon.cli.progress import progress
from daemon.errors import ConfigError
from daemon.version import VERSION
from ptychopinn.diagnosis.comparison import PlacedPicture, compare_pictures, position_errors_px, well_covered
from ptychopinn.errors import GeometryError

REFERENCE_RATIO = 3.0
"""Time of the reference over that of an engine."""


@dataclass(frozen=True, slots=True)
class RealOptions:
    """The options of the measurement; ``scans`` and ``frames`` choose some, None: all."""

    spiral: Path | None
    engine_python: Path | None
    output: Path
    seconds: float = 60.0
    frames: int | None = None
    scans: Sequence[str] | None = None
    clock: Literal["wall", "cpu"] = "wall"


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
    cpu_s: float
    curve: list[tuple[float, float]]
    """Time, s, and phase correlation with the reference."""


@dataclass(frozen=True, slots=True, eq=False)
class RealResult:
    """The rows of a scan, the pictures of the engines and of the reference."""

    scan: RealCase
    rows: list[RealRow]
    pictures: dict[str, PlacedPicture]


Engine = Callable[[RealCase, Budget], EngineRun]


def run_real(options: RealOptions, as_json: bool) -> None:
    """Measure, and write the page with its pictures after each scan."""
    cases = _chosen(real_cases(options.spiral, options.frames), options.scans)
    budget = Budget(options.seconds, options.clock, _threads())
    engines = _engines(options.engine_python)
    results: list[RealResult] = []
    page = options.output
    with progress(len(cases) * (3 * len(engines)), "reconstructing", "runs") as bar:
        for case in cases:
            results.append(_Measurement(case, budget, engines, _folder(options, budget)).result(bar.update))
            page = write_page(options.output, results, budget)
    rows = [asdict(row) for result in results for row in result.rows]
    typer.echo(json.dumps({"page": str(page), "rows": rows}) if as_json else f"{page}: {len(rows)} reconstructions")


def _chosen(cases: list[RealCase], names: Sequence[str] | None) -> list[RealCase]:
    """Return the cases with the names given; all without names."""
    known = [case.slug for case in cases]
    for name in names or ():
        if name not in known:
            raise ConfigError(
                f"there is no scan {name[:64]!r}; there are {', '.join(known)} (--spiral adds the spiral)"
            )
    return [case for case in cases if not names or case.slug in names]


def _threads() -> int:
    """Return the threads of each engine: OMP_NUM_THREADS if set, else one for each core that may be used."""
    asked, cores = os.environ.get("OMP_NUM_THREADS", ""), len(os.sched_getaffinity(0))
    return min(int(asked), cores) if asked.isdecimal() and int(asked) else cores


def _folder(options: RealOptions, budget: Budget) -> RunFolder:
    frames = "all" if options.frames is None else f"first{options.frames}"
    setting = f"{budget.seconds:g}s-{budget.clock}-{budget.threads}threads-{frames}-{VERSION}"
    return RunFolder(options.output / "runs", setting)


def _engines(python: Path | None) -> dict[str, Engine]:
    engines: dict[str, Engine] = {"live": live, "offline": offline}
    if python is not None:
        for name, method in (("LSQML", "lsqml"), ("rPIE", "rpie")):
            engines[name] = partial(by_ptychi, python=python, method=method)
    return engines


class _Measurement:
    """The measurement of one scan."""

    def __init__(self, case: RealCase, budget: Budget, engines: dict[str, Engine], runs: RunFolder) -> None:
        self._case, self._budget, self._engines, self._runs = case, budget, engines, runs

    def result(self, on_run: Callable[[], object]) -> RealResult:
        """Run every engine."""
        reference = self._reference()
        on_run()
        rows, pictures = [], {"reference": reference}
        for name in self._engines:
            run = self._run(name, f"{self._case.slug}-{name}", self._case, 1.0)
            on_run()
            frc_px = run.frc_px if name == "live" else self._half_resolution_px(name, on_run)
            rows.append(_row(self._case, name, run, frc_px, reference))
            pictures[name] = run.pictures[-1][1]
        return RealResult(self._case, rows, pictures)

    def _reference(self) -> PlacedPicture:
        best = "LSQML" if "LSQML" in self._engines else "offline"
        right = replace(self._case, positions_px=self._case.true_px)
        run = self._run(best, f"{self._case.sample}-{best}-reference", right, REFERENCE_RATIO)
        return _well_covered(right, run.pictures[-1][1])

    def _run(self, engine: str, name: str, case: RealCase, share: float) -> EngineRun:
        budget = replace(self._budget, seconds=share * self._budget.seconds)
        return self._runs.made(name, lambda: self._engines[engine](case, budget))

    def _half_resolution_px(self, engine: str, on_run: Callable[[], object]) -> float | None:
        """Return the resolution of two halves of the frames, each reconstructed in half of the time."""
        pictures = []
        for begin in (0, 1):
            half = self._case.rows(slice(begin, None, 2))
            run = self._run(engine, f"{half.slug}-{engine}-half{begin}", half, 0.5)
            pictures.append(_well_covered(half, run.pictures[-1][1]))
            on_run()
        try:
            return compare_pictures(pictures[0], pictures[1]).frc_px
        except GeometryError:
            return None


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
        cpu_s=run.cpu_s,
        curve=[(at, value) for at, value in agreement if value is not None],
    )


def _well_covered(case: RealCase, picture: PlacedPicture) -> PlacedPicture:
    """Return a picture whose known pixels are only those that the frames cover well."""
    light = case.probe.abs().square().sum(0).numpy()
    corners = np.rint(case.true_px).astype(int) - len(light) // 2 - np.rint(picture.origin_px).astype(int)
    rim = int(np.abs(corners).max()) + len(light)
    weight = np.zeros(np.add(picture.object.shape, 2 * rim), dtype=np.float32)
    for top, left in (corners + rim).tolist():
        weight[top : top + len(light), left : left + len(light)] += light
    inner = weight[rim : rim + picture.object.shape[0], rim : rim + picture.object.shape[1]]
    return replace(picture, known=picture.known & well_covered(inner))


def _correlation(picture: PlacedPicture, reference: PlacedPicture) -> float | None:
    try:
        return compare_pictures(picture, reference).phase_correlation
    except GeometryError:
        return None
