"""The account of a scan by itself: it adds up after every step, and nothing but its own methods changes it."""

from __future__ import annotations

import ast
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.frame import PositionM
from streams.join import account, scan_positions, seen_indexes
from streams.join.account import AccountSnapshot, ScanAccount
from streams.join.far_frames import FarFrames
from streams.refusal_reasons import RefusalReason
from tests.support.stream_tools import frame

INDEXES = range(5)
INDEX = st.sampled_from(INDEXES)
PLACES = st.none() | st.sampled_from([0.0, 1e-6, 5.0, math.nan])
OWN = {"scan_id", "wire_id", "opened_at", "indexes", "positions"}  # Final: mypy refuses an assignment


@dataclass
class Ledger:
    """An account, and the places that a test knows the pending frames to be in."""

    account: ScanAccount = field(default_factory=lambda: ScanAccount("a", 4, 0.0))
    in_flight: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.far = FarFrames(1e-3)
        self.account.hold_back_far_frames(self.far)

    def receive(self, index: int, y: float | None) -> None:
        got = frame(index, None if y is None else (y, 0.0))
        if not self.account.receive(got, got.position_m):
            return
        if got.position_m is None:
            self.account.wait(got, 0.0, index)
        elif not got.position_m.is_place:
            self.account.refuse_misplaced(index, got.position_m)
        else:
            self.in_flight |= {f.index for f, _ in self.far.take(got, got.position_m)}

    def find_position(self, index: int) -> None:
        if index in self.account.waiting:
            self.in_flight |= {f.index for f, _ in self.far.take(self.account.end_wait(index), PositionM(0.0, 0.0))}

    def stitch(self, index: int) -> None:
        self.account.mark_stitched([index])
        self.in_flight.discard(index)

    def refuse(self, index: int) -> None:
        if index in self.account.waiting or self.account.is_in_flight(index):
            self.account.refuse(RefusalReason.NOT_FINITE, index)
            self.in_flight.discard(index)

    def give_up(self, index: int) -> None:
        if index in self.account.waiting:
            self.account.give_up(index)

    def end(self) -> None:
        self.account.end("end", 1.0, was_cut_short=False)

    def check(self) -> None:
        now = self.account.snapshot()
        assert now.adds_up, now
        assert {index for index in INDEXES if self.account.is_in_flight(index)} == self.in_flight
        assert now.pending == len(self.account.waiting) + len(self.far) + len(self.in_flight)
        assert self.account.is_finished == (self.account.ended_at is not None and now.pending == 0)


Step = Callable[[Ledger], object]
STEPS: list[st.SearchStrategy[Step]] = [
    st.builds(lambda i, y: lambda ledger: ledger.receive(i, y), INDEX, PLACES),
    st.builds(
        lambda i: lambda ledger: ledger.account.receive_refused(RefusalReason.CORRUPT, i, "damaged"), st.none() | INDEX
    ),
    st.builds(lambda i: lambda ledger: ledger.find_position(i), INDEX),
    st.builds(lambda i: lambda ledger: ledger.stitch(i), INDEX),
    st.builds(lambda i: lambda ledger: ledger.refuse(i), INDEX),
    st.builds(lambda i: lambda ledger: ledger.give_up(i), INDEX),
    st.just(lambda ledger: ledger.end()),
]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.one_of(STEPS), max_size=40))
def test_it_adds_up_after_every_step(steps: list[Step]) -> None:
    ledger = Ledger()
    for step in steps:
        step(ledger)
        ledger.check()


def test_a_message_that_is_counted_twice_or_not_at_all_does_not_add_up() -> None:
    good = AccountSnapshot(None, 5, 1, 0, {RefusalReason.CORRUPT: 1}, 1, 1, 1)
    assert good.adds_up
    assert not AccountSnapshot(None, 5, 1, 0, {RefusalReason.CORRUPT: 1}, 1, 1, 2).adds_up
    assert not AccountSnapshot(None, 5, 1, 0, {RefusalReason.CORRUPT: 1}, 1, 0, 1).adds_up
    assert not AccountSnapshot(None, 0, 1, 0, {}, 0, -1, 0).adds_up


@pytest.mark.parametrize("module", [account, scan_positions, seen_indexes])
def test_readers_get_properties_that_cannot_be_assigned(module: object) -> None:
    """Attributes that a class sets in itself are private, but for those declared ``Final``."""
    source = inspect.getsource(module)  # type: ignore[arg-type]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            assert node.attr.startswith("_") or f"self.{node.attr}: Final" in source, node.attr
    for name, member in inspect.getmembers(ScanAccount):
        assert not isinstance(member, property) or member.fset is None, name
    assert {name for name in ScanAccount.__slots__ if not name.startswith("_")} == OWN
