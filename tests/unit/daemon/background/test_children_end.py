"""Children end with the process that started them, also while they load what they need and where a file hangs."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
SLOW_TORCH = """
with open({fifo!r}, "wb", buffering=0) as said:
    said.write(b"loads")
    import threading
    threading.Event().wait()
"""
SIDE = """
import os, subprocess, sys
from daemon.background.external.parent import PARENT
env = {{**os.environ, PARENT: str(os.getpid()), "PYTHONPATH": {fake!r} + ":" + {root!r}}}
subprocess.run([sys.executable, *{command!r}, "in", "out"], env=env)
"""
LEARNER = """
import multiprocessing, os, sys
from daemon.background.external.parent import run_child
if __name__ == "__main__":
    sys.path.insert(0, {fake!r})
    context = multiprocessing.get_context("spawn")
    child = context.Process(target=run_child, args=(os.getpid(), "daemon.background.learning.child", None))
    child.start()
    child.join()
"""
READER = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from daemon.files.apart import Limits, read_apart
from daemon.files.positions_file import read_positions
read_apart(read_positions, Path({fifo!r}), Limits(timeout_s=600))
"""


def assert_gone_with_its_parent(program: Path, fifo: Path, answer: bytes) -> None:
    """The child has opened the pipe when it is in the midst of its work; its end closes it."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    parent = subprocess.Popen([sys.executable, str(program)], env={**os.environ, "PYTHONPATH": path})
    try:
        with fifo.open("rb") as said:
            assert said.read(len(answer)) == answer
            parent.kill()
            parent.wait()
            assert said.read() == b""
    finally:
        parent.kill()
        parent.wait()


@pytest.mark.parametrize("kind", ["retrieval", "pty-chi", "learner"])
def test_a_child_that_still_loads_goes_with_its_parent(kind: str, tmp_path: Path) -> None:
    fake, fifo, program = tmp_path / "fake", tmp_path / "fifo", tmp_path / "program.py"
    fake.mkdir()
    os.mkfifo(fifo)
    (fake / "torch.py").write_text(SLOW_TORCH.format(fifo=str(fifo)))
    side = ROOT / "daemon/background/external/ptychi_side.py"
    command = ["-m", "daemon.background.external.retrieval_side"] if kind == "retrieval" else [str(side)]
    text = LEARNER if kind == "learner" else SIDE
    program.write_text(text.format(fake=str(fake), root=str(ROOT), command=command))
    assert_gone_with_its_parent(program, fifo, b"loads")


def test_a_reader_that_hangs_in_a_file_goes_with_its_parent(tmp_path: Path) -> None:
    fifo, program = tmp_path / "fifo", tmp_path / "program.py"
    os.mkfifo(fifo)
    program.write_text(READER.format(fifo=str(fifo), root=str(ROOT)))
    parent = subprocess.Popen([sys.executable, str(program)])
    with fifo.open("wb") as never_read:  # opens when the reader has, which waits for bytes that do not come
        parent.kill()
        parent.wait()
        waiting = select.poll()
        waiting.register(never_read, 0)
        assert waiting.poll(20_000)  # nobody reads there any more
