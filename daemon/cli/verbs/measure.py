"""Declares the verbs that measure: bench, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from daemon.cli.verbs.options import AsJson
from daemon.errors import ConfigError

Clock = Literal["wall", "cpu"]


def bench(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Measurements to run: decode, receive, mosaic, lift, predict, refine, chain, latency, viewers, learning, "
            "scaling, launches, overhead or resolution. Default: all but the last six. Or real: both measured scans, "
            "beside pty-chi."
        ),
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Name of a measurement. Repeatable.")] = None,
    engine_python: Annotated[
        Path | None, typer.Option(help="For resolution and real: Python of an environment with pty-chi.")
    ] = None,
    spiral: Annotated[
        Path | None,
        typer.Option(help="For real: the spiral scan, as NPZ or tike's source archive (tike-0.26.0.tar.gz)."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="For real: folder for the page. Default: real.")] = None,
    seconds: Annotated[float | None, typer.Option(min=1, help="For real: time of each engine, s. Default: 60.")] = None,
    frames: Annotated[int | None, typer.Option(min=40, help="For real: use only the first N frames.")] = None,
    scan: Annotated[
        list[str] | None,
        typer.Option(
            help="For real: star, spiral-corrected-positions or spiral-measured-positions. Repeatable. Default: all."
        ),
    ] = None,
    clock: Annotated[
        Clock | None, typer.Option(help="For real: clock of --seconds; cpu on a busy machine. Default: wall.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="For resolution: plot file to write (png, svg, pdf).")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure the speed of the stages, or the resolution of the demo."""
    chosen = [*(names or []), *(only or [])]
    if chosen == ["resolution"]:
        from daemon.cli.bench.resolution import run_resolution

        run_resolution(engine_python, plot, as_json)
        return
    if chosen == ["real"]:
        from daemon.cli.bench.real import RealOptions, run_real

        if plot is not None:
            raise ConfigError("--plot works only with `bench resolution`; leave it out")
        options = RealOptions(
            spiral=spiral,
            engine_python=engine_python,
            output=output or Path("real"),
            seconds=seconds or 60.0,
            frames=frames,
            scans=scan,
            clock=clock or "wall",
        )
        run_real(options, as_json)
        return
    if any(value is not None for value in (spiral, output, seconds, frames, scan, clock)):
        raise ConfigError(
            "--spiral, --output, --seconds, --frames, --scan and --clock work only with `bench real`; leave them out"
        )
    if engine_python is not None or plot is not None:
        raise ConfigError("--engine-python and --plot work only with `bench resolution`; leave them out")
    from daemon.cli.bench.stages import run_bench

    run_bench(chosen, as_json)


def compare(
    first: Annotated[
        Path, typer.Argument(metavar="A", help="Product, saved picture (NPZ, HDF5, NPY) or scan with its truth.")
    ],
    second: Annotated[Path, typer.Argument(metavar="B", help="The file to compare with, best the truth.")],
    as_json: AsJson = False,
) -> None:
    """Compare two reconstructions after registration and ramp removal.

    Prints R, phase correlation, SSIM, MS-SSIM, FRC and position error.
    """
    from daemon.cli.compare import run_compare

    run_compare(first, second, as_json)
