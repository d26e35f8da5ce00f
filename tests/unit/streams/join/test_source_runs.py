"""Runs of a nameless position source: each belongs to one scan, whatever the order of beginnings."""

from __future__ import annotations

import pytest

from streams.frame import Position, PositionM, PositionNews, ScanPoint, ScanStart
from streams.join.scan_warnings import ScanWarning
from tests.support.join_tools import NamedJoin
from tests.support.stream_tools import Clock, frame


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def join(clock: Clock) -> NamedJoin:
    return NamedJoin(position_timeout_s=10, max_wait_s=100, clock=clock)


def news(
    first: int, stop: int, y: float = 1.0, *, begins: bool = False, ends: bool = False, run: str | None = None
) -> PositionNews:
    positions = [Position(None, index, PositionM(y, 0.0)) for index in range(first, stop)]
    return PositionNews(positions, begins, ends, samples=stop, run_id=run)


def points(found: list[ScanPoint]) -> list[tuple[str, int, float]]:
    return [(point.scan_id, point.index, point.position_m.y) for point in found]


def start(join: NamedJoin, name: str, frames: int) -> None:
    join.start_scan(ScanStart(name, frames))
    for index in range(frames):
        join.add_frame(frame(index, scan_id=name))


def test_a_source_that_began_before_the_scan(join: NamedJoin) -> None:
    join.add_news(news(0, 0, begins=True))
    join.add_news(news(0, 1))
    join.start_scan(ScanStart("a", 2))
    assert points(join.add_frame(frame(0))) == [("a", 0, 1.0)]
    join.add_frame(frame(1))
    assert points(join.add_news(news(1, 2))) == [("a", 1, 1.0)]


def test_a_source_that_began_after_the_scan(join: NamedJoin, clock: Clock) -> None:
    start(join, "a", 2)
    clock.now = 3
    assert points(join.add_news(news(0, 2, begins=True))) == [("a", 0, 1.0), ("a", 1, 1.0)]


def test_late_positions_go_to_their_scan_though_another_has_begun(join: NamedJoin, clock: Clock) -> None:
    join.add_news(news(0, 0, begins=True))
    start(join, "a", 2)
    join.end_scan("a")
    clock.now = 1
    start(join, "b", 2)
    assert points(join.add_news(news(0, 2, 1.0))) == [("a", 0, 1.0), ("a", 1, 1.0)]
    assert points(join.add_news(news(0, 2, 5.0, begins=True))) == [("b", 0, 5.0), ("b", 1, 5.0)]


def test_a_source_that_starts_over_in_mid_scan_gives_that_scan_nothing_more(join: NamedJoin, clock: Clock) -> None:
    start(join, "a", 4)
    join.add_news(news(0, 2, begins=True))
    assert join.add_news(news(0, 4, 9.0, begins=True)) == []
    assert join.warnings("a") == [ScanWarning.SOURCE_RESTARTED.text()]
    clock.now = 2
    join.end_scan("a")
    join.start_scan(ScanStart("b", 1))
    assert points(join.add_frame(frame(0, scan_id="b"))) == [("b", 0, 9.0)]
    assert join.warnings("b") == []


def test_a_detector_that_starts_over_in_mid_scan_gets_none_of_the_old_positions(join: NamedJoin) -> None:
    join.add_news(news(0, 2, begins=True))
    start(join, "a", 2)
    start(join, "b", 4)
    assert join.add_news(news(2, 4)) == []
    assert join.account("b").pending == 4
    assert points(join.add_news(news(0, 2, 7.0, begins=True))) == [("b", 0, 7.0), ("b", 1, 7.0)]


def test_a_scan_that_never_had_a_frame_hands_its_run_on(join: NamedJoin) -> None:
    join.start_scan(ScanStart("a", 2))
    join.add_news(news(0, 1, begins=True))
    start(join, "b", 1)
    assert join.account("b").pending == 1
    assert join.account("b").without_position == 0
    assert points(join.add_news(news(1, 2))) == []
    assert points(join.add_frame(frame(1, scan_id="b"))) == [("b", 1, 1.0)]


