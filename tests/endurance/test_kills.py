"""Kills at random instants lose nothing and double nothing. ``PTYCHOLIVE_KILLS`` is how many."""

from __future__ import annotations

import os
import random
from itertools import cycle
from pathlib import Path

import pytest

from tests.support.kill_tools import (
    POSITIONS,
    Source,
    assert_is_whole,
    finished,
    kill_at_the_end,
    kill_while_it_sends,
    kill_while_it_starts,
)

KILLS = int(os.environ.get("PTYCHOLIVE_KILLS", "200"))


@pytest.mark.timeout(40 * KILLS + 300)
def test_kills_at_random_instants_lose_and_double_nothing(tmp_path: Path):
    """Kills while a daemon receives, starts and finishes; scans of all kinds of positions and centres in turn."""
    chance = random.Random(int(os.environ.get("PTYCHOLIVE_KILLS_SEED", "1")))
    kills = 0
    for settings in cycle(((), POSITIONS, ('detector.center_px="auto"',))):
        source, received = Source(f"scan{kills}"), 0
        for _ in range(chance.randint(1, 3)):
            received = kill_while_it_sends(tmp_path, source, received, chance.uniform(0.0, 0.4), *settings)
            kills += 1
            if chance.random() < 0.4:
                kill_while_it_starts(tmp_path, chance.uniform(0.5, 6.0), *settings)
                kills += 1
        if chance.random() < 0.7:
            kill_at_the_end(tmp_path, source, chance.uniform(0.0, 1.0), *settings)
            kills += 1
        assert_is_whole(finished(tmp_path, source, *settings), tmp_path)
        if kills >= KILLS:
            break
