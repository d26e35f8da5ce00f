"""Frames with a wrong position: held back, refused at the end where they are few, and never to the harm of a real scan."""

from __future__ import annotations

import numpy as np
import pytest

from streams.frame import Frame, ScanStart
from tests.support.join_tools import NamedJoin
from tests.support.stream_tools import Clock, frame

UM = 1e-6
REACH_M = 10.0 * UM
GRID = [(float(i // 10), float(i % 10)) for i in range(100)]


def placed(index: int, place: tuple[float, float]) -> Frame:
    """Return a frame at a place in micrometres."""
    return frame(index, (place[0] * UM, place[1] * UM))


def run(positions: list[tuple[float, float]], clock: Clock | None = None) -> tuple[list[int], dict[str, int], int]:
    """Send a whole scan; return the indexes handed on in their order, the refusals, and how many came before the end."""
    clock = clock or Clock()
    join = NamedJoin(clock=clock, reach_m=lambda _: REACH_M)
    join.start_scan(ScanStart("a", len(positions)))
    handed: list[int] = []

    def take(points):
        handed.extend(point.index for point in points)
        join.mark_stitched("a", [point.index for point in points])

    for index, place in enumerate(positions):
        take(join.add_frame(placed(index, place)))
        account = join.account("a")
        assert account.received == account.stitched + account.pending + sum(account.refused.values())
    before = len(handed)
    join.end_scan("a")
    take(join.poll())
    assert join.is_finished("a")
    account = join.account("a")
    assert account.received == len(positions) == account.stitched + sum(account.refused.values())
    return handed, account.refused, before


def with_glitches(**at: tuple[float, float]) -> list[tuple[float, float]]:
    places = list(GRID)
    for name, place in at.items():
        places[int(name[1:])] = place
    return places


def test_an_ordinary_scan_is_handed_on_in_its_order_from_the_second_frame_on():
    handed, refused, before = run(GRID)
    assert handed == list(range(100))
    assert refused == {}
    assert before == 100


@pytest.mark.parametrize(
    "positions",
    [
        with_glitches(_50=(4000.0, 4000.0)),
        with_glitches(_0=(20_000.0, 0.0)),
        with_glitches(_99=(0.0, -400.0)),
        with_glitches(_40=(4000.0, 4000.0), _60=(-4000.0, -4000.0)),
        with_glitches(_0=(4000.0, 4000.0), _1=(-4000.0, 0.0), _2=(0.0, 9000.0)),
        with_glitches(**{f"_{k}": (-5000.0, -5000.0) for k in range(10, 90, 5)}),
    ],
    ids=["one", "the first", "the last", "two", "the first three", "a stuck motor, 16 times"],
)
def test_wrong_positions_are_refused_alone(positions: list[tuple[float, float]]):
    wrong = sum(place not in GRID for place in positions)
    handed, refused, before = run(positions)
    assert refused == {"far_from_others": wrong}
    assert before == len(handed) == 100 - wrong
    assert all(positions[index] in GRID for index in handed)


def test_a_scan_of_two_places_is_whole():
    second = [(y + 3000.0, x) for y, x in GRID[:20]]
    handed, refused, before = run(GRID + second)
    assert (sorted(handed), refused, before) == (list(range(120)), {}, 120)


def test_a_large_scan_in_any_order_is_whole():
    rng = np.random.default_rng(0)
    places = [(float(y), float(x)) for y in range(0, 200, 5) for x in range(0, 200, 5)]
    rng.shuffle(places)
    handed, refused, _ = run([(y, x) for y, x in places])
    assert (sorted(handed), refused) == (list(range(len(places))), {})


@pytest.mark.parametrize(
    "positions", [[(0.0, 0.0)], [(0.0, 0.0), (500.0, 0.0)], [(3.0, 3.0)] * 30, GRID[:3] + [(900.0, 0.0)]]
)
def test_small_scans_and_scans_at_one_place_are_whole(positions: list[tuple[float, float]]):
    handed, refused, _ = run(positions)
    assert (sorted(handed), refused) == (list(range(len(positions))), {})


def test_a_first_frame_is_shown_where_the_second_is_long_in_coming():
    clock = Clock()
    join = NamedJoin(clock=clock, reach_m=lambda _: REACH_M)
    assert join.add_frame(placed(0, (0.0, 0.0))) == []
    assert join.poll() == []
    clock.now += 3.0
    assert [point.index for point in join.poll()] == [0]


def test_many_wrong_positions_take_no_memory_without_bound():
    join = NamedJoin(reach_m=lambda _: REACH_M)
    for index, place in enumerate(GRID * 10):
        join.add_frame(placed(index, place if index % 10 else (1e3 * (index + 1), 0.0)))
    account = join.account("a")
    assert account.pending == 1000 - 36
    assert account.refused["far_from_others"] == 100 - 64


def test_last_frames_that_begin_a_new_place_are_laid_at_the_end_if_the_canvas_stays_affordable():
    for count in (1, 2, 3):
        places = [*GRID, *[(0.0, 25.0 + k) for k in range(count)]]
        assert run(places) == (list(range(len(places))), {}, 100)
    assert run([*GRID, (0.0, 500.0)]) == (list(range(100)), {"far_from_others": 1}, 100)
    assert run([*GRID, (0.0, 25.0), (4000.0, 4000.0)]) == (list(range(101)), {"far_from_others": 1}, 100)
    followed = [*GRID[:99], (0.0, 25.0), GRID[99]]
    assert run(followed) == ([*range(99), 100], {"far_from_others": 1}, 100)
