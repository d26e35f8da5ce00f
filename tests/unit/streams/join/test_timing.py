"""The check of pairs by time."""

from __future__ import annotations

import random

import pytest

from streams.join.timing import TimeCheck


def run(frames: int, slip_at: int | None = None, by: int = 1, *, drift: float = 0.0, order: int = 1) -> TimeCheck:
    check, rng = TimeCheck(), random.Random(3)
    steps = [(index, side) for index in range(frames) for side in (0, 1)]
    if order > 1:
        steps.sort(key=lambda step: step[0] + rng.uniform(0, order))
    for index, side in steps:
        taken = index * 0.01
        late = by * 0.01 if slip_at is not None and index >= slip_at else 0.0
        if side:
            check.add_position(index, taken)
        else:
            check.add_frame(index, 1000.0 + taken * (1 + drift) + late + rng.uniform(-1e-3, 1e-3))
    return check


@pytest.mark.parametrize("order", [1, 100])
@pytest.mark.parametrize("drift", [0.0, 1e-3])
def test_steady_clocks_show_no_slip(drift: float, order: int) -> None:
    assert run(5000, drift=drift, order=order).slip is None


@pytest.mark.parametrize("order", [1, 60])
@pytest.mark.parametrize("by", [1, -1, 12])
def test_a_lost_trigger_is_found_and_placed(by: int, order: int) -> None:
    slip = run(2000, 801, by, order=order).slip
    assert slip is not None
    assert slip[1] == by
    assert 801 <= slip[0] <= 801 + 64


def test_one_odd_time_is_none() -> None:
    check = TimeCheck()
    for index in range(0, 800, 8):
        check.add_position(index, index * 0.01)
        check.add_frame(index, index * 0.01 + (0.5 if index == 400 else 0.0))
    assert check.slip is None


def test_times_without_partners_are_bounded_and_equal_times_divide_by_nothing() -> None:
    check = TimeCheck()
    for index in range(0, 80_000, 8):
        check.add_frame(index, 1.0)
    assert len(check._times[0]) == 1024
    for index in range(79_000, 80_000):
        check.add_position(index, 1.0)
    assert check.slip is None
