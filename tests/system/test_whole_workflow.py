"""The tutorial of the whole workflow, its scripts and commands as they stand, with tiny sizes and a real Ctrl-C."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import signal
import subprocess
import sys
from glob import glob
from pathlib import Path

import pytest
from typer.testing import CliRunner

from daemon.cli.exit_codes import ExitCode
from daemon.cli.main import app
from tests.support.verbs import PICTURE_ALONE

pytestmark = pytest.mark.system
PAGE = Path(__file__).parents[2] / "deploy" / "docs" / "tutorials" / "whole-workflow.md"
FENCE = re.compile(r"^```(sh|toml|python)(?: ([^\n]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TINY = {"per_object = 100": "per_object = 25", "_epochs = 2": "_epochs = 1", "fine_tune = 2": "fine_tune = 1"}
BLOCKS = [(kind, note, text) for kind, note, text in FENCE.findall(PAGE.read_text(encoding="utf-8"))]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for kind, note, text in BLOCKS:
        if kind != "sh":
            for old, new in TINY.items():
                text = text.replace(old, new)
            (tmp_path / note).write_text(text, encoding="utf-8")
    return tmp_path


def started(place: Path, words: list[str]) -> subprocess.Popen[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    variables = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.Popen(words, cwd=place, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def said(place: Path, words: list[str]) -> str:
    done = started(place, words)
    out, err = done.communicate(timeout=250)
    assert done.returncode == 0, (words, out, err)
    return out


def interrupted(place: Path, words: list[str], log: Path) -> int:
    """Press Ctrl-C after the first epoch; return the exit code."""
    one = started(place, words)
    while one.poll() is None and not (log.exists() and log.read_text()):
        try:
            one.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    if one.poll() is None:
        one.send_signal(signal.SIGINT)
    one.communicate(timeout=250)
    return one.returncode


def test_by_the_python_interface(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripts = [text for kind, _, text in BLOCKS if kind == "python"]
    assert sum(1 for text in scripts for line in text.splitlines() if line.strip()) < 20
    monkeypatch.chdir(place)
    runpy.run_path("train.py")  # Ctrl-C: tests/unit/ptychopinn/training/test_one_behaviour.py
    shown = said(place, [sys.executable, "predict.py"])
    assert [line.split()[0] for line in shown.splitlines()] == [f"scan-000{n}.npz" for n in range(3)]
    for ending in ("npz", "h5", "png"):
        assert len(list(place.glob(f"scan-000?.{ending}"))) == 3
    assert (place / "training_outputs" / "fine-tune" / "log.jsonl").exists()


def called(command: str) -> None:
    """Run a command in this process: starting one takes longer than most commands."""
    program, *words = shlex.split(command)
    assert program == "ptycholive"
    words += PICTURE_ALONE if words[0] == "predict" else ()
    words = [name for word in words for name in (sorted(glob(word)) or [word])]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, (command, done.output, done.exception)


def test_by_the_command_line(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = [
        line.partition("  #")[0].strip() for kind, _, text in BLOCKS if kind == "sh" for line in text.splitlines()
    ]
    assert len(commands) < 10
    monkeypatch.chdir(place)
    for command in commands:
        if "--mlflow" in command and "--resume" not in command:
            log = place / "model.training" / "log.jsonl"
            assert interrupted(place, shlex.split(command), log) in (0, ExitCode.INTERRUPTED)
            continue
        called(command)
    assert {path.name for path in (place / "pictures").iterdir()} == {
        f"scan-000{n}.{e}" for n in range(3) for e in ("h5", "png")
    }
    assert (place / "picture.npz").exists()
