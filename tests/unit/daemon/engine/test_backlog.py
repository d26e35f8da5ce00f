"""What waits for the engine: in order while nothing is late, bounded in memory, nothing lost, nobody held."""

from __future__ import annotations

import threading
import time
import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from daemon.engine.backlog import Backlog, EndOfScan, LostPoint, Store
from daemon.engine.engine_scan import EngineScan, OwnScans
from streams.frame import PositionM, ScanPoint
from streams.refusal_reasons import RefusalReason

SIDE = 16
BYTES = SIDE * SIDE * 2


def counts_of(index: int) -> NDArray[Any]:
    return np.full((SIDE, SIDE), index % 60000, dtype=np.uint16)


def point(index: int, scan_id: str = "a", received_ns: int = 5) -> ScanPoint:
    return ScanPoint(scan_id, index, counts_of(index), PositionM(index * 1e-7, -1.0), received_ns)


STORE = Store(
    has=lambda scan_id, index: index != 3, read=lambda scan_id, index: None if index == 4 else counts_of(index)
)


def taken(backlog: Backlog, most: int = 1000) -> list[ScanPoint | EndOfScan | LostPoint]:
    return backlog.take(most, 0.0)


def test_points_come_in_order_while_the_oldest_has_not_waited_long():
    backlog, soon_ns = Backlog(1 << 20, OwnScans(EngineScan).open), time.monotonic_ns() + 10**12
    for name in "ab":
        backlog.put([point(i, name, soon_ns) for i in range(3)])
    backlog.finish("a")
    assert [getattr(item, "index", item) for item in taken(backlog, 4)] == [0, 1, 2, 0, EndOfScan("a")]
    backlog.put([point(7, "b")])  # late, and behind points that are not
    assert [item.index for item in taken(backlog)] == [1, 2, 7]  # type: ignore[union-attr]


def test_the_newest_come_first_where_points_are_late_and_a_scan_finishes_behind_its_last_point():
    backlog = Backlog(1 << 20, OwnScans(EngineScan).open)
    backlog.put([point(i) for i in range(5)])
    backlog.put([point(i, "b") for i in range(2)])
    backlog.finish("a")
    names = [(item.scan_id, item.index) for item in taken(backlog, 3) if isinstance(item, ScanPoint)]
    assert names == [("b", 1), ("b", 0), ("a", 4)]
    rest = taken(backlog)
    assert [item.index for item in rest[:-1]] == [3, 2, 1, 0]  # type: ignore[union-attr]
    assert rest[-1] == EndOfScan("a")
    assert taken(backlog) == []
    backlog.finish("b")
    assert taken(backlog) == [EndOfScan("b")]


def test_once_many_scans_wait_the_oldest_is_done_first():
    backlog = Backlog(1 << 20, OwnScans(EngineScan).open)
    for name in "abcd":
        backlog.put([point(i, name) for i in range(3)])
        backlog.finish(name)
    first, second = taken(backlog, 3), taken(backlog, 2)
    assert [getattr(item, "index", None) for item in first] == [2, 1, 0, None]
    assert {item.scan_id for item in first} == {"a"}
    assert [(item.scan_id, item.index) for item in second] == [("d", 2), ("d", 1)]


def test_beyond_the_bound_points_are_read_back_and_what_is_not_there_is_said():
    backlog = Backlog(3 * BYTES, OwnScans(EngineScan).open, STORE)
    backlog.put([point(i) for i in range(10)])
    assert backlog.bytes <= 3 * BYTES
    assert backlog.on_disk == 6
    items = taken(backlog)
    assert items[0] == LostPoint("a", 3, RefusalReason.OVERLOAD)
    assert LostPoint("a", 4, RefusalReason.JOURNAL_UNREADABLE) in items
    points = {item.index: item for item in items if isinstance(item, ScanPoint)}
    assert sorted(points) == [0, 1, 2, 5, 6, 7, 8, 9]
    for index, found in points.items():
        np.testing.assert_array_equal(found.counts, counts_of(index))
        assert (found.position_m, found.received_ns) == (PositionM(index * 1e-7, -1.0), 5)
    assert backlog.bytes == len(backlog) == 0


