"""The join, case by case."""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import asdict
from itertools import pairwise

import numpy as np
import pytest

from streams.errors import PositionError
from streams.frame import MOVING, Position, PositionM, ScanPoint, ScanStart
from streams.join.account import AccountSnapshot
from streams.join.scan_warnings import ScanWarning
from streams.refusal_reasons import RefusalReason
from tests.support.join_tools import NamedJoin
from tests.support.stream_tools import Clock, frame, place

CONTRACT = ["expected", "received", "duplicate", "missing", "refused", "without_position", "pending", "stitched"]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def join(clock: Clock) -> NamedJoin:
    return NamedJoin(position_timeout_s=10, max_wait_s=100, max_pending_bytes=80, max_open_scans=3, clock=clock)


def indexes(points: list[ScanPoint]) -> list[int]:
    return [point.index for point in points]


def account(join: NamedJoin, scan_id: str = "a") -> AccountSnapshot:
    verdict = join.account(scan_id)
    assert verdict.adds_up
    return verdict


def test_frame_that_carries_its_position_is_handed_on_at_once(join: NamedJoin) -> None:
    join.start_scan(ScanStart("a", 1))
    (point,) = join.add_frame(frame(0, (1e-6, 2e-6)))
    assert point == ScanPoint("a", 0, point.counts, PositionM(1e-6, 2e-6), 7)
    assert account(join).pending == 1
    join.mark_stitched("a", np.array([0]))
    assert asdict(account(join)) == dict(zip(CONTRACT, [1, 1, 0, 0, {}, 0, 0, 1], strict=True))
    assert list(asdict(account(join))) == CONTRACT


def test_positions_before_and_after_their_frames(join: NamedJoin) -> None:
    join.start_scan(ScanStart("a"))
    assert join.add_positions([place(1), place(0)]) == []
    assert indexes(join.add_frame(frame(0))) == [0]
    assert join.add_frame(frame(2)) == []
    (point,) = join.add_positions([place(3), place(2), place(2)])
    assert (point.index, point.position_m.y, int(point.counts[0, 0])) == (2, 2.0, 2)
    assert account(join).missing == 1


def test_two_scans_open_at_once_keep_apart(join: NamedJoin) -> None:
    join.start_scan(ScanStart("a"))
    join.start_scan(ScanStart("b"))
    join.add_frame(frame(0))
    join.add_frame(frame(0, scan_id="b", value=9))
    (from_a,) = join.add_positions([place(0, 1.0)])
    (from_b,) = join.add_positions([place(0, 2.0, "b")])
    assert (from_a.scan_id, from_a.position_m.y, int(from_a.counts[0, 0])) == ("a", 1.0, 0)
    assert (from_b.scan_id, from_b.position_m.y, int(from_b.counts[0, 0])) == ("b", 2.0, 9)
    assert join.open_scans == ["a", "b"]


def test_second_copy_is_a_duplicate_and_is_not_handed_on(join: NamedJoin) -> None:
    join.start_scan(ScanStart("a", 1))
    assert len(join.add_frame(frame(0, (0, 0)))) == 1
    assert join.add_frame(frame(0, (0, 0), value=5)) == []
    join.mark_stitched("a", [0])
    assert join.add_frame(frame(0, (0, 0))) == []
    assert account(join).duplicate == 2
    assert account(join).is_complete


def test_good_copy_replaces_one_refused_on_receipt(join: NamedJoin) -> None:
    join.start_scan(ScanStart("a", 1))
    join.refuse("a", 0, RefusalReason.CORRUPT, received=True)
    assert account(join).missing == 0
    assert indexes(join.add_frame(frame(0, (0, 0)))) == [0]
    join.mark_stitched("a", [0])
    assert account(join) == AccountSnapshot(1, 2, 0, 0, {"corrupt": 1}, 0, 0, 1)
    assert account(join).is_complete


