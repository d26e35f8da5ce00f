"""Verbs that compute nothing start without torch, which takes seconds to load."""

from __future__ import annotations

import subprocess
import sys

LIGHT = ("config", "convert", "demo", "record", "remote", "replay", "scans", "validate", "watch")


def test_verbs_that_compute_nothing_load_no_torch():
    modules = ", ".join(f"daemon.cli.{name}" for name in LIGHT)
    code = f"import sys, ptychopinn.api, {modules}; print(sorted({{'torch', 'tensordict'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.strip() == "[]"
