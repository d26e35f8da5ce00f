"""Position messages, rasters and tables."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.errors import PositionError
from streams.frame import Position, PositionM
from streams.position_sources.positions import (
    encode_positions,
    parse_positions,
    raster_positions,
    read_position_table,
    spiral_positions,
)

PAIRS = st.lists(st.tuples(st.floats(), st.floats()), max_size=40)
HEADER = {"schema_version": 1, "scan_id": "s", "first": 5, "position_m": [[1.0, 2.0], [3, 4]]}


@settings(deadline=None)
@given(PAIRS, st.none() | st.just("scan-1"), st.integers(0, 2**30), st.booleans())
def test_positions_come_back(
    pairs: list[tuple[float, float]], scan_id: str | None, first: int, is_listed: bool
) -> None:
    indexes = list(range(first, first + len(pairs)))[::-1] if is_listed else None
    found = parse_positions(encode_positions(pairs, first=first, indexes=indexes, scan_id=scan_id))
    assert [p.scan_id for p in found] == [scan_id] * len(pairs)
    assert [p.index for p in found] == (indexes or list(range(first, first + len(pairs))))
    assert np.array_equal([p.position_m for p in found] or np.empty(0), pairs or np.empty(0), equal_nan=True)


def test_message_of_another_writer() -> None:
    found = parse_positions([memoryview(b"positions"), memoryview(msgpack.packb(HEADER | {"scan_id": "a/b"}))])
    assert found == [Position("a_b", 5, PositionM(1.0, 2.0)), Position("a_b", 6, PositionM(3.0, 4.0))]
    assert parse_positions([b"positions", msgpack.packb(HEADER | {"scan_id": None, "position_m": []})]) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"schema_version": 2},
        {"scan_id": 7},
        {"scan_id": ""},
        {"first": -1},
        {"first": True},
        {"first": None},
        {"first": 2**31 - 2, "position_m": [[0, 0]] * 3},
        {"first": 2**64 - 1},
        {"indexes": [1]},
        {"indexes": [1, -2]},
        {"indexes": [1, "2"]},
        {"indexes": 4},
        {"position_m": None},
        {"position_m": {"y": [1]}},
        {"position_m": [[1.0, 2.0], [1.0]]},
        {"position_m": [[1.0, 2.0], [1.0, "2"]]},
        {"position_m": [[1.0, 2.0], None]},
        {"position_m": [1.0, 2.0]},
    ],
)
def test_headers_that_lie(changes: dict[str, Any]) -> None:
    with pytest.raises(PositionError):
        parse_positions([b"positions", msgpack.packb(HEADER | changes)])


@settings(deadline=None, max_examples=300)
@given(st.lists(st.binary(max_size=60) | st.just(b"positions"), max_size=3))
def test_arbitrary_parts_are_refused(parts: list[bytes]) -> None:
    with pytest.raises(PositionError):
        parse_positions(parts)


@settings(deadline=None)
@given(st.integers(0, 500))
def test_a_cut_message_is_refused(cut: int) -> None:
    kind, header = encode_positions(np.zeros((8, 2)), scan_id="s")
    with pytest.raises(PositionError):
        parse_positions([kind, header[: cut % len(header)]])


def test_raster_runs_along_the_columns() -> None:
    grid = raster_positions((2, 3), (1e-6, 2e-6), snake=False, center=False)
    assert np.allclose(grid, np.array([[0, 0], [0, 2], [0, 4], [1, 0], [1, 2], [1, 4]]) * 1e-6)
    snake = raster_positions((3, 2), (-1.0, 1.0), snake=True, center=False)
    assert snake.tolist() == [[0, 0], [0, 1], [-1, 1], [-1, 0], [-2, 0], [-2, 1]]


def test_centred_raster_has_its_middle_at_the_origin() -> None:
    grid = raster_positions((4, 5), (3e-8, 4e-8), snake=True)
    assert np.allclose(grid.mean(axis=0), 0)
    assert np.allclose(grid.max(axis=0), [4.5e-8, 8e-8])


@pytest.mark.parametrize(("shape", "step"), [((0, 3), (1.0, 1.0)), ((3, -1), (1.0, 1.0)), ((2, 2), (math.nan, 1.0))])
def test_raster_that_is_none(shape: tuple[int, int], step: tuple[float, float]) -> None:
    with pytest.raises(PositionError, match="raster"):
        raster_positions(shape, step, snake=False)


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("1e-6,2\n3,4\n", [[1e-6, 2], [3, 4]]),
        ("\ufeffy,x\n1,2\n\n# pause\n3,4", [[1, 2], [3, 4]]),
        ("x_m, y_m\n1,2\n", [[2, 1]]),
        ("1,5,6\n0,3,4\n", [[3, 4], [5, 6]]),
        ("Index,Y,X\r\n2,5,6\r\n0,3,4\r\n", [[3, 4], [math.nan] * 2, [5, 6]]),
    ],
)
def test_tables(tmp_path: Path, text: str, table: list[list[float]]) -> None:
    path = tmp_path / "positions.csv"
    path.write_text(text, encoding="utf-8", newline="")
    assert np.array_equal(read_position_table(path), table, equal_nan=True)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("1,2\n3,four\n", "line 2: could not convert string to float: 'four'"),
        ("y,x\n1,2\n3\n", "line 3: 1 columns instead of 2"),
        ("1,2\nnan,4\n", "line 2: position nan,4 is not finite"),
        ("0,1,2\n0,3,4\n", "line 2: index 0 is repeated"),
        ("0.5,1,2\n", "line 1: invalid literal for int"),
        ("-1,1,2\n", "line 1: index -1 is not"),
        ("999999999,1,2\n", "line 1: index 999999999 is not"),
        ("1,2,3,4\n", "line 1: 4 columns are neither"),
        ("time,value\n", "line 1: columns time,value are neither"),
        ("y,y\n1,2\n", "line 1: columns y,y are neither"),
        ("y,x\n", "contains no positions"),
        ("", "contains no positions"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "positions.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PositionError, match=f"position file {path}.*{sentence}"):
        read_position_table(path)


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    (tmp_path / "image.csv").write_bytes(b"\x89PNG\xff\xfe")
    for name in ("image.csv", "nothing.csv", "."):
        with pytest.raises(PositionError, match=r"position file .* cannot be read"):
            read_position_table(tmp_path / name)


def test_a_spiral_begins_in_the_middle_and_covers_evenly() -> None:
    places = spiral_positions(2000, (2e-6, 1e-6))
    assert places.shape == (2000, 2)
    assert places[0].tolist() == [0, 0]
    radius = np.hypot(places[:, 0] / 2e-6, places[:, 1] / 1e-6)
    assert np.allclose(radius, np.sqrt(np.arange(2000)))
    unit = places / [2e-6, 1e-6]
    apart = np.linalg.norm(unit[500:, None] - unit[None], axis=-1)
    apart[apart == 0] = np.inf
    assert apart.min() > 1.2
    assert apart.min(axis=1).max() < 2.0


@pytest.mark.parametrize(("count", "step"), [(0, (1.0, 1.0)), (5, (0.0, 1.0)), (5, (1.0, math.inf))])
def test_spirals_that_are_none(count: int, step: tuple[float, float]) -> None:
    with pytest.raises(PositionError, match="spiral"):
        spiral_positions(count, step)
