"""``bench resolution`` on few frames and passes: two numbers and a plot. As users run it: tests/endurance."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from daemon.cli.bench import resolution
from tests.support.daemon_tools import write_short_scan
from tests.support.verbs import run_verb


def test_the_resolution_is_measured_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolution, "SCAN", write_short_scan(tmp_path / "short.cxi", 120))
    monkeypatch.setattr(resolution, "PASSES", 4)
    done = run_verb("bench", "resolution", "--plot", "curve.svg", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ours = json.loads(done.stdout)["ours"]
    assert 1.0 <= ours["seventh_px"] <= ours["half_bit_px"] < 10
    assert ours["half_bit_nm"] == pytest.approx(ours["half_bit_px"] * 28.178, rel=1e-3)
    assert max(ours["rfactors"]) < 0.3
    assert "<svg" in (tmp_path / "curve.svg").read_text()


def test_its_options_go_with_no_other_measurement(tmp_path: Path) -> None:
    done = run_verb("bench", "mosaic", "--plot", "x.svg", cwd=tmp_path)
    assert done.returncode == 2
    assert "work only with `bench resolution`" in done.stderr
