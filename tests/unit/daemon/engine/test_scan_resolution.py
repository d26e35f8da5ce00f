"""The resolution of a running scan: its share of the time, its trend, its fields."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from daemon.engine import resolution
from daemon.engine.resolution import (
    LATER_SHARE,
    LATER_VISITS,
    MOST_GAP_S,
    PERIOD_S,
    SETTLED_S,
    SHARE,
    Resolution,
    ScanResolution,
)
from daemon.messages import FrcFields
from ptychopinn.diagnosis.resolution import RingCorrelation
from tests.support.messages import check

SIDE = 128


def curve(resolution_px: float | None) -> RingCorrelation:
    """Return a curve that falls at a resolution; None: everywhere below the line."""
    frequency = np.arange(SIDE // 2 + 1) / SIDE
    limit = 0.0 if resolution_px is None else 0.5 / resolution_px
    correlation = np.where(frequency < limit, 1.0, 0.0)
    return RingCorrelation(frequency, correlation, np.full(len(frequency), 0.5), SIDE)


class Halves:
    """Halves whose slices take a known time."""

    def __init__(self, clock: Clock, step_s: float = 0.004) -> None:
        self.clock, self.step_s = clock, step_s
        self.spent_s = self.visits = 0.0
        self.begun, self.frames = 1, 100
        self.is_ripening = False
        self.found: RingCorrelation | None = None

    def keep_up(self, source: Any) -> None:
        del source

    def step(self) -> bool:
        self.clock.use(self.step_s)
        self.spent_s += self.step_s
        self.visits += 0.1
        return True

    def measure(self) -> RingCorrelation | None:
        return self.found


class Clock:
    """The time, and the processor time of a thread that waits for others, ``pause`` times as long as it works."""

    now, used_s, pause = 100.0, 0.0, 0.0

    def use(self, seconds: float) -> None:
        self.used_s += seconds
        self.now += seconds * (1 + self.pause)

    def monotonic(self) -> float:
        return self.now

    def thread_time(self) -> float:
        return self.used_s


class Source:
    least_visits = kept_bytes = 0


@pytest.fixture
def scan(monkeypatch: pytest.MonkeyPatch) -> tuple[ScanResolution, Halves, Clock]:
    clock = Clock()
    monkeypatch.setattr(resolution, "time", clock)
    found = ScanResolution(update_probe=False, is_subpixel=False)
    halves = Halves(clock)
    monkeypatch.setattr(found, "_halves", halves)
    return found, halves, clock


def run(scan: tuple[ScanResolution, Halves, Clock], seconds: float, source: Source) -> float:
    """Let the refiner work for some time in slices of 4 ms; return the share that the halves had of it."""
    found, halves, clock = scan
    before = halves.spent_s
    for _ in range(round(seconds / 0.004)):
        clock.use(0.004)
        found.spend(source, 0.004)
    return (halves.spent_s - before) / seconds


def test_the_halves_get_their_share_and_more_once_the_picture_is_refined(
    scan: tuple[ScanResolution, Halves, Clock],
) -> None:
    source = Source()
    assert run(scan, 10, source) == pytest.approx(SHARE, rel=0.02)
    source.least_visits = LATER_VISITS
    assert run(scan, 10, source) == pytest.approx(LATER_SHARE, rel=0.02)


def test_a_busy_host_takes_nothing_of_their_share(scan: tuple[ScanResolution, Halves, Clock]) -> None:
    scan[2].pause = 50.0
    assert run(scan, 10, Source()) == pytest.approx(SHARE, rel=0.02)


def test_the_first_comparison_comes_as_soon_as_it_can(scan: tuple[ScanResolution, Halves, Clock]) -> None:
    found, halves, _ = scan
    halves.is_ripening = True
    run(scan, PERIOD_S, Source())
    assert found.is_awaited
    halves.is_ripening, halves.found = False, curve(3.0)
    found.spend(Source(), 0.004)
    assert found.latest is not None
    halves.is_ripening = True
    assert not found.is_awaited


def test_the_trend_counts_from_the_last_gain(scan: tuple[ScanResolution, Halves, Clock]) -> None:
    found, halves, clock = scan
    source = Source()
    run(scan, 5, source)
    assert found.latest is None
    for resolution_px in (4.0, 3.0, 2.95):
        halves.found = curve(resolution_px)
        run(scan, 3, source)
    assert found.latest.frc_px == pytest.approx(2.95, rel=0.05)
    assert found.latest.no_gain_s < 7
    run(scan, 40, source)
    assert found.latest.no_gain_s > SETTLED_S
    assert found.latest.fields(1e-8)["is_settled"]
    noted = found.latest.no_gain_s
    clock.now += 1000  # no time for the halves: nothing is known of a gain
    found.spend(source, 0.004)
    found.compare()
    assert found.latest.no_gain_s < noted + 2 * MOST_GAP_S
    halves.begun += 1
    halves.visits += 1
    found.compare()
    assert found.latest.no_gain_s == 0


def test_the_fields_are_finite_or_absent(scan: tuple[ScanResolution, Halves, Clock]) -> None:
    found, halves, _ = scan
    for resolution_px in (2.0, None):
        halves.found, halves.visits = curve(resolution_px), halves.visits + 1
        found.compare()
        fields = found.latest.fields(1e-8)
        check(FrcFields, fields)
        assert all(map(math.isfinite, [*fields["frequency_per_m"], *fields["correlation"], *fields["threshold"]]))
        assert len(fields["frequency_per_m"]) == len(fields["correlation"]) == len(fields["threshold"]) <= 48
        assert fields["frequency_per_m"][-1] == pytest.approx(0.5e8)
        assert fields["frc_nm"] == (None if resolution_px is None else pytest.approx(20, rel=0.05))
    assert isinstance(found.latest, Resolution)
