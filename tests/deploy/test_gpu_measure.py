"""The script that measures a GPU runs to its end on a CPU, with finite numbers."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]


def test_the_script_measures_stages_and_profiles_a_step(tmp_path: Path) -> None:
    measure = runpy.run_path(str(ROOT / "deploy/gpu/measure.py"))
    measure["main"].__globals__.update(STAGE_S=0.0, WARM_UP=1)
    small = ["--cpu", "--parts", "stages,profile", "--frames", "4", "--sizes", "32", "--out", str(tmp_path)]
    threads = torch.get_num_threads()
    measure["main"](small)
    assert torch.get_num_threads() == threads
    found = json.loads((tmp_path / "measure.json").read_text())
    rates = found["stages"]["32"]
    assert {"group", "predict_network", "mosaic", "refine", "second_look", "step"} <= set(rates)
    assert all(rate > 0 for rate in rates.values())
    assert found["profile"]["operations"]
    page = (tmp_path / "measure.md").read_text()
    assert "| step |" in page
    assert "| operation |" in page
