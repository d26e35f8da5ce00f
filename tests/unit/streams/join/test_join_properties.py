"""What holds of the join whatever comes in whatever order."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.frame import Frame, Position, ScanPoint, ScanStart
from streams.refusal_reasons import RefusalReason
from tests.support.join_tools import NamedJoin
from tests.support.stream_tools import Clock, frame, place

SCANS = ("a", "b", "a-2")
INDEX = st.integers(0, 5)
SCAN = st.sampled_from(SCANS)
YS = st.sampled_from([0.0, 1.0, 7.0, math.nan])
REACH_M = 1.5


@st.composite
def scans(draw: st.DrawFn) -> list[Frame | Position]:
    """Frames, some twice, and positions of two scans, some missing and some bad, in any order."""
    events: list[Frame | Position] = []
    for scan_id in ("a", "b"):
        copies = draw(st.lists(st.integers(0, 2), max_size=10))
        events += [frame(i, scan_id=scan_id) for i, count in enumerate(copies) for _ in range(count)]
        known = draw(st.lists(st.sampled_from([None, 1.5, math.nan]), min_size=len(copies), max_size=len(copies)))
        events += [place(i, y, scan_id) for i, y in enumerate(known) if y is not None]
    return draw(st.permutations(events))


def run(events: list[Frame | Position]) -> tuple[dict[tuple[str, int], float], dict[str, dict[str, Any]]]:
    clock = Clock()
    join = NamedJoin(position_timeout_s=5, clock=clock)
    points: list[ScanPoint] = []
    for scan_id in ("a", "b"):
        join.start_scan(ScanStart(scan_id, 10))
    for event in events:
        points += join.add_frame(event) if isinstance(event, Frame) else join.add_positions([event])
    for scan_id in ("a", "b"):
        join.end_scan(scan_id)
    clock.now = 5
    join.poll()
    for point in points:
        assert point.counts[0, 0] == point.index
        join.mark_stitched(point.scan_id, [point.index])
    assert join.is_finished("a")
    assert join.is_finished("b")
    assert len({(point.scan_id, point.index) for point in points}) == len(points)
    accounts = {scan_id: asdict(join.account(scan_id)) for scan_id in ("a", "b")}
    return {(point.scan_id, point.index): point.position_m.y for point in points}, accounts


@settings(deadline=None)
@given(scans())
def test_result_does_not_depend_on_the_order_of_arrival(events: list[Frame | Position]) -> None:
    joined, accounts = run(events)
    frames = [event for event in events if isinstance(event, Frame)]
    good = {(e.scan_id, e.index) for e in events if isinstance(e, Position) and e.position_m.is_finite}
    bad = {(e.scan_id, e.index) for e in events if isinstance(e, Position)} - good
    came = {(event.scan_id, event.index) for event in frames}
    assert joined == dict.fromkeys(good & came, 1.5)
    for scan_id, found in accounts.items():
        mine = [event for event in frames if event.scan_id == scan_id]
        distinct = {event.index for event in mine}
        misplaced = sum((scan_id, index) in bad for index in distinct)
        assert found["duplicate"] == len(mine) - len(distinct)
        assert found["refused"].get("bad_position", 0) == misplaced
        assert found["stitched"] == sum(key[0] == scan_id for key in joined)
        assert found["without_position"] == len(distinct) - misplaced - found["stitched"]
        assert found["missing"] == 10 - len(distinct)
        assert (found["received"], found["pending"]) == (len(mine), 0)


@dataclass
class Machine:
    """A join and what was handed on by it."""

    reach_m: float | None = None
    clock: Clock = field(default_factory=Clock)
    in_flight: set[tuple[str, int]] = field(default_factory=set)
    known: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.join = NamedJoin(
            position_timeout_s=3,
            max_wait_s=9,
            max_pending_bytes=24,
            max_open_scans=2,
            reach_m=lambda _scan_id: self.reach_m,
            clock=self.clock,
        )

    def hand_on(self, points: list[ScanPoint]) -> None:
        for point in points:
            key = (point.scan_id, point.index)
            assert key not in self.in_flight
            assert point.position_m.is_finite
            self.in_flight.add(key)

    def check(self) -> None:
        self.known |= set(self.join.open_scans)
        pending = 0
        for scan_id in self.known:
            v = self.join.account(scan_id)
            assert v.adds_up, v
            assert v.missing >= 0
            assert self.join.is_finished(scan_id) == (self.join.is_closed(scan_id) and v.pending == 0)
            pending += v.pending
        held_back = sum(len(scan.far) for scan in self.join.unfinished if scan.far is not None)
        assert pending - len(self.in_flight) - held_back == self.join.pending_bytes // 8
        assert self.join.pending_bytes <= 24
        assert len(self.join.open_scans) <= 2

    def stitch(self, scan_id: str, index: int) -> None:
        self.join.mark_stitched(scan_id, [index])
        self.in_flight.discard((scan_id, index))

    def refuse(self, scan_id: str, index: int) -> None:
        self.join.refuse(scan_id, index, RefusalReason.ENGINE_ERROR)
        self.in_flight.discard((scan_id, index))

    def let_pass(self, seconds: int) -> None:
        self.clock.now += seconds
        self.hand_on(self.join.poll())

    def set_positions(self, scan_id: str, count: int) -> None:
        if scan_id in self.join.open_scans:
            self.hand_on(self.join.set_positions(scan_id, np.ones((count, 2))))


Step = Callable[[Machine], object]
STEPS: list[st.SearchStrategy[Step]] = [
    st.builds(lambda s, n: lambda m: m.join.start_scan(ScanStart(s, n)), SCAN, st.none() | INDEX),
    st.builds(lambda s, e: lambda m: m.join.end_scan(s, exactly=e), SCAN, st.booleans()),
    st.builds(lambda s, i: lambda m: m.hand_on(m.join.add_frame(frame(i, scan_id=s))), SCAN, INDEX),
    st.builds(lambda s, i, y: lambda m: m.hand_on(m.join.add_frame(frame(i, (y, 0), s))), SCAN, INDEX, YS),
    st.builds(lambda s, i, y: lambda m: m.hand_on(m.join.add_positions([place(i, y, s)])), st.none() | SCAN, INDEX, YS),
    st.builds(
        lambda s, i: lambda m: m.join.refuse(s, i, RefusalReason.CORRUPT, received=True), SCAN, st.none() | INDEX
    ),
    st.builds(lambda s, i: lambda m: m.refuse(s, i), SCAN, INDEX),
    st.builds(lambda s, i: lambda m: m.stitch(s, i), SCAN, INDEX),
    st.builds(lambda t: lambda m: m.let_pass(t), st.integers(1, 10)),
    st.builds(lambda s, n: lambda m: m.set_positions(s, n), SCAN, INDEX),
]


@settings(deadline=None, max_examples=300)
@given(st.sampled_from([None, REACH_M]), st.lists(st.one_of(STEPS), max_size=60))
def test_the_account_adds_up_after_every_step(reach_m: float | None, steps: list[Step]) -> None:
    machine = Machine(reach_m)
    for step in steps:
        step(machine)
        machine.check()
    for scan_id, index in list(machine.in_flight):
        machine.stitch(scan_id, index)
    for scan_id in machine.join.open_scans:
        machine.join.end_scan(scan_id, exactly=True)
    machine.let_pass(10)
    for scan_id, index in list(machine.in_flight):  # frames that were held back until the end
        machine.stitch(scan_id, index)
    machine.check()
    assert all(machine.join.is_finished(scan_id) for scan_id in machine.known)
    assert machine.join.pending_bytes == 0
