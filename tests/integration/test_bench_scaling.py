"""The case ``scaling`` of the benchmark, small: the whole chain, and memory by the frame."""

from __future__ import annotations

from daemon.cli.bench_scaling import Scaling, measure_scaling


def test_every_frame_of_a_long_scan_gets_through():
    found = measure_scaling(Scaling(frames=8_000, early=2_000, window=1_000))
    assert found["frames"] == 8_000
    assert found["mean_us"] > 0
    assert found["late_engine_us"] > 0