def test_its_age_is_that_of_the_oldest_point_in_memory_or_on_the_disk():
    backlog, now_ns = Backlog(2 * BYTES, OwnScans(EngineScan).open, STORE), time.monotonic_ns()
    assert backlog.age_s == 0.0
    backlog.put([point(9, "b", now_ns - 3 * 10**9)])
    assert 3.0 <= backlog.age_s < 60.0
    backlog.put([point(i, received_ns=now_ns - (100 - i) * 10**9) for i in range(5, 9)])
    assert backlog.on_disk == 3
    assert 95.0 <= backlog.age_s < 150.0
    taken(backlog)
    assert backlog.age_s == 0.0


def test_points_of_the_journal_come_without_their_pixels():
    backlog = Backlog(BYTES, OwnScans(EngineScan).open, STORE)
    empty = np.empty((0, 0), dtype=np.uint8)
    backlog.put([ScanPoint("a", 8, empty, PositionM(0.0, 0.0), 1)])
    assert backlog.bytes == 0
    (found,) = taken(backlog)
    assert isinstance(found, ScanPoint)
    np.testing.assert_array_equal(found.counts, counts_of(8))


def test_without_a_store_put_waits_for_room():
    backlog, is_put = Backlog(2 * BYTES, OwnScans(EngineScan).open), threading.Event()

    def put() -> None:
        backlog.put([point(i) for i in range(3)])
        is_put.set()

    threading.Thread(target=put).start()
    assert not is_put.wait(0.05)
    while not is_put.is_set():
        taken(backlog, 1)
    assert is_put.wait(10)


def test_a_slow_store_does_not_hold_put():
    is_asked, may_answer = threading.Event(), threading.Event()

    def read(scan_id: str, index: int) -> NDArray[Any]:
        is_asked.set()
        may_answer.wait()
        return counts_of(index)

    backlog = Backlog(BYTES, OwnScans(EngineScan).open, Store(lambda scan_id, index: True, read))
    backlog.put([point(i) for i in range(4)])
    taking = threading.Thread(target=taken, args=(backlog,))
    taking.start()
    assert is_asked.wait(10)
    backlog.put([point(9)])
    may_answer.set()
    taking.join()
    assert len(backlog) == 1


def test_forget_gives_the_memory_back():
    backlog = Backlog(1 << 20, OwnScans(EngineScan).open, STORE)
    backlog.put([point(i) for i in range(5)])
    assert backlog.forget("a") == 5
    assert backlog.forget("a") == 0
    assert backlog.bytes == 0


@pytest.mark.parametrize("frames", [200_000])
def test_a_point_on_disk_costs_about_thirty_bytes(frames: int):
    backlog = Backlog(
        BYTES, OwnScans(EngineScan).open, Store(lambda scan_id, index: True, lambda scan_id, index: counts_of(index))
    )
    same = point(7)
    tracemalloc.start()
    backlog.put(same for _ in range(frames))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert backlog.on_disk >= frames - 1
    assert used < 40 * frames


def test_nothing_of_a_scan_is_kept_once_its_end_is_taken_or_it_is_forgotten() -> None:
    scans = OwnScans(EngineScan)
    backlog = Backlog(1 << 20, scans.open)
    for name in "ab":
        backlog.put([point(0, name)])
        assert scans.open(name).waiting is not None
    backlog.finish("a")
    assert taken(backlog)[-1] == EndOfScan("a")
    assert scans.open("a").waiting is None
    backlog.put([point(1, "b")])
    assert backlog.forget("b") == 1
    assert (scans.open("b").waiting, backlog.bytes, len(backlog)) == (None, 0, 0)
