"""Each case of ``bench``, small: it runs to its end, every frame gets through, and its numbers are finite."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daemon.cli.bench import live
from daemon.cli.bench.launches import measure_launches
from daemon.cli.bench.learning import measure_learning
from daemon.cli.bench.overhead import measure_overhead
from daemon.cli.bench.receive import Case, measure_case
from daemon.cli.bench.scaling import Scaling, measure_scaling
from daemon.cli.bench.viewers import measure_viewers
from tests.support.daemon_tools import write_short_scan

pytestmark = pytest.mark.timeout(300)

RECEIVED = {"frames_per_s", "receive_cpu_us", "decode_cpu_us", "intake_cpu_us"}
CASES: dict[str, tuple[Callable[[Path], dict[str, Any]], set[str]]] = {
    "receive": (lambda _: measure_case(Case((150, 130), "uint32", 64, 300), has_journal=False), RECEIVED),
    "receive with a journal": (lambda _: measure_case(Case((150, 130), "uint32", 64, 300), has_journal=True), RECEIVED),
    "scaling": (
        lambda _: measure_scaling(Scaling(frames=900, early=300, window=200, side_px=640)),
        {"frames", "mean_us", "late_engine_us"},
    ),
    "learning": (
        lambda _: measure_learning(pairs=1, repeat=1),
        {"frames_per_s_paused", "frames_per_s_learning"},
    ),
    "overhead": (
        lambda _: measure_overhead(frames=600, warm_up=200),
        {"python_us_per_frame", "engine_us", "intake_us", "journal_us", "receive_us"},
    ),
    "viewers": (
        lambda _: measure_viewers(viewers=3, pairs=1, repeat=1),
        {"viewers", "frames_per_s_alone", "frames_per_s_watched", "messages_per_viewer"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_small_case_runs_to_its_end(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "SCAN", write_short_scan(tmp_path / "short.cxi", 32))
    measure, numbers = CASES[name]
    found = measure(tmp_path)
    assert numbers <= set(found)
    assert all(math.isfinite(value) and value > 0 for key, value in found.items() if key in numbers)


def test_a_batch_takes_few_launches_and_one_wait() -> None:
    """The code that a GPU runs, counted here. A stage that goes frame by frame has a launch a frame, or more."""
    frames = 100  # enough for the probe to follow
    found = measure_launches(size_px=32, frames=frames)
    assert set(found) == {
        "group",
        "predict_lift",
        "predict_network",
        "mosaic",
        "refine",
        "refine_moving_probe",
        "refine_subpixel",
        "second_look",
    }
    for stage in ("predict_lift", "mosaic"):
        assert found[stage]["launches_per_frame"] < 0.8, stage
        assert found[stage]["waits_per_frame"] <= 1 / frames, stage
    most = {
        "refine": 76,
        "refine_moving_probe": 76,
        "refine_subpixel": 92,
    }  # of a pass, however many frames a batch holds
    for stage, launches in most.items():
        assert round(found[stage]["launches_per_frame"] * frames) <= launches, stage
        assert found[stage]["waits_per_frame"] == 1 / frames, stage
    assert found["second_look"]["waits_per_frame"] <= 1 / frames
    assert found["second_look"]["launches_per_frame"] < found["predict_network"]["launches_per_frame"] + 3
