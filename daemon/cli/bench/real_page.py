"""The page of ``bench real``: a table, pictures side by side, curves of quality against time; Markdown with PNG and SVG."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from daemon.cli.bench.stages import processor
from daemon.version import VERSION
from ptychopinn.atomic import atomic_path, write_atomically
from ptychopinn.diagnosis.comparison import PlacedPicture, registered
from ptychopinn.errors import GeometryError

if TYPE_CHECKING:
    from daemon.cli.bench.real import RealResult, RealRow
    from daemon.cli.bench.real_engines import Budget

SHOWN_PX, GAP_PX = 200, 6
"""Side of a picture on the page, and the gap between two."""
WIDTH, HEIGHT, RIM = 560, 240, 36
"""Size of a chart and its rim for the labels."""
COLOURS = ("#1565c0", "#00897b", "#e65100", "#8e24aa", "#616161")
COLUMNS = (
    "scan",
    "engine",
    "R",
    "phase correlation",
    "FRC, nm",
    "FRC, px",
    "position error, px",
    "seconds",
    "CPU seconds",
)
DIVERGED_RFACTOR = 10.0
"""R of a picture that has diverged: an empty object has 1 to 3."""
CLOCK_WORDS = {"wall": "s", "cpu": "s of CPU time"}
INTRODUCTION = """\
# Measured scans, beside pty-chi

Made by `ptycholive bench real` (Ptycholive {version}). Each engine had {seconds:g} {clock} for each scan, with {threads} threads,
one after the other, on {machine}.

| engine | what it does |
|---|---|
| live | the daemon; the frames were sent in the first half of the time |
| offline | network and refined layer, with `--correct-positions` where positions are wrong |
| LSQML, rPIE | pty-chi's, with its position correction where positions are wrong |

- *Phase correlation* is that with the reference: LSQML on the corrected positions after three times as long (without pty-chi:
  this program), after registration and ramp removal, where frames cover the picture well. The reference favours LSQML a little.
- *FRC* is the half-bit resolution of two halves of the frames, each reconstructed in half of the time; for *live* it is the
  daemon's own.
- *Position error* is the mean distance to the corrected positions, their affine part removed.
- *CPU seconds* are those of all threads; for *live* also those of starting the daemon and of sending.
"""


def write_page(output: Path, results: Sequence[RealResult], budget: Budget) -> Path:
    """Write the page and its pictures into a folder; return the page."""
    output.mkdir(parents=True, exist_ok=True)
    page = output / "real-scans.md"
    machine = f"{processor()} ({os.cpu_count()} cores)"
    clock = CLOCK_WORDS[budget.clock]
    head = INTRODUCTION.format(
        version=VERSION, seconds=budget.seconds, clock=clock, threads=budget.threads, machine=machine
    )
    parts = [head, *_table([row for result in results for row in result.rows])]
    for result in results:
        name, stem = result.scan.name, f"real-{result.scan.slug}"
        _save_pictures(output / f"{stem}.png", result)
        write_atomically(output / f"{stem}.svg", _chart(result.rows).encode())
        order = ", ".join(result.pictures)
        parts += [
            f"\n## {name[0].upper()}{name[1:]}\n",
            f"Phase, one scale for all: {order}.\n",
            f"![Phase of {name}: {order}]({stem}.png)\n",
            f"![Phase correlation with the reference against time, {name}]({stem}.svg)",
        ]
    write_atomically(page, ("\n".join(parts) + "\n").encode())
    return page


def _table(rows: Sequence[RealRow]) -> list[str]:
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    for row in rows:
        cells = [
            row.scan,
            row.engine,
            "diverged" if (row.rfactor or 0) > DIVERGED_RFACTOR else _number(row.rfactor, 3),
            _number(row.phase_correlation, 3),
            _number(row.frc_nm, 1),
            _number(row.frc_px, 2),
            _number(row.position_error_px, 2),
            _number(row.seconds, 1),
            _number(row.cpu_s, 1),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _save_pictures(path: Path, result: RealResult) -> None:
    """Save the phases side by side, each registered with the reference, with the reference's range of values."""
    reference = result.pictures["reference"]
    shown = [_phase(picture, reference) for picture in result.pictures.values()]
    values = shown[0][np.isfinite(shown[0])]
    low, high = np.percentile(values, (1, 99)) if values.size else (-1.0, 1.0)
    strip = np.full((SHOWN_PX, len(shown) * (SHOWN_PX + GAP_PX) - GAP_PX), 255, dtype=np.uint8)
    for number, phase in enumerate(shown):
        grey = np.nan_to_num(np.clip((phase - low) / max(high - low, 1e-6), 0, 1) * 255, nan=255.0).astype(np.uint8)
        image = Image.fromarray(grey)
        image.thumbnail((SHOWN_PX, SHOWN_PX))
        left, pixels = number * (SHOWN_PX + GAP_PX), np.asarray(image)
        strip[: pixels.shape[0], left : left + pixels.shape[1]] = pixels
    with atomic_path(path) as part, part.open("wb") as stream:
        Image.fromarray(strip).save(stream, format="PNG", optimize=True)


def _phase(picture: PlacedPicture, reference: PlacedPicture) -> NDArray[np.float64]:
    try:
        both = registered(picture, reference)
    except GeometryError:
        return np.full((16, 16), np.nan)
    level = np.exp(-1j * np.angle(both.picture[both.known].sum()))
    rows, columns = (np.flatnonzero(both.known.any(axis=axis)) for axis in (1, 0))
    cut = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return np.asarray(np.where(both.known, np.angle(both.picture * level), np.nan)[cut])


def _chart(rows: Sequence[RealRow]) -> str:
    """Return an SVG: phase correlation (0 to 1) against time, logarithmic."""
    times = [at for row in rows for at, _ in row.curve] or [1.0]
    first, last = np.log(max(min(times), 0.1)), np.log(max(*times, 0.2))
    inner = WIDTH - 4 * RIM, HEIGHT - 2 * RIM

    def place(at: float, value: float) -> str:
        x = RIM + inner[0] * (np.log(max(at, 0.1)) - first) / max(last - first, 1e-6)
        return f"{x:.1f},{RIM + inner[1] * (1 - min(1.0, max(0.0, value))):.1f}"

    parts: list[Any] = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<path d="M{RIM},{RIM} V{HEIGHT - RIM} H{RIM + inner[0]}" fill="none" stroke="#888"/>',
    ]
    for value in (0.0, 0.5, 1.0):
        x, y = place(min(times), value).split(",")
        parts.append(f'<text x="{float(x) - 6}" y="{float(y) + 4}" text-anchor="end">{value:g}</text>')
    for at in (min(times), max(times)):
        x, _ = place(at, 0).split(",")
        parts.append(f'<text x="{x}" y="{HEIGHT - RIM + 14}" text-anchor="middle">{at:.1f} s</text>')
    for number, row in enumerate(rows):
        colour = COLOURS[number % len(COLOURS)]
        line = " ".join(place(at, value) for at, value in row.curve)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{WIDTH - 3 * RIM + 8}" y="{RIM + 16 * number}" fill="{colour}">{row.engine}</text>')
    return "\n".join([*parts, "</svg>\n"])
