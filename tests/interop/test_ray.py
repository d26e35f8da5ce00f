"""The released Ray, in an environment of its own on top of ours: batches, lost processes, tokens, addresses."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from daemon.cli.main import app
from daemon.files import read_product
from tests.support import SUPPORT
from tests.support.environments import lay_ours_below, make_environment

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
NEEDED = ("-c", str(ROOT / "constraints.txt"), "ray[client]==2.60.0")
PATIENCE_S = 240
RIGHT, WRONG = "1" * 64, "2" * 64
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
"""127.0.0.1, the same as an IPv6 address, and ::1, as /proc/net writes them."""
SMALL = ("--size", "32", "--frames", "9")


@pytest.fixture(scope="module")
def python() -> Path:
    return make_environment(ROOT / ".venv-ray", "Ray", [NEEDED], 600, prepare=lay_ours_below)


@dataclass(frozen=True)
class Runner:
    """Runs Python in Ray's environment. Ray keeps its files in ``home``, and finds no cluster but ours."""

    python: Path
    home: Path
    others: dict[str, str] = field(default_factory=dict)

    def environment(self, token: str = "") -> dict[str, str]:
        others = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        wanted = {"HOME": str(self.home), "RAY_TMPDIR": str(self.home), "OMP_NUM_THREADS": "1"}
        wanted["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # the loopback address alone
        return others | wanted | self.others | ({"RAY_AUTH_TOKEN": token} if token else {})

    def run(self, *words: object, token: str = "") -> subprocess.CompletedProcess[str]:
        command = [str(self.python), *map(str, words)]
        return subprocess.run(
            command, env=self.environment(token), capture_output=True, text=True, timeout=PATIENCE_S, cwd=self.home
        )

    def side(self, *words: object, token: str = "") -> dict[str, Any]:
        """Return what ``ray_side.py`` prints."""
        done = self.run(SUPPORT / "ray_side.py", *words, token=token)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def runner(python: Path) -> Iterator[Runner]:
    with tempfile.TemporaryDirectory(prefix="r-") as home:  # short: Ray's sockets lie deep below it
        yield Runner(python, Path(home))


def test_a_local_batch_equals_one_process(runner: Runner, tmp_path: Path) -> None:
    here = CliRunner()
    assert here.invoke(app, ["simulate", str(tmp_path / "in.npz"), *SMALL, "--count", "3"]).exit_code == 0
    scans, bad = sorted(tmp_path.glob("in-*.npz")), tmp_path / "bad.npz"
    bad.write_bytes(b"PK damaged")
    words = ("predict", *map(str, (*scans, bad)), "--bundle", "none", "--output")
    assert here.invoke(app, [*words, str(tmp_path / "alone")]).exit_code == 3
    done = runner.run("-m", "daemon.cli", *words, tmp_path / "on", "--on", "local", "--json")
    assert done.returncode == 3, done.stderr
    lines = [json.loads(row) for row in done.stdout.splitlines()]
    assert sorted(line["exit_code"] for line in lines) == [0, 0, 0, 3]
    assert [row for row in done.stderr.splitlines() if "bad.npz" in row]
    for path in scans:
        ours, theirs = (read_product(tmp_path / folder / f"{path.stem}.h5") for folder in ("on", "alone"))
        np.testing.assert_array_equal(ours.object, theirs.object)


def test_many_tasks_with_killed_processes_are_each_done_once(runner: Runner) -> None:
    found = runner.side("many", runner.home, 200)
    assert found["addresses"]
    assert set(found["addresses"]) <= LOOPBACK, "a local cluster listens on this machine alone"
    assert found["results"] == 200
    assert found["wrong"] == 0
    assert found["killed"] == 3
    assert found["faults"] == 1
    assert "its process ended 3 times" in found["hopeless"]


@dataclass(frozen=True)
class Head:
    """A running head node: its port, and that of its client server."""

    port: int
    client_port: int


@pytest.fixture
def head(runner: Runner) -> Iterator[Head]:
    ports = free_ports(2)
    command = [
        str(runner.python), "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=1", "--num-gpus=0",
        f"--port={ports[0]}", f"--ray-client-server-port={ports[1]}", "--include-dashboard=false",
        "--node-ip-address=127.0.0.1", f"--object-store-memory={80 * 2**20}",
    ]  # fmt: skip
    environment = runner.environment(RIGHT) | {"RAY_AUTH_MODE": "token", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        try:
            said = ""
            for line in process.stdout:
                said += line
                if "--block" in line:  # the last thing that it prints
                    break
            else:
                pytest.fail(f"Ray did not start:\n{said}")
            wait_for_port(ports[1])  # the client server starts a little later
            yield Head(*ports)
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE_S)


def wait_for_port(port: int) -> None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)) as one:
            if one.getsockname() != one.getpeername():  # a free port of this range can be connected to itself
                return
        time.sleep(0.05)
    pytest.fail(f"nothing listens at port {port}")


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def test_a_client_needs_the_token_of_the_cluster(runner: Runner, head: Head) -> None:
    client = f"ray://127.0.0.1:{head.client_port}"
    assert "no token for the Ray cluster" in runner.side("connect", client)["fault"]
    runner.others["RAY_ADDRESS"] = f"127.0.0.1:{head.port}"  # auto would take any cluster of this machine
    for address in (client, "auto"):
        assert "token" in runner.side("connect", address, token=WRONG)["fault"]
        found = runner.side("connect", address, token=RIGHT)
        assert found == {"found": [1, 2, 3], "was_imported": False}, address