def test_corrupt_copy_after_the_good_one_is_counted_and_changes_nothing(join: NamedJoin) -> None:
    join.start_scan(ScanStart("a"))
    join.add_frame(frame(0, (0, 0)))
    join.refuse("a", 0, RefusalReason.CORRUPT, received=True)
    join.refuse("a", None, RefusalReason.MALFORMED, received=True)
    join.mark_stitched("a", [0])
    assert account(join) == AccountSnapshot(None, 3, 0, 0, {"corrupt": 1, "malformed": 1}, 0, 0, 1)


def test_frame_refused_downstream_can_come_again(join: NamedJoin) -> None:
    join.start_scan(ScanStart("a"))
    join.add_positions([place(0), place(1)])
    join.add_frame(frame(0))
    join.refuse("a", 0, RefusalReason.OUTSIDE_MOSAIC)
    assert indexes(join.add_frame(frame(0))) == [0]
    join.add_frame(frame(3))
    join.refuse("a", 3, RefusalReason.NOT_FINITE)
    assert join.pending_bytes == 0
    assert account(join) == AccountSnapshot(None, 3, 0, 2, {"outside_mosaic": 1, "not_finite": 1}, 0, 1, 0)


@pytest.mark.parametrize("index", [None, 0, 7])
def test_refusing_what_is_not_pending_changes_nothing(join: NamedJoin, index: int | None) -> None:
    join.start_scan(ScanStart("a"))
    join.add_frame(frame(0, (0, 0)))
    join.mark_stitched("a", [0])
    before = account(join)
    join.refuse("a", index, RefusalReason.NOT_FINITE)
    join.refuse("nobody", index, RefusalReason.NOT_FINITE)
    join.mark_stitched("a", [0, 7])
    assert account(join) == before


def test_frames_during_which_the_stage_moved_are_left_out_and_not_lost(join: NamedJoin) -> None:
    join.start_scan(ScanStart("a", 3))
    assert indexes(join.add_frame(frame(0, (0, 0)))) == [0]
    join.add_positions([Position("a", 1, MOVING)])
    assert join.add_frame(frame(1)) == []
    join.add_frame(frame(2))
    assert join.add_positions([Position("a", 2, MOVING)]) == []
    join.mark_stitched("a", [0])
    assert account(join) == AccountSnapshot(3, 3, 0, 0, {"stage_moving": 2}, 0, 0, 1)
    assert account(join).is_complete
    assert join.warnings("a") == [ScanWarning.STAGE_MOVING.text(count=2)]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 11.0, -1e300])
def test_positions_that_are_no_places(join: NamedJoin, bad: float) -> None:
    join.start_scan(ScanStart("a"))
    assert join.add_frame(frame(0, (bad, 0.0))) == []
    join.add_positions([Position("a", 1, PositionM(0.0, bad))])
    assert join.add_frame(frame(1)) == []
    join.add_frame(frame(2))
    assert join.add_positions([Position("a", 2, PositionM(bad, bad))]) == []
    assert account(join).refused == {"bad_position": 3}
    join.add_positions([place(1)])
    assert indexes(join.add_frame(frame(1))) == [1]
    join.add_positions([place(5), Position("a", 5, PositionM(bad, 0.0))])
    assert indexes(join.add_frame(frame(5))) == [5]


def test_frames_wait_out_the_timeout_after_the_end(join: NamedJoin, clock: Clock) -> None:
    join.start_scan(ScanStart("a", 3))
    join.add_frame(frame(0))
    join.add_frame(frame(1))
    clock.now = 50
    join.poll()
    assert account(join).pending == 2
    join.end_scan("a")
    assert join.is_closed("a")
    assert join.open_scans == []
    clock.now = 59
    join.poll()
    assert indexes(join.add_positions([place(0)])) == [0]
    assert not join.is_finished("a")
    clock.now = 60
    join.poll()
    assert account(join) == AccountSnapshot(3, 2, 0, 1, {}, 1, 1, 0)
    assert join.add_positions([place(1)]) == []
    join.mark_stitched("a", [0])
    assert join.is_finished("a")
    assert account(join) == AccountSnapshot(3, 2, 0, 1, {}, 1, 0, 1)
    assert not account(join).is_complete


