"""``compare``: how far two reconstructions agree, after registration."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TypedDict

import numpy as np
import typer

from daemon.cli.batch import at_file
from daemon.cli.compared_file import ComparedFile, centred, read_compared
from ptychopinn.diagnosis.comparison import Comparison, common_pixel_m, compare_pictures, position_errors_px
from ptychopinn.errors import GeometryError


class PositionErrors(TypedDict):
    """Mean distance of the positions of common frames, pixels; null where they have none in common."""

    position_error_px: float | None
    """Without a common shift."""
    position_error_affine_removed_px: float | None
    """Without a common affine map."""
    frames: int
    """Frames in both files."""


def run_compare(first: Path, second: Path, as_json: bool) -> None:
    """Compare two files and print the figures."""
    with at_file(first):
        one = read_compared(first)
    with at_file(second):
        other = read_compared(second)
    pixel_m = common_pixel_m(one.pixel_size_m, other.pixel_size_m, (str(first), str(second)))
    found = _compared(one, other, pixel_m)
    errors = _position_errors(one, other)
    rfactors = {"a": one.rfactor, "b": other.rfactor}
    if as_json:
        about = {"a": str(first), "b": str(second), "rfactor": rfactors, "pixel_size_m": pixel_m}
        typer.echo(json.dumps({**about, **asdict(found), **errors}))
        return
    for line in _lines(found, errors, rfactors):
        typer.echo(line)


def _compared(one: ComparedFile, other: ComparedFile, pixel_m: float | None) -> Comparison:
    """Compare in the object's frame; pictures that do not lie in one frame are put on each other's middle."""
    try:
        return compare_pictures(one.picture, other.picture, pixel_m)
    except GeometryError:
        return compare_pictures(centred(one, other).picture, other.picture, pixel_m)


def _position_errors(one: ComparedFile, other: ComparedFile) -> PositionErrors:
    if one.indexes is None or other.indexes is None or one.positions_px is None or other.positions_px is None:
        return {"position_error_px": None, "position_error_affine_removed_px": None, "frames": 0}
    both, here, there = np.intersect1d(one.indexes, other.indexes, return_indices=True)
    plain, bent = position_errors_px(one.positions_px[here], other.positions_px[there])
    return {"position_error_px": plain, "position_error_affine_removed_px": bent, "frames": len(both)}


def _lines(found: Comparison, errors: PositionErrors, rfactors: dict[str, float | None]) -> list[str]:
    frc = "unknown" if found.frc_px is None else f"{found.frc_px:.2f} px"
    frc += "" if found.frc_nm is None else f" = {found.frc_nm:.1f} nm"
    rows = (
        ("R", f"{_number(rfactors['a'])} and {_number(rfactors['b'])} (as the files state it)"),
        ("phase correlation", _number(found.phase_correlation)),
        ("amplitude correlation", _number(found.amplitude_correlation)),
        ("SSIM of the phase", _number(found.ssim)),
        ("MS-SSIM of the phase", f"{_number(found.ms_ssim)} ({found.ms_ssim_scales} scales)"),
        ("SSIM of the amplitude", _number(found.amplitude_ssim)),
        ("difference", f"{_number(found.difference)} of the second picture"),
        (f"FRC ({found.frc_criterion})", frc),
        ("position error", f"{_px(errors['position_error_px'])}, {errors['frames']} frames"),
        ("  affine part removed", _px(errors["position_error_affine_removed_px"])),
        ("taken off", f"shift {_two(found.shift_px)} px, ramp {_two(found.ramp_rad_px)} rad/px"),
        ("compared", f"{found.pixels:,} pixels, the largest square {found.side_px} px"),
    )
    return [f"{name:24}{value}" for name, value in rows]


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"


def _px(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f} px"


def _two(pair: tuple[float, float]) -> str:
    return f"({pair[0]:.3g}, {pair[1]:.3g})"
