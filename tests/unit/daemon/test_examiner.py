"""Who looks at a scan's first frames never holds more frames than a few looks need."""

from __future__ import annotations

import torch

from daemon.diagnosis.examiner import MOST_JOBS, Examiner, ExaminerEvents, ExaminerOptions

FRAMES = [(torch.ones(16, 16), (0.0, float(i))) for i in range(64)]


def nothing(*_args: object) -> None:
    """Take what is said."""


def test_scans_that_come_faster_than_they_are_looked_at_do_not_pile_up() -> None:
    options = ExaminerOptions(is_enabled=True, is_fixed=False, is_guess=False, frames=50, retrieve_frames=100)
    events = ExaminerEvents(lambda: torch.ones(1, 16, 16), lambda: True, nothing, nothing, nothing)
    examiner = Examiner(options, events)  # its thread is not there: it is busy for ever
    examined = 0
    for number in range(40):
        if examiner.wants(f"scan-{number}", 64, has_ended=False):
            examiner.examine(f"scan-{number}", FRAMES)
            examined += 1
    assert examined == MOST_JOBS
