"""A program in a process of its own: what it gives, what it says when it fails, that it can be ended."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

from daemon.background.external.side_process import SideProcess, working_folder
from daemon.errors import DaemonError

DOUBLE = """
import json, sys, numpy as np
given = np.load(sys.argv[1])
np.savez(sys.argv[2], twice=given["some"] * json.loads(str(given["options"]))["factor"])
"""


def program(folder: Path, text: str) -> list[str]:
    path = folder / "program.py"
    path.write_text(text)
    return [sys.executable, str(path)]


def test_arrays_go_in_and_come_out(tmp_path: Path) -> None:
    process = SideProcess(program(tmp_path, DOUBLE), "doubling", 60)
    found = process.run({"some": np.arange(3)}, factor=2)
    np.testing.assert_array_equal(found["twice"], [0, 2, 4])


def test_its_last_words_are_told(tmp_path: Path) -> None:
    process = SideProcess(program(tmp_path, "raise SystemExit('no memory')"), "doubling", 60)
    with pytest.raises(DaemonError, match="doubling ended with a fault: no memory"):
        process.run({})


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(DaemonError, match="/no/such/python cannot be run"):
        SideProcess(["/no/such/python"], "doubling", 60).run({})


def test_one_that_does_not_end_is_ended(tmp_path: Path) -> None:
    endless = program(tmp_path, "import threading; threading.Event().wait()")
    with pytest.raises(DaemonError, match="it took too long"):
        SideProcess(endless, "doubling", 0.3).run({})
    process = SideProcess(endless, "doubling", 600)
    faults: list[str] = []

    def run() -> None:
        try:
            process.run({})
        except DaemonError as fault:
            faults.append(str(fault))

    thread = threading.Thread(target=run)
    thread.start()
    process.stop()
    thread.join(60)
    assert faults == ["doubling was stopped"]


def test_folders_that_a_killed_daemon_left_are_deleted_and_those_in_use_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = tmp_path / "ptycholive-side-left"
    left.mkdir()
    (left / "lock").touch()
    (left / "in.npz").write_bytes(b"much")
    (tmp_path / "ptycholive-side-just-made").mkdir()
    with working_folder() as first, working_folder() as second:
        assert first.exists()
        assert second.exists()
        assert not left.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["ptycholive-side-just-made"]


PARENT = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", sys.argv[1]])
sys.stdin.read()
"""
CHILD = """
import sys, threading
from daemon.background.external.parent import end_with_parent
end_with_parent()
print("runs", flush=True)
threading.Event().wait()
"""


def test_a_child_ends_when_the_daemon_is_killed() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    assert parent.stdout.readline() == "runs\n"
    parent.kill()
    assert parent.stdout.read() == ""  # returns once both ends that write are gone
    parent.wait()
    parent.stdin.close()
    parent.stdout.close()


def test_a_child_whose_parent_has_ended_already_ends_itself() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", CHILD], env={**os.environ, "PTYCHOLIVE_PARENT": "1"}, stdout=subprocess.PIPE, check=False
    )
    assert (ended.returncode, ended.stdout) == (-9, b"")
