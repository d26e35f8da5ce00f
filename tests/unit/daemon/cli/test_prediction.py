"""``predict`` sets its threads."""

from __future__ import annotations

import pytest

from daemon.cli.prediction import cpu_threads


@pytest.mark.parametrize(("asked", "wanted"), [("", 2), ("1", 1), ("99", 99), ("x", 2), ("0", 2)])
def test_threads_are_two_or_as_asked_but_no_more_than_cores(
    asked: str, wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    for cores in (1, 2, 8):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, n=cores: set(range(n)))
        assert cpu_threads() == min(cores, wanted)
