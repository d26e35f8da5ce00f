"""Verbs that compute nothing start without torch, which takes seconds to load; none loads torch's compiler."""

from __future__ import annotations

import json
import subprocess
import sys

LIGHT = ("config", "convert", "demo", "record", "remote", "replay", "scans", "validate", "watch")


def test_verbs_that_compute_nothing_load_no_torch():
    modules = ", ".join(f"daemon.cli.{name}" for name in LIGHT)
    assert loaded(f"ptychopinn.api, {modules}", "torch", "tensordict") == []


def test_training_loads_neither_compiler_nor_extras():
    """Its import takes 1.5 CPU seconds, of which torch takes 1.0; the compiler alone would take as long again."""
    asked = ("tensordict", "torch._dynamo", "lightning", "mlflow", "matplotlib")
    assert loaded("ptychopinn.training, ptychopinn.workflow.inference_engine", *asked) == ["tensordict"]


def loaded(modules: str, *asked: str) -> list[str]:
    """Return those of ``asked`` that a new process has after it imported ``modules``."""
    code = f"import json, sys, {modules}; print(json.dumps([name for name in {asked!r} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True)
    return json.loads(done.stdout)