def test_age_bounds_waiting_during_the_scan(join: NamedJoin, clock: Clock) -> None:
    join.start_scan(ScanStart("a"))
    join.add_frame(frame(0))
    clock.now = 60
    join.add_frame(frame(1))
    clock.now = 100
    join.poll()
    assert account(join).without_position == 1
    assert account(join).pending == 1
    assert join.add_frame(frame(0)) == []
    assert account(join).duplicate == 1


def test_oldest_waiting_frame_gives_way_when_memory_is_full(join: NamedJoin) -> None:
    join.start_scan(ScanStart("a"))
    join.start_scan(ScanStart("b"))
    join.add_frame(frame(0, scan_id="b"))
    for index in range(10):  # 8 bytes each; 80 are allowed
        join.add_frame(frame(index))
    assert account(join, "b").refused == {"pending_overflow": 1}
    join.add_frame(frame(10))
    assert account(join).refused == {"pending_overflow": 1}
    assert join.pending_bytes == 80
    join.add_positions([place(index) for index in range(11)])
    assert indexes(join.add_frame(frame(0))) == [0]
    assert join.pending_bytes == 0


def test_frame_larger_than_the_bound_is_refused_alone(join: NamedJoin) -> None:
    join.start_scan(ScanStart("a"))
    big = frame(0)
    object.__setattr__(big, "counts", np.zeros(81, np.uint8))
    join.add_frame(big)
    assert account(join).refused == {"pending_overflow": 1}


def test_frames_after_the_end(join: NamedJoin) -> None:
    join.start_scan(ScanStart("a", 2))
    join.add_frame(frame(0, (0, 0)))
    join.end_scan("a")
    assert indexes(join.add_frame(frame(1, (0, 0)))) == [1]  # not handed on yet: still good
    join.mark_stitched("a", [0, 1])
    join.end_scan("a")
    assert join.add_frame(frame(0, (0, 0))) == []
    join.refuse("a", 1, RefusalReason.CORRUPT, received=True)
    assert account(join) == AccountSnapshot(2, 4, 0, 0, {"after_end": 1, "corrupt": 1}, 0, 0, 2)
    assert join.open_scans == []
    assert join.current_id("a") == "a"


def test_name_used_again_after_the_end(join: NamedJoin) -> None:
    assert join.start_scan(ScanStart("7", 1)) == "7"
    join.add_frame(frame(0, (0, 0), "7"))
    join.mark_stitched("7", [0])
    join.end_scan("7")
    assert join.start_scan(ScanStart("7", 1)) == "7-2"
    (point,) = join.add_frame(frame(0, (1, 1), "7"))
    assert point.scan_id == "7-2"
    assert join.is_closed("7")
    assert not join.is_closed("7-2")
    join.end_scan("7", exactly=True)
    assert join.open_scans == ["7-2"]
    join.end_scan("7")
    assert join.start_scan(ScanStart("7")) == "7-3"
    assert [account(join, name).received for name in ("7", "7-2", "7-3")] == [1, 1, 0]


def test_detector_armed_anew_under_the_same_name(join: NamedJoin) -> None:
    join.start_scan(ScanStart("a", 5))
    assert join.start_scan(ScanStart("a", 6)) == "a"
    join.add_frame(frame(1, (0, 0)))
    assert join.start_scan(ScanStart("a", 6)) == "a-2"
    assert join.was_cut_short("a")
    assert not join.was_cut_short("a-2")
    assert account(join).missing == 5
    join.add_positions([place(0, 3.0)])
    (point,) = join.add_frame(frame(0))
    assert (point.scan_id, point.position_m.y) == ("a-2", 3.0)
    join.mark_stitched("a", [1])
    assert account(join) == AccountSnapshot(6, 1, 0, 5, {}, 0, 0, 1)


