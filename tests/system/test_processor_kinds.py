"""The numbers hold on a processor without AVX-512 and AVX2: the most sensitive case of each numerics test, in its own process.

``make numerics`` runs whole files, and as a processor with AVX2 too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.system
ROOT = Path(__file__).parents[2]
CASES = ("tests/unit/ptychopinn/training/test_losses.py", "-k", "trained and scale")


def test_losses_are_upstreams_on_other_processors() -> None:
    variables = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *CASES]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
