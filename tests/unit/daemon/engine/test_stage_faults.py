"""A stage that fails again and again is left out for its scan, and said once."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict

import pytest

from daemon.engine.stage_faults import MOST_FAULTS, StageFaults


def fail() -> None:
    raise ValueError("injected")


def test_a_stage_is_switched_off_once_and_logged_twice(caplog: pytest.LogCaptureFixture):
    words: list[str] = []
    off: list[int] = []
    counts = Counter[str]()
    faults = StageFaults(words.append, lambda _scan_id: counts)
    with caplog.at_level(logging.ERROR):
        for _ in range(500):
            assert not faults.attempt("s", "the refinement", fail, lambda: off.append(1))
    assert off == [1]
    assert len(caplog.records) == 2
    assert len(words) == 500
    assert "left out for this scan: injected" in words[MOST_FAULTS - 1]


def test_other_scans_and_stages_have_counts_of_their_own():
    off: list[str] = []
    counts = defaultdict[str, Counter[str]](Counter)
    faults = StageFaults(lambda _words: None, counts.__getitem__)
    for _ in range(MOST_FAULTS - 1):
        for scan_id in ("a", "b"):
            faults.attempt(scan_id, "publishing", fail, lambda: off.append("off"))
            assert faults.attempt(scan_id, "other", lambda: None, lambda: off.append("off"))
    del counts["a"]  # the scan is closed
    faults.attempt("a", "publishing", fail, lambda: off.append("a"))
    assert off == []
    faults.attempt("b", "publishing", fail, lambda: off.append("b"))
    assert off == ["b"]
