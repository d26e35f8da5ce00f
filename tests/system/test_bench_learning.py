"""``bench --only learning`` with one pair: whole, and the learner works where it is said to."""

from __future__ import annotations

import pytest

from daemon.cli.bench_learning import measure_learning

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_pair_with_and_without_fine_tuning():
    found = measure_learning(pairs=1, repeat=2)
    assert found["frames_per_s_paused"] > 0
    assert found["frames_per_s_learning"] > 0
    assert found["steps"] > 0
