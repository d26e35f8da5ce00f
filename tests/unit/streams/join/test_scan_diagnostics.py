"""What is noticed about a scan, how scans without an end message close, and floods."""

from __future__ import annotations

from string import Formatter
from typing import Any

import pytest

from streams.frame import Frame, Position, PositionM, PositionNews, ScanStart
from streams.join.scan_warnings import ScanWarning
from streams.refusal_reasons import RefusalReason
from tests.support.join_tools import NamedJoin
from tests.support.stream_tools import Clock, frame, place

PLACES = [Position(None, k, PositionM(k * 1e-6, 0.0)) for k in range(200)]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def join(clock: Clock) -> NamedJoin:
    return NamedJoin(position_timeout_s=5, max_wait_s=100, max_open_scans=2, max_new_scans=4, clock=clock)


def run(join: NamedJoin, frames: int, expected: int | None = None, *, name: str = "a", **news: Any) -> None:
    """Send a scan whose positions come from a nameless source."""
    join.start_scan(ScanStart(name, expected))
    join.add_news(PositionNews(PLACES[:frames], begins=True, **news))
    for index in range(frames):
        for point in join.add_frame(frame(index, scan_id=name)):
            join.mark_stitched(name, [point.index])


def said(join: NamedJoin, name: str = "a") -> str:
    return " | ".join(join.warnings(name))


def test_a_good_scan_has_none(join: NamedJoin) -> None:
    run(join, 20, 20, samples=20)
    join.end_scan("a")
    assert said(join) == ""
    assert join.recent_warnings(60) == {}
    assert join.warnings("nobody") == []


def test_a_scan_that_nobody_started(join: NamedJoin) -> None:
    join.start_scan(ScanStart("a"), was_heard=False)
    assert said(join) == ""
    join.add_frame(frame(0, (0, 0)))
    assert said(join) == ScanWarning.NO_START.text(first="")
    join.add_frame(frame(7, (0, 0), "b"))
    assert said(join, "b") == ScanWarning.NO_START.text(
        first="; the first frame received was 7, so the 7 before it are counted as missing"
    )


@pytest.mark.parametrize(("per_frame", "configured"), [(10, 1), (1, 10), (3, 2)])
@pytest.mark.parametrize("has_ended", [True, False])
def test_wrong_samples_per_frame(join: NamedJoin, per_frame: int, configured: int, has_ended: bool) -> None:
    run(join, 100, 100, samples=100 * per_frame - 1, samples_per_frame=configured, ends=has_ended)
    join.end_scan("a")
    numbers = {"samples": 100 * per_frame - 1, "frames": 100, "found": per_frame, "configured": configured}
    assert said(join) == ScanWarning.WRONG_SAMPLES_PER_FRAME.text(**numbers)
    assert f"[positions] samples_per_frame is {configured}; set it to {per_frame}" in said(join)


def test_too_many_samples_are_said_before_the_end(join: NamedJoin) -> None:
    run(join, 20, 20, samples=40)
    assert said(join) == ScanWarning.TOO_MANY_SAMPLES.text(samples=40, frames=20, configured=1)


def test_a_ratio_that_is_no_whole_number(join: NamedJoin) -> None:
    run(join, 100, 100, samples=250, ends=True)
    join.end_scan("a")
    assert said(join) == ScanWarning.UNEVEN_SAMPLES.text(samples=250, frames=100, found=2.5, configured=1)


@pytest.mark.parametrize("ended_by", ["silence", "operator", "new_scan"])
def test_a_scan_that_broke_off_says_nothing_of_the_ratio(join: NamedJoin, ended_by: Any) -> None:
    run(join, 50, 100, samples=100, ends=True)
    join.end_scan("a", ended_by=ended_by)
    assert "samples" not in said(join)


def test_samples_that_were_lost(join: NamedJoin) -> None:
    run(join, 20, 20, samples=20, samples_lost=3)
    assert said(join) == ScanWarning.SAMPLES_LOST.text(lost=3, samples=20)


def test_frames_that_come_twice(join: NamedJoin) -> None:
    run(join, 20, 20, samples=20)
    for _ in range(10):
        join.add_frame(frame(3))
    assert said(join) == ScanWarning.DUPLICATES.text(count=10)


def test_positions_that_contradict_each_other(join: NamedJoin) -> None:
    join.start_scan(ScanStart("a"))
    join.add_positions([place(0, 1.0), place(0, 1.0), place(0, 2.0), place(1, 1.0)])
    assert said(join) == ScanWarning.POSITION_CONFLICTS.text(count=1)


def test_dark_frames_and_wrong_shapes(join: NamedJoin) -> None:
    join.start_scan(ScanStart("a"))
    join.add_frame(Frame("a", 0, frame(1).counts, 7, PositionM(0, 0), is_dark=True))
    for index in (1, 2):
        join.refuse("a", index, RefusalReason.SHAPE, received=True, words=f"scan a, frame {index} is 4 x 6 uint16")
    join.refuse("a", 3, RefusalReason.DTYPE, received=True, words="scan a, frame 3: the pixels' type 'R64' is unknown")
    assert ScanWarning.DARK.text(count=1) in said(join)
    assert "2 frames were refused (shape); the first: frame 1 is 4 x 6 uint16" in said(join)
    assert "1 frames were refused (dtype); the first: frame 3: the pixels' type 'R64' is unknown" in said(join)


def test_refused_messages_of_the_position_source(join: NamedJoin) -> None:
    join.start_scan(ScanStart("a"))
    for words in ("it is not JSON", "something else"):
        join.refuse_position_message(words)
    assert said(join) == "2 position messages were refused; the first: it is not JSON"