def test_a_source_armed_twice_is_one(join: NamedJoin) -> None:
    start(join, "a", 1)
    join.add_news(news(0, 0, begins=True))
    assert points(join.add_news(news(0, 1, begins=True))) == [("a", 0, 1.0)]
    assert join.warnings("a") == []


def test_a_source_that_begins_long_after_the_scan_is_not_its(join: NamedJoin, clock: Clock) -> None:
    start(join, "a", 1)
    clock.now = 20
    assert join.add_news(news(0, 1, begins=True)) == []
    join.start_scan(ScanStart("b", 1))
    assert points(join.add_frame(frame(0, scan_id="b"))) == [("b", 0, 1.0)]


def test_a_source_of_which_only_the_middle_is_heard_is_taken_by_its_numbers(join: NamedJoin, clock: Clock) -> None:
    start(join, "a", 5)
    clock.now = 20
    assert points(join.add_news(news(3, 5))) == [("a", 3, 1.0), ("a", 4, 1.0)]


def test_a_run_that_ended_before_the_scan_and_was_forgotten(join: NamedJoin, clock: Clock) -> None:
    join.add_news(news(0, 3, begins=True))
    join.add_news(news(3, 3, ends=True))
    clock.now = 30
    join.poll()
    start(join, "a", 1)
    assert join.account("a").pending == 1
    assert points(join.add_news(news(0, 1, 4.0, begins=True))) == [("a", 0, 4.0)]


def test_positions_of_a_finished_scan_are_ignored(join: NamedJoin) -> None:
    start(join, "a", 1)
    join.add_news(news(0, 1, begins=True))
    join.mark_stitched("a", [0])
    join.end_scan("a")
    assert join.add_news(news(1, 9)) == []
    assert join.positions_ignored == 8


def test_what_the_run_says_of_itself(join: NamedJoin) -> None:
    start(join, "a", 1)
    join.add_news(PositionNews(begins=True, run={"scan_id": 4}))
    join.add_news(news(0, 1))
    assert join.about("a") == {"scan_id": 4}
    assert join.about("b") is None


def test_a_run_within_a_run_takes_nothing_from_the_scan_of_the_outer_one(join: NamedJoin) -> None:
    start(join, "a", 4)
    join.add_news(news(0, 2, begins=True, run="outer"))
    assert join.add_news(news(0, 2, 9.0, begins=True, run="inner")) == []
    assert join.add_news(news(2, 2, ends=True, run="inner")) == []
    assert points(join.add_news(news(2, 4, run="outer"))) == [("a", 2, 1.0), ("a", 3, 1.0)]
    assert join.warnings("a") == []
    join.add_news(news(4, 4, ends=True, run="outer"))
    join.start_scan(ScanStart("b", 1))
    assert join.add_frame(frame(0, scan_id="b")) == []  # what the inner run left is not of this scan


def test_a_run_within_a_run_has_a_scan_of_its_own(join: NamedJoin) -> None:
    start(join, "a", 3)
    join.add_news(news(0, 1, begins=True, run="outer"))
    start(join, "b", 2)
    assert points(join.add_news(news(0, 2, 9.0, begins=True, run="inner"))) == [("b", 0, 9.0), ("b", 1, 9.0)]
    assert points(join.add_news(news(1, 3, run="outer"))) == [("a", 1, 1.0), ("a", 2, 1.0)]


def test_the_outer_run_gives_the_positions_and_the_one_within_gave_none(join: NamedJoin) -> None:
    start(join, "a", 2)
    join.add_news(PositionNews(begins=True, run={"n": 1}, run_id="outer"))
    join.add_news(PositionNews(begins=True, run={"n": 2}, run_id="inner"))
    join.add_news(PositionNews(ends=True, fault="the Bluesky run has no stream primary", run_id="inner"))
    assert points(join.add_news(news(0, 2, run="outer"))) == [("a", 0, 1.0), ("a", 1, 1.0)]
    assert join.warnings("a") == []
    assert join.about("a") == {"n": 1}


