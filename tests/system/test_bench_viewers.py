"""``bench --only viewers`` with a few viewers: whole, and every one of them is served."""

from __future__ import annotations

import pytest

from daemon.cli.bench_viewers import measure_viewers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_pairs_with_and_without_viewers():
    found = measure_viewers(viewers=3, pairs=1, repeat=1)
    assert found["viewers"] == 3
    assert found["frames_per_s_alone"] > 0
    assert found["frames_per_s_watched"] > 0
    assert found["messages_per_viewer"] > 2
