"""The case ``receive`` of the benchmark, small."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.cli.bench_receive import Case, _measure


@pytest.mark.parametrize("has_journal", [False, True])
def test_all_frames_of_a_sender_in_another_process_arrive_and_are_timed(has_journal: bool, tmp_path: Path):
    case = Case((150, 130), "uint32", 64, 300)
    found = _measure(case, tmp_path if has_journal else None)
    assert set(found) == {"frames_per_s", "receive_cpu_us", "decode_cpu_us", "intake_cpu_us"}
    assert all(value > 0 for value in found.values())
