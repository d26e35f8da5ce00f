"""Live scans on the released Ray: two workers in processes of their own, both killed while frames are on their way."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest

from tests.support import SUPPORT
from tests.support.environments import lay_ours_below, make_environment
from tests.support.ray_live_side import run

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
NEEDED = ("-c", str(ROOT / "constraints.txt"), "ray[client]==2.60.0")
PATIENCE_S = 600
"""Ray's processes take seconds of CPU time to start, more on a loaded host."""


def test_killed_workers_leave_the_picture_of_one_engine(tmp_path: Path) -> None:
    python = make_environment(ROOT / ".venv-ray", "Ray", [NEEDED], 600, prepare=lay_ours_below)
    alone = run(tmp_path, 0, 0)
    assert not alone["imported_ray"]
    with tempfile.TemporaryDirectory(prefix="r-") as home:  # short: Ray's sockets lie deep below it
        others = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        wanted = {"HOME": home, "RAY_TMPDIR": home, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [str(python), str(SUPPORT / "ray_live_side.py"), home, "2", "2"],
            env=others | wanted, capture_output=True, text=True, timeout=PATIENCE_S, cwd=home,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["killed"] == 2
    assert [one["restarts"] for one in found["workers"]] == [1, 1]
    assert found["verdict"] == alone["verdict"]
    assert (found["digest"], tuple(found["origin_px"])) == (alone["digest"], alone["origin_px"])
    np.testing.assert_allclose(found["rfactors"]["network"], alone["rfactors"]["network"], rtol=0.02)
    np.testing.assert_allclose(found["rfactors"]["refined"], alone["rfactors"]["refined"], rtol=0.05)
    np.testing.assert_allclose(found["refined_px"], alone["refined_px"], rtol=0.1)
