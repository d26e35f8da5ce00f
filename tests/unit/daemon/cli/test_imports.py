"""Verbs that compute nothing start without torch, which takes seconds to load; none loads torch's compiler."""

from __future__ import annotations

import json
import subprocess
import sys

LIGHT = ("config", "convert", "demo", "record", "remote", "replay", "scans", "validate", "watch")


def test_verbs_that_compute_nothing_load_no_torch():
    modules = ", ".join(f"daemon.cli.{name}" for name in LIGHT)
    assert loaded(f"ptychopinn.api, {modules}", "torch", "tensordict") == []


def test_the_model_loads_no_compiler():
    assert loaded("ptychopinn.model", "tensordict", "torch._dynamo") == ["tensordict"]


def loaded(modules: str, *asked: str) -> list[str]:
    """Return those of ``asked`` that a new process has after it imported ``modules``."""
    code = f"import json, sys, {modules}; print(json.dumps([name for name in {asked!r} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True)
    return json.loads(done.stdout)
