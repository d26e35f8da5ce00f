"""``bench resolution`` as a user runs it: two numbers and a plot."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(400)]
BENCH = [sys.executable, "-m", "daemon.cli", "bench"]


def test_the_demos_resolution_is_measured_and_drawn(tmp_path: Path) -> None:
    plot = tmp_path / "curve.svg"
    command = [*BENCH, "resolution", "--plot", str(plot), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=380, check=True)
    ours = json.loads(done.stdout)["ours"]
    assert 1.0 <= ours["seventh_px"] <= ours["half_bit_px"] < 2.5
    assert ours["half_bit_nm"] == pytest.approx(ours["half_bit_px"] * 28.178, rel=1e-3)
    assert max(ours["rfactors"]) < 0.15
    assert "<svg" in plot.read_text()
