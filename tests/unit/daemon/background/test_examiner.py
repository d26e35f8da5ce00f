"""Who looks at a scan's first frames never holds more frames than a few looks need."""

from __future__ import annotations

import threading
import weakref

import pytest
import torch

from daemon.background.diagnosis.examiner import MOST_JOBS, Examiner, ExaminerEvents, ExaminerOptions
from daemon.background.diagnosis.giving_way import (
    BUSY_S,
    BUSY_SHARE,
    FIRST_CPU_S,
    MOST_CPU_S,
    REST_S,
    BudgetSpentError,
    GivingWay,
    has_budget,
)
from daemon.engine.examination import Examination
from daemon.messages import FitCheck
from ptychopinn.diagnosis.fit_test import LEAST_FRAMES

FRAMES = [(torch.ones(16, 16), (0.0, float(i))) for i in range(64)]


def nothing(*_args: object) -> None:
    """Take what is said."""


def test_scans_that_come_faster_than_they_are_looked_at_do_not_pile_up() -> None:
    options = ExaminerOptions(is_enabled=True, is_fixed=False, is_guess=False, frames=50, retrieve_frames=100)
    events = ExaminerEvents(lambda: torch.ones(1, 16, 16), lambda: True, nothing, nothing, nothing, nothing, nothing)
    examiner = Examiner(options, events)  # its thread is not there: it is busy for ever
    examined = 0
    for number in range(40):
        scan = Examination(f"scan-{number}")
        if examiner.wants(scan, 64, has_ended=False):
            examiner.examine(scan, FRAMES)
            examined += 1
    assert examined == MOST_JOBS


def test_frames_that_were_looked_at_are_let_go_while_none_wait() -> None:
    options = ExaminerOptions(is_enabled=False)  # it looks at nothing, but takes the frames
    events = ExaminerEvents(lambda: torch.ones(1, 16, 16), lambda: False, nothing, nothing, nothing, nothing, nothing)
    examiner, is_free = Examiner(options, events), threading.Event()
    frame = torch.ones(16, 16)
    weakref.finalize(frame, is_free.set)
    examiner.start()
    examiner.examine(Examination("scan"), [(frame, (0.0, 0.0))])
    del frame
    assert is_free.wait(60)
    examiner.stop()


class _Clock:
    """Time that goes on by what is waited, and processor time by what work is said to take."""

    def __init__(self, busy_waits: int = 0) -> None:
        self.now, self.cpu, self.waits, self.rests = 100.0, 7.0, list[float](), list[float]()
        self.busy_waits = busy_waits

    def monotonic(self) -> float:
        return self.now

    def thread_time(self) -> float:
        return self.cpu

    def work(self, seconds: float) -> None:
        self.now += seconds
        self.cpu += seconds

    def is_busy(self) -> bool:
        return len(self.waits) < self.busy_waits

    def is_set(self) -> bool:
        return False

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        self.waits.append(seconds)
        return False


def giving_way(clock: _Clock, scan: Examination | None, monkeypatch: pytest.MonkeyPatch) -> GivingWay:
    monkeypatch.setattr("daemon.background.diagnosis.giving_way.time", clock)
    return GivingWay(scan, clock.is_busy, clock.rests.append, clock)  # type: ignore[arg-type]


def test_the_diagnosis_waits_as_long_as_frames_wait_and_then_works_a_share_of_the_time(monkeypatch: pytest.MonkeyPatch):
    clock = _Clock(busy_waits=5000)
    give_way = giving_way(clock, None, monkeypatch)
    give_way()
    assert clock.waits == [*[REST_S] * 5000, 0.0]
    clock.work(0.05)
    give_way()
    assert clock.waits[5001:] == [pytest.approx(0.05 * (1 / BUSY_SHARE - 1))]
    assert not clock.rests
    clock.now += BUSY_S
    give_way()
    clock.work(0.05)
    give_way()
    assert len(clock.waits) == 5002
    assert clock.rests[-1] == pytest.approx(0.05 * (1 / BUSY_SHARE - 1))  # it waits for a rest, but not for ever


def test_the_diagnosis_of_a_scan_ends_when_its_processor_time_is_spent(monkeypatch: pytest.MonkeyPatch):
    clock, scan = _Clock(), Examination("scan")
    first = giving_way(clock, scan, monkeypatch)
    for _ in range(15):
        clock.work(0.1)
        first()
    assert scan.spent_s == pytest.approx(1.5)
    assert has_budget(scan)
    second = giving_way(clock, scan, monkeypatch)  # a later test of the same scan
    clock.wait(60.0)  # waiting costs nothing
    for _ in range(4):
        clock.work(0.1)
        second()
    clock.work(0.2)
    with pytest.raises(BudgetSpentError):
        second()
    assert MOST_CPU_S < scan.spent_s < MOST_CPU_S + 0.2
    assert not has_budget(scan)


def test_the_first_test_is_done_on_a_slow_processor_too(monkeypatch: pytest.MonkeyPatch):
    clock, scan = _Clock(), Examination("scan")
    first = giving_way(clock, scan, monkeypatch)
    for _ in range(9):
        clock.work(FIRST_CPU_S / 10)
        first()
    assert not has_budget(scan)
    clock.work(FIRST_CPU_S / 5)
    with pytest.raises(BudgetSpentError):
        first()


def test_a_scan_that_ends_with_too_few_frames_is_entered_as_not_checked():
    checks = list[tuple[str, FitCheck]]()
    events = ExaminerEvents(
        lambda: torch.ones(1, 16, 16), lambda: False, *[nothing] * 3, lambda *check: checks.append(check), nothing
    )
    examiner = Examiner(ExaminerOptions(), events)
    assert not examiner.wants(Examination("long"), LEAST_FRAMES, has_ended=False)
    assert examiner.wants(Examination("long"), LEAST_FRAMES, has_ended=True)
    assert not examiner.wants(Examination("short"), LEAST_FRAMES - 1, has_ended=True)
    assert checks == [("short", FitCheck.TOO_FEW_FRAMES)]


def test_no_other_test_is_begun_without_budget():
    options = ExaminerOptions(is_enabled=True, frames=50)
    events = ExaminerEvents(lambda: torch.ones(1, 16, 16), lambda: False, nothing, nothing, nothing, nothing, nothing)
    examiner, scan = Examiner(options, events), Examination("scan")
    assert examiner.wants(scan, 64, has_ended=False)
    scan.spent_s = MOST_CPU_S
    assert not examiner.wants(scan, 64, has_ended=False)