def test_messages_refused_before_the_scan_are_said_once_with_the_next(join: NamedJoin, clock: Clock) -> None:
    join.refuse_position_message("long ago")
    clock.now += 11
    for words in ("not JSON", "something else"):
        join.refuse_position_message(words)
    join.start_scan(ScanStart("a"))
    assert said(join) == "2 position messages were refused; the first: not JSON"
    join.start_scan(ScanStart("b"))
    assert join.warnings("b") == []


def test_messages_refused_while_frames_of_an_ended_scan_wait_are_said_with_it(join: NamedJoin) -> None:
    join.start_scan(ScanStart("a"))
    join.add_frame(frame(0))
    join.end_scan("a")
    join.refuse_position_message("not JSON")
    assert "1 position messages were refused; the first: not JSON" in said(join)


def test_all_frames_there_and_no_end(join: NamedJoin, clock: Clock) -> None:
    run(join, 4, 4, samples=4)
    assert join.overdue("a", 1.0) is None
    assert join.overdue("a", 2.5) == "all_there"
    join.end_scan("a", exactly=True, ended_by="all_there")
    assert said(join) == ScanWarning.END_ALL_THERE.text()
    assert not join.was_cut_short("a")
    assert join.overdue("a", 99.0) is None
    clock.now = 70
    assert join.recent_warnings(60) == {}


def test_a_newer_scan_closes_a_silent_one(join: NamedJoin, clock: Clock) -> None:
    run(join, 4, 9, samples=4)
    clock.now = 1
    join.start_scan(ScanStart("b"))
    assert join.overdue("a", 3.0) is None
    join.add_frame(frame(0, (0, 0), "b"))
    assert join.overdue("a", 1.0) is None
    assert join.overdue("a", 3.0) == "new_scan"
    assert join.overdue("b", 3.0) is None
    join.end_scan("a", exactly=True, ended_by="new_scan")
    assert join.was_cut_short("a")


def test_a_newer_scan_closes_a_silent_one_though_its_first_frame_was_damaged(join: NamedJoin, clock: Clock) -> None:
    run(join, 4, 9, samples=4)
    clock.now = 1
    join.start_scan(ScanStart("b"))
    join.refuse("b", 0, RefusalReason.CORRUPT, received=True)
    assert join.overdue("a", 3.0) is None
    join.add_frame(frame(1, (0, 0), "b"))
    assert join.overdue("a", 3.0) == "new_scan"


def test_the_end_of_the_source_closes_a_silent_scan(join: NamedJoin) -> None:
    run(join, 4, samples=4)
    assert join.overdue("a", 9.0) is None
    join.add_news(PositionNews(ends=True, samples=4))
    assert join.overdue("a", 4.0) is None
    assert join.overdue("a", 5.0) == "source"


def test_the_control_system_announces_and_ends_runs(join: NamedJoin, clock: Clock) -> None:
    join.announce(PositionNews(begins=True, run={"scan_id": 1}))
    run(join, 4, samples=4)
    assert join.about("a") == {"scan_id": 1}
    join.announce(PositionNews(ends=True, fault="the run ended with abort"))
    assert said(join) == "the run ended with abort"
    assert join.overdue("a", 5.0) == "source"
    join.end_scan("a")
    clock.now = 10
    join.start_scan(ScanStart("b"))
    assert join.about("b") is None
    clock.now = 12
    join.announce(PositionNews(begins=True, run={"scan_id": 2}))
    assert join.about("b") == {"scan_id": 2}
    clock.now = 30
    join.announce(PositionNews(begins=True, run={"scan_id": 3}))
    assert join.about("b") == {"scan_id": 2}


def test_a_crowd_of_open_scans(join: NamedJoin) -> None:
    for name in "abc":
        join.start_scan(ScanStart(name))
    join.add_frame(frame(0, (0, 0), "a"))
    assert said(join) == ScanWarning.END_CROWD.text()


def test_a_flood_of_scans_is_one_that_refuses_all(join: NamedJoin, clock: Clock) -> None:
    names = [join.start_scan(ScanStart(f"s{k}")) for k in range(50)]
    assert set(names[4:]) == {"too-many-scans"}
    for k in range(10, 20):
        assert join.add_frame(frame(0, (0, 0), f"s{k}")) == []
        join.refuse(f"t{k}", 0, RefusalReason.CORRUPT, received=True)
    verdict = join.account("too-many-scans")
    assert verdict.refused == {"scan_flood": 20}
    assert verdict.received == 20
    assert ScanWarning.TOO_MANY_SCANS.text() in said(join, "too-many-scans")
    clock.now = 1.5
    assert join.start_scan(ScanStart("good")) == "good"
    assert len(join.add_frame(frame(0, (0, 0), "good"))) == 1


def test_scans_that_give_a_picture_are_no_flood(join: NamedJoin) -> None:
    for k in range(50):
        name = join.start_scan(ScanStart(f"s{k}", 1))
        join.add_frame(frame(0, (0, 0), name))
        join.mark_stitched(name, [0])
        join.end_scan(name)
        assert join.account(name).is_complete


def test_an_account_that_does_not_add_up_is_reported(join: NamedJoin) -> None:
    run(join, 20, 20, samples=20)
    join.of("a")._duplicate += 1
    assert said(join) == ScanWarning.ACCOUNT.text()


def test_every_warning_has_a_sentence_for_its_numbers() -> None:
    for warning in ScanWarning:
        names = [name for _, name, _, _ in Formatter().parse(warning.sentence) if name]
        assert "{" not in warning.text(**dict.fromkeys(names, 1))
        assert warning.name == warning.value.upper()