def test_what_the_control_system_says_of_runs_within_runs(join: NamedJoin) -> None:
    join.announce(PositionNews(begins=True, run={"n": 1}, run_id="outer"))
    join.start_scan(ScanStart("a"))
    join.add_frame(frame(0))
    join.announce(PositionNews(begins=True, run={"n": 2}, run_id="inner"))
    join.announce(PositionNews(ends=True, run_id="inner"))
    assert join.about("a") == {"n": 1}
    assert join.overdue("a", 50) is None
    join.announce(PositionNews(ends=True, run_id="outer"))
    assert join.overdue("a", 50) == "source"


def gone_on(before: NamedJoin, clock: Clock, *scans: str) -> NamedJoin:
    """Return the join of a later process that the scans' journals were played into."""
    after = NamedJoin(position_timeout_s=10, max_wait_s=100, clock=clock)
    for name in scans:
        after.start_scan(ScanStart(name))
        after.add_frame(frame(0, scan_id=name))
        table = before.of(name).positions.table
        known = [Position(name, k, where) for k in range(table.beyond) if (where := table.get(k)) is not None]
        after.add_positions(known)
        after.resume_runs(name, before.runs_of(name))
    return after


def test_named_runs_keep_their_scans_over_a_restart(join: NamedJoin, clock: Clock) -> None:
    for name in ("a", "b"):
        clock.now += 5
        join.add_news(news(0, 0, begins=True, run=f"run-{name}"))
        start(join, name, 4)
        join.add_news(news(0, 2, run=f"run-{name}"))
    after = gone_on(join, clock, "a", "b")
    for name in ("a", "b"):
        for index in range(2, 4):
            after.add_frame(frame(index, scan_id=name))
    assert points(after.add_news(news(2, 4, 7.0, run="run-a"))) == [("a", 2, 7.0), ("a", 3, 7.0)]
    assert points(after.add_news(news(2, 4, 8.0, run="run-b"))) == [("b", 2, 8.0), ("b", 3, 8.0)]


def test_a_run_that_begins_after_a_restart_gives_nothing_to_the_scan_before(join: NamedJoin, clock: Clock) -> None:
    join.add_news(news(0, 0, begins=True, run="r"))
    start(join, "a", 4)
    join.add_news(news(0, 4, run="r"))
    after = gone_on(join, clock, "a")
    after.add_frame(frame(3, scan_id="a"))
    clock.now += 1
    after.add_frame(frame(9, scan_id="a"))
    assert points(after.add_news(news(9, 10, begins=True, run="other"))) == []


def test_what_was_announced_holds_after_a_restart_though_it_ended_meanwhile(join: NamedJoin, clock: Clock) -> None:
    join.announce(PositionNews(begins=True, run={"uid": "r"}, run_id="r"))
    join.start_scan(ScanStart("a", 2))
    kept = join.runs_of("a")
    after = NamedJoin(position_timeout_s=10, max_wait_s=100, clock=clock)
    after.announce(PositionNews(ends=True, run_id="r"))
    after.start_scan(ScanStart("a", 2))
    after.add_frame(frame(0))
    assert after.overdue("a", 20.0) is None
    assert after.resume_runs("a", kept) is None
    assert after.about("a") == {"uid": "r"}
    assert after.overdue("a", 20.0) == "source"
    assert after.runs_of("a")["announced"]["has_ended"]


def test_a_source_without_names_has_nothing_to_keep(join: NamedJoin) -> None:
    join.add_news(news(0, 1, begins=True))
    start(join, "a", 2)
    assert join.runs_of("a") == {}