def test_own_name_that_another_sender_already_uses(join: NamedJoin) -> None:
    join.start_scan(ScanStart("a-2"))
    join.start_scan(ScanStart("a"))
    join.end_scan("a")
    assert join.start_scan(ScanStart("a")) == "a-3"
    join.add_frame(frame(0, scan_id="a-2"))
    assert account(join, "a-2").received == 1


def test_expected_count_and_gaps(join: NamedJoin) -> None:
    join.start_scan(ScanStart("a", 3))
    join.start_scan(ScanStart("b"))
    for index in (0, 9, 2):
        join.add_frame(frame(index, (0, 0)))
        join.add_frame(frame(index, (0, 0), "b"))
    assert account(join).missing == 1  # index 1; index 9 is taken and does not stand for it
    assert account(join, "b").missing == 7
    assert account(join).pending == 3
    join.mark_stitched("a", [0, 9, 2])
    join.add_frame(frame(1, (0, 0)))
    join.mark_stitched("a", [1])
    assert account(join) == AccountSnapshot(3, 4, 0, 0, {}, 0, 0, 4)
    assert account(join).is_complete
    assert not join.is_finished("a")


def test_unnamed_positions_go_to_the_newest_open_scan(join: NamedJoin) -> None:
    join.start_scan(ScanStart("a"))
    join.add_frame(frame(0))
    join.start_scan(ScanStart("b"))
    join.add_frame(frame(0, scan_id="b"))
    assert [point.scan_id for point in join.add_positions([place(0, scan_id=None)])] == ["b"]


def test_unnamed_positions_before_any_scan_wait_for_the_next(join: NamedJoin, clock: Clock) -> None:
    join.add_positions([place(0, 8.0, None), place(1, 8.0, None)])
    clock.now = 11
    join.poll()
    join.add_positions([place(0, 9.0, None), place(2, 9.0, None)])
    join.add_positions([place(0, 1.0, None), place(1, 1.0, None)])  # the source began anew
    join.start_scan(ScanStart("a"))
    assert [p.position_m.y for i in (0, 1) for p in join.add_frame(frame(i))] == [1.0, 1.0]
    assert join.add_frame(frame(2)) == []


def test_positions_named_before_their_scan_opens(join: NamedJoin) -> None:
    join.add_positions([place(0, 4.0, "b"), place(0, 5.0, None), place(1, 5.0, None)])
    join.start_scan(ScanStart("b"))
    points = [*join.add_frame(frame(0, scan_id="b")), *join.add_frame(frame(1, scan_id="b"))]
    assert [point.position_m.y for point in points] == [4.0, 5.0]


def test_late_unnamed_positions_go_to_the_ended_scan_until_the_source_begins_anew(join: NamedJoin) -> None:
    join.start_scan(ScanStart("a"))
    join.add_positions([place(0, scan_id=None)])
    for index in range(4):
        join.add_frame(frame(index))
    join.end_scan("a")
    assert indexes(join.add_positions([place(1, scan_id=None)])) == [1]
    assert join.add_positions([place(0, 6.0, None), place(2, 6.0, None)]) == []
    join.start_scan(ScanStart("b"))
    points = [*join.add_frame(frame(0, scan_id="b")), *join.add_frame(frame(2, scan_id="b"))]
    assert [point.position_m.y for point in points] == [6.0, 6.0]
    assert account(join).pending == 4


def test_early_positions_are_bounded(clock: Clock) -> None:
    join = NamedJoin(max_position_bytes=4096, clock=clock)
    join.add_positions([place(0), place(255), place(256), *(place(0, scan_id=f"s{n}") for n in range(50))])
    assert join.positions_ignored == 1 + 2 + 42  # one for which there is no room, those of "a", and those of s0 to s41
    join.start_scan(ScanStart("s49"))
    assert len(join.add_frame(frame(0, scan_id="s49"))) == 1
    join.start_scan(ScanStart("s0"))
    assert join.add_frame(frame(0, scan_id="s0")) == []


