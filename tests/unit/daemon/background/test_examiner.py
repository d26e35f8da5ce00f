"""Who looks at a scan's first frames never holds more frames than a few looks need."""

from __future__ import annotations

import threading
import weakref

import pytest
import torch

from daemon.background.diagnosis.examiner import (
    BUSY_S,
    BUSY_SHARE,
    MOST_JOBS,
    MOST_REST_S,
    Examiner,
    ExaminerEvents,
    ExaminerOptions,
    _Rest,
)
from daemon.engine.examination import Examination

FRAMES = [(torch.ones(16, 16), (0.0, float(i))) for i in range(64)]


def nothing(*_args: object) -> None:
    """Take what is said."""


def test_scans_that_come_faster_than_they_are_looked_at_do_not_pile_up() -> None:
    options = ExaminerOptions(is_enabled=True, is_fixed=False, is_guess=False, frames=50, retrieve_frames=100)
    events = ExaminerEvents(lambda: torch.ones(1, 16, 16), lambda: True, nothing, nothing, nothing)
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
    events = ExaminerEvents(lambda: torch.ones(1, 16, 16), lambda: False, nothing, nothing, nothing)
    examiner, is_free = Examiner(options, events), threading.Event()
    frame = torch.ones(16, 16)
    weakref.finalize(frame, is_free.set)
    examiner.start()
    examiner.examine(Examination("scan"), [(frame, (0.0, 0.0))])
    del frame
    assert is_free.wait(60)
    examiner.stop()


class _Clock:
    """Time that goes on by what is waited and by what work is said to take."""

    def __init__(self) -> None:
        self.now, self.waits = 100.0, list[float]()

    def monotonic(self) -> float:
        return self.now

    def is_set(self) -> bool:
        return False

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        self.waits.append(seconds)
        return False


def test_the_examiner_waits_for_a_busy_engine_and_then_works_a_share_of_the_time(monkeypatch: pytest.MonkeyPatch):
    clock, is_busy = _Clock(), True
    monkeypatch.setattr("daemon.background.diagnosis.examiner.time", clock)
    rest = _Rest(lambda: is_busy, clock)  # type: ignore[arg-type]
    rest()
    assert sum(clock.waits) == pytest.approx(MOST_REST_S, rel=0.01)
    clock.waits.clear()
    clock.now += 0.05
    rest()
    assert clock.waits == [pytest.approx(0.05 * (1 / BUSY_SHARE - 1))]
    is_busy = False
    clock.now += BUSY_S + 1
    clock.waits.clear()
    rest()
    assert clock.waits == []
