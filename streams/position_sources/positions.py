"""Scan positions: the native position stream, computed rasters and spirals, and tables in files.

A native position message has two parts: ``positions`` and a msgpack map of at most 1 MiB

- ``schema_version``: 1,
- ``scan_id``: text; without it the positions belong to the scan that is open when they arrive,
- ``first``: index of the first position, the others follow it; or ``indexes``: one index for each,
- ``position_m``: ``[[y, x], ...]``, metres.

A table file is CSV with columns ``y,x`` (row k is frame k) or ``index,y,x``, metres, in that order unless a header names
them; lines that start with ``#`` are ignored.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from numpy.typing import ArrayLike, NDArray

from streams.codecs.base import Part, check_index, read_position, sanitise_scan_id
from streams.codecs.native import SCHEMA_VERSION, read_map
from streams.errors import CodecError, PositionError
from streams.frame import Position

__all__ = ["encode_positions", "parse_positions", "raster_positions", "read_position_table", "spiral_positions"]

_KIND = b"positions"
_MAX_TABLE_INDEX = 10_000_000
"""Frames of a table; 160 MB of positions."""
_GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))
"""Angle from one point of a Fermat spiral to the next, rad."""
_COLUMNS = {"index": "index", "frame": "index", "y": "y", "y_m": "y", "x": "x", "x_m": "x"}


def parse_positions(parts: Sequence[Part]) -> list[Position]:
    """Read one message; positions need not be finite. Raises :class:`PositionError` for an invalid message."""
    if len(parts) != 2 or bytes(parts[0][: len(_KIND) + 1]) != _KIND:
        raise PositionError(
            f"a position message has two parts, 'positions' and a header; this one has {len(parts)} other parts"
        )
    try:
        header = read_map(parts[1])
        scan_id = _scan_id(header)
        rows = header.get("position_m")
        if not isinstance(rows, list):
            raise PositionError("the header's position_m is not a list of [y, x]")
        indexes = _indexes(header, len(rows))
        name = scan_id or ""
        return [
            Position(scan_id, check_index(index, name), read_position(row, name, index))
            for index, row in zip(indexes, rows, strict=True)
        ]
    except CodecError as error:
        raise PositionError(f"position message refused: {error}") from error


def encode_positions(
    positions_m: ArrayLike,
    *,
    first: int = 0,
    indexes: Sequence[int] | None = None,
    scan_id: str | None = None,
) -> list[bytes]:
    """Write positions ``(n, 2)``, metres, with indexes from ``first`` on, or with ``indexes``."""
    header: dict[str, object] = {"schema_version": SCHEMA_VERSION}
    if scan_id is not None:
        header["scan_id"] = scan_id
    if indexes is None:
        header["first"] = int(first)
    else:
        header["indexes"] = [int(index) for index in indexes]
    header["position_m"] = np.asarray(positions_m, np.float64).reshape(-1, 2).tolist()
    return [_KIND, msgpack.packb(header)]


def raster_positions(
    shape: tuple[int, int], step_m: tuple[float, float], snake: bool, center: bool = True
) -> NDArray[np.float64]:
    """Return the positions ``(rows * columns, 2)`` of a raster, metres, columns fastest.

    ``snake`` reverses every other row. With ``center`` the raster's middle is at the origin, otherwise its first point.
    Raises :class:`PositionError` for an invalid shape or step.
    """
    rows, columns = shape
    if rows < 1 or columns < 1 or not all(map(math.isfinite, step_m)):
        raise PositionError(
            f"a raster of {rows} x {columns} points with steps {step_m} m is not possible; correct [positions]"
        )
    y, x = np.mgrid[:rows, :columns].astype(np.float64)
    if snake:
        x[1::2] = x[1::2, ::-1]
    grid = np.stack([y, x], axis=-1).reshape(-1, 2)
    if center:
        grid -= (np.array(shape) - 1) / 2
    return grid * np.asarray(step_m, np.float64)


def spiral_positions(count: int, step_m: tuple[float, float]) -> NDArray[np.float64]:
    """Return ``count`` positions ``(count, 2)`` of a Fermat spiral about the origin, metres, from the middle outwards.

    Position n has the radius ``step * sqrt(n)`` and the angle n times the golden angle, so that all have about the same
    area; ``step_m`` is the (y, x) step, unequal for an ellipse. Raises :class:`PositionError` for an invalid count or step.
    """
    if count < 1 or not all(map(math.isfinite, step_m)) or 0 in step_m:
        raise PositionError(f"a spiral of {count} points with steps {step_m} m is not possible; correct [positions]")
    number = np.arange(count, dtype=np.float64)
    angle = number * _GOLDEN_ANGLE
    unit = np.stack([np.sin(angle), np.cos(angle)], axis=-1) * np.sqrt(number)[:, None]
    return np.asarray(unit * np.asarray(step_m, np.float64))


def read_position_table(path: str | Path) -> NDArray[np.float64]:
    """Return the positions ``(n, 2)`` [y, x], metres, of a CSV file; NaN for missing indexes.

    Raises :class:`PositionError` naming file and line.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            return _read_table(csv.reader(file), str(path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PositionError(f"position file {path} cannot be read: {error}") from error


def _scan_id(header: dict[str, object]) -> str | None:
    scan_id = header.get("scan_id")
    if scan_id is None:
        return None
    if not isinstance(scan_id, str) or not scan_id:
        raise PositionError("the header's scan_id is not a string")
    return sanitise_scan_id(scan_id)


def _indexes(header: dict[str, object], count: int) -> Sequence[Any]:
    indexes = header.get("indexes")
    if indexes is None:
        first = check_index(header.get("first"), str(header.get("scan_id", "")))
        return range(first, first + count)
    if not isinstance(indexes, list) or len(indexes) != count:
        raise PositionError(f"the header's indexes are not a list of {count}, one for each position")
    return indexes


def _read_table(rows: Iterator[list[str]], path: str) -> NDArray[np.float64]:
    columns: list[str] | None = None
    found: dict[int, tuple[float, float]] = {}
    for line, row in enumerate(rows, 1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or cells[0].startswith("#"):
            continue
        try:
            if columns is None:
                columns = _columns(cells)
                if not _is_number(cells[0]):
                    continue
            index, position = _read_row(cells, columns, len(found))
            if index in found:
                raise ValueError(f"index {index} is repeated")
            found[index] = position
        except ValueError as error:
            raise PositionError(f"position file {path}, line {line}: {error}") from error
    if not found:
        raise PositionError(f"position file {path} contains no positions; it needs columns y,x or index,y,x in metres")
    table = np.full((max(found) + 1, 2), np.nan)
    table[list(found)] = list(found.values())
    return table


def _columns(cells: list[str]) -> list[str]:
    """Return the name of each column, from a header or from the number of columns."""
    if _is_number(cells[0]):
        if len(cells) not in (2, 3):
            raise ValueError(f"{len(cells)} columns are neither y,x nor index,y,x")
        return ["y", "x"] if len(cells) == 2 else ["index", "y", "x"]
    names = [_COLUMNS.get(cell.lower(), "") for cell in cells]
    if sorted(names) not in (["x", "y"], ["index", "x", "y"]):
        raise ValueError(f"columns {','.join(cells)[:80]} are neither y,x nor index,y,x")
    return names


def _read_row(cells: list[str], columns: list[str], next_index: int) -> tuple[int, tuple[float, float]]:
    if len(cells) != len(columns):
        raise ValueError(f"{len(cells)} columns instead of {len(columns)}")
    values = dict(zip(columns, cells, strict=True))
    index = int(values["index"]) if "index" in values else next_index
    if not 0 <= index < _MAX_TABLE_INDEX:
        raise ValueError(f"index {index} is not 0 to {_MAX_TABLE_INDEX - 1}")
    position = float(values["y"]), float(values["x"])
    if not all(map(math.isfinite, position)):
        raise ValueError(f"position {values['y']},{values['x']} is not finite")
    return index, position


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