def test_all_positions_of_a_scan_at_once(join: NamedJoin) -> None:
    positions = np.arange(1200, dtype=np.float32).reshape(600, 2) / 256
    positions[2, 1] = np.nan
    join.start_scan(ScanStart("a"))
    join.add_frame(frame(1))
    assert indexes(join.set_positions("a", positions)) == [1]
    (point,) = join.add_frame(frame(599))
    assert point.position_m == (1198 / 256, 1199 / 256)
    assert join.add_frame(frame(600)) == []
    join.add_frame(frame(2))
    assert account(join).refused == {"bad_position": 1}
    with pytest.raises(PositionError, match=r"scan a.*\(n, 2\), not \(600,\)"):
        join.set_positions("a", positions[:, 0])


def test_oldest_scan_is_cut_short_when_too_many_are_open(join: NamedJoin) -> None:
    for name in "abcd":
        join.start_scan(ScanStart(name))
    assert join.open_scans == ["b", "c", "d"]
    assert join.was_cut_short("a")
    assert join.is_finished("a")


def test_unknown_scans(join: NamedJoin) -> None:
    join.end_scan("nobody")
    assert join.current_id("nobody") is None
    assert not join.is_closed("nobody")
    assert not join.is_finished("nobody")
    with pytest.raises(KeyError):
        join.account("nobody")
    assert indexes(join.add_frame(frame(0, (0, 0)))) == [0]
    join.refuse("b", 4, RefusalReason.CORRUPT, received=True)
    assert join.open_scans == ["a", "b"]
    assert account(join, "b") == AccountSnapshot(None, 1, 0, 4, {"corrupt": 1}, 0, 0, 0)


def test_only_the_last_accounts_are_kept_and_no_name_comes_back(join: NamedJoin) -> None:
    names = []
    for _ in range(1002):
        names.append(join.start_scan(ScanStart("7")))
        join.add_frame(frame(0, (0, 0), "7"))
        join.mark_stitched(names[-1], [0])
        join.end_scan("7")
        join.release(names[-1])
    assert len(set(names)) == 1002
    assert join.newest("7") is join.of("7-1002")
    assert join.start_scan(ScanStart("7")) == "7-1003"
    join.add_frame(frame(0, scan_id="7"))
    assert join.open_scans == ["7-1003"]


def test_memory_of_a_long_scan_stays_small(join: NamedJoin) -> None:
    join.start_scan(ScanStart("a", 10**6))
    pixels = frame(0, (0, 0))
    sizes = []
    tracemalloc.start()
    for index in range(100_000):
        object.__setattr__(pixels, "index", index)
        join.add_frame(pixels)
        join.mark_stitched("a", [index])
        if index % 25_000 == 24_999:
            sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert all(after - before < 25_000 for before, after in pairwise(sizes))  # under one byte a frame
    assert account(join).stitched == 100_000


def test_a_scan_of_an_earlier_run_goes_on_under_its_own_name():
    join = NamedJoin(is_taken=lambda name: name in ("a", "a-2", "a-7"))
    assert join.start_scan(ScanStart("a"), scan_id="a-7") == "a-7"
    join.add_frame(frame(0))
    assert join.account("a-7").received == 1
    with pytest.raises(ValueError, match="a-7 is already open"):
        join.start_scan(ScanStart("b"), scan_id="a-7")
    assert join.start_scan(ScanStart("a")) == "a-3"


def test_accounts_are_kept_until_they_are_written_down():
    join = NamedJoin(max_new_scans=1000)
    names = [f"s{k}" for k in range(200)]
    for name in names:
        join.start_scan(ScanStart(name))
        join.end_scan(name)
    assert all(join.account(name).received == 0 for name in names)
    for name in names:
        assert join.is_finished(name)
        join.release(name)
    assert join.newest("s199") is join.of("s199")
    assert join.newest("s0") is None
    join.add_frame(frame(0, scan_id="s0"))
    assert join.open_scans == ["s0-2"]
