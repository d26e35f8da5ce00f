"""The tutorials' commands, run as they stand, in order, against real parts.

Blocks ``sh`` run; ``sh exit=N`` must leave with N; ``sh background`` run until the end; ``toml NAME`` is written to NAME. Changed
are only ports, which are free ones here, and sizes that would take long. A block of verbs alone runs in this process: an
interpreter takes seconds to start.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from glob import glob
from pathlib import Path

import h5py
import pytest

from tests.support.daemon_tools import DATA, PROBE, SCAN, write_short_scan
from tests.support.verbs import run_verb

pytestmark = pytest.mark.system
ROOT = Path(__file__).parents[2]
GUESS = DATA / "siemens-star-guess.npz"
TUTORIALS = ROOT / "deploy" / "docs" / "tutorials"
PORTS = ("31001", "31002", "5556", "8080")
SHORTER = {
    "--sweeps 40": "--sweeps 4",
    "--looks 1": "--looks 1 --no-diagnosis --no-resolution",
    "--count 20": "--count 2",
    "--frames 100": "--frames 16",
    "training.epochs=3": "training.epochs=1",
    "--rate 100": "--rate 400",
    "make demo": f"make -C {ROOT} -o .venv/base demo DEMO='--headless --port 0 --rate 400 --output '$PWD/demo.h5",
}
FRAMES = 100
"""Frames of the scan in files; ``demo`` sends all 516."""
LESS_WORK = {
    "PTYCHOLIVE_DIAGNOSIS__ENABLED": "false",
    "PTYCHOLIVE_FINETUNE__ENABLED": "false",
    "PTYCHOLIVE_REFINE__IMPROVE_S": "0",
}
FENCE = re.compile(r"^```(sh|toml)(?: ([^\n]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def free_ports() -> dict[str, str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in PORTS]
    found = {port: str(one.getsockname()[1]) for port, one in zip(PORTS, sockets, strict=True)}
    for one in sockets:
        one.close()
    return found


def blocks(page: Path) -> Iterator[tuple[str, str, str]]:
    """Yield kind, note and text of each block, ports and sizes changed."""
    changes = {**SHORTER, **free_ports()}
    for kind, note, text in FENCE.findall(page.read_text(encoding="utf-8")):
        for old, new in changes.items():
            text = re.sub(rf"(?<![\d.]){re.escape(old)}(?!\d)", lambda _, new=new: new, text)
        yield kind, note, text


def run(folder: Path, text: str, expected: int) -> str:
    lines = text.splitlines()
    if all(line.startswith("ptycholive ") for line in lines):
        return "".join(called(folder, line, expected) for line in lines)
    command = ["bash", "-euo", "pipefail", "-c", text]
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=900)
    assert done.returncode == expected, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def called(folder: Path, line: str, expected: int) -> str:
    """Run one verb as a shell would, in this process."""
    words = [sorted(glob(word, root_dir=folder)) or [word] for word in shlex.split(line)[1:]]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(folder).items():
            patch.setenv(name, value)
        done = run_verb(*(word for some in words for word in some), cwd=folder)
    assert done.returncode == expected, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def environment(folder: Path) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = {"PTYCHOLIVE_MODELS": str(folder / "models"), "OMP_NUM_THREADS": "1"}
    return {**os.environ, **LESS_WORK, "PATH": path, **settings}


def follow(page: str, folder: Path) -> str:
    """Run a tutorial in ``folder``; return all that its commands wrote to stdout."""
    data = folder / "daemon" / "demo_data"
    data.mkdir(parents=True)
    write_short_scan(data / SCAN.name, FRAMES)
    for path in (PROBE, GUESS):
        (data / path.name).symlink_to(path)
    background: list[subprocess.Popen[str]] = []
    said = ""
    try:
        for kind, note, text in blocks(TUTORIALS / page):
            if kind == "toml":
                (folder / note).write_text(text, encoding="utf-8")
            elif note == "background":
                command = ["bash", "-c", f"exec {text}"]
                background.append(subprocess.Popen(command, cwd=folder, env=environment(folder), text=True))
            else:
                said += run(folder, text, int(note.removeprefix("exit=") or 0))
    finally:
        for process in background:
            process.send_signal(signal.SIGTERM)
        codes = [process.wait(100) for process in background]
    assert all(code == 0 for code in codes), codes
    return said


@pytest.mark.timeout(900)
def test_first_picture(tmp_path: Path) -> None:
    said = follow("first-picture.md", tmp_path)
    assert said.count('"frames_sent"') == 3
    assert "object" in said
    assert "(1, " in said
    assert '"missing"' in said


@pytest.mark.timeout(900)
def test_attach_to_a_detector(tmp_path: Path) -> None:
    said = follow("attach-to-a-detector.md", tmp_path)
    assert "SILENT" in said
    assert "practice" in said
    with h5py.File(tmp_path / "out" / "practice" / "product.h5") as product:
        assert len(product["probe_position_indexes"]) == FRAMES


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_train_for_your_beamline(tmp_path: Path) -> None:
    said = follow("train-for-your-beamline.md", tmp_path)
    assert said.count("good") == 2
    assert "mine.zip: 1 epochs" in said
    assert (tmp_path / "after.h5").exists()
    assert "mine  lift-correction" in said
