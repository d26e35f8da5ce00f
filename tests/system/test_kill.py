"""A daemon killed at any instant goes on with the scan it was in: nothing twice, nothing lost of what was received."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.kill_tools import POSITIONS, Source, assert_is_whole, finished, kill_while_it_sends

pytestmark = pytest.mark.system


@pytest.mark.parametrize(
    ("settings", "kills"), [((), 1), (POSITIONS, 2)], ids=["positions in frames", "positions of their own, twice"]
)
def test_a_killed_daemon_goes_on_with_its_scan(tmp_path: Path, settings: tuple[str, ...], kills: int):
    source, received = Source("star"), 0
    for after_s in (0.3, 0.2)[:kills]:
        received = kill_while_it_sends(tmp_path, source, received, after_s, *settings)
        assert received > 0
    assert_is_whole(finished(tmp_path, source, *settings), tmp_path)
