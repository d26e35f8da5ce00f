"""A user's mistakes: one sentence each, and the exit code of the contract."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.daemon_tools import PROBE, SCAN, write_config
from tests.support.verbs import run_verb


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults")
    write_config(folder)
    np.savez(folder / "small.npz", probe=np.ones((64, 64), np.complex64))
    np.savez(folder / "other_pixel.npz", probe=np.load(PROBE)["probe"], object_pixel_size_m=1e-8)
    np.savez(folder / "pickled.npz", probe=np.array([{"a": 1}], dtype=object))
    (folder / "damaged.h5").write_bytes(SCAN.read_bytes()[:100_000])
    (folder / "text.h5").write_text("this is no HDF5")
    (folder / "broken.toml").write_text("[frames\nendpoint = 3")
    return folder


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if not line[:4].isdigit()]  # without log lines
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        (["frames.endpiont=1"], 2, "[frames] endpiont is not a known key; did you mean endpoint?"),
        (["optics.probe_file='small.npz'"], 3, "is 64 x 64 px but [detector] size_px is 128"),
        (["optics.probe_file='other_pixel.npz'"], 3, "has pixels of 10.000 nm but the optics give 28.178 nm"),
        (["optics.probe_file='pickled.npz'"], 3, "contains pickled Python objects, which are never loaded"),
        (["optics.probe_file='damaged.h5'"], 3, "is cut short"),
        (["optics.probe_file='text.h5'"], 3, "is neither HDF5 nor NPZ"),
        (['model.device="cuda:7"'], 2, "has no usable CUDA device"),
    ],
)
def test_serve_refuses(place: Path, settings: list[str], code: int, words: str):
    options = [part for setting in settings for part in ("--set", setting)]
    done = run_verb("serve", "--config", "test.toml", *options, cwd=place)
    assert words in sentence(done)
    assert done.returncode == code


@pytest.mark.parametrize("which", ["http", "publish", "frames"])
def test_a_port_in_use(place: Path, taken: int, which: str):
    address = f"tcp://127.0.0.1:{taken}"
    setting = {
        "http": f"http.port={taken}",
        "publish": f'publish.endpoint="{address}"',
        "frames": f'frames.endpoint="@{address}"',
    }
    done = run_verb("serve", "--config", "test.toml", "--set", setting[which], cwd=place)
    said = sentence(done)
    assert str(taken) in said
    assert "use" in said
    assert done.returncode == 4


def test_other_verbs_refuse(place: Path, taken: int):
    cases = [
        (("serve", "--config", "broken.toml"), 2, "is not valid TOML"),
        (("serve", "--config", "absent.toml"), 2, "absent.toml cannot be read"),
        (("replay", "text.h5", "--format", "native", "--bind", "tcp://127.0.0.1:0"), 3, "is neither HDF5 nor NPZ"),
        (
            ("replay", SCAN, "--format", "native", "--bind", "tcp://127.0.0.1:0", "--fault", "drip=1"),
            2,
            "'drip=1' is not a valid fault",
        ),
        (
            ("replay", SCAN, "--format", "native", "--bind", "tcp://127.0.0.1:0", "--wait", "0.1"),
            4,
            "no receiver connected",
        ),
        (("watch", "127.0.0.1:5556"), 2, "not a valid endpoint"),
        (("watch", "http:///updates"), 2, "not a valid endpoint"),
        (("watch", "http://127.0.0.1:8080", "--token-file", "missing"), 2, "cannot be read"),
        (("watch", f"tcp://127.0.0.1:{taken}", "--timeout", "0.2"), 4, "no message came from"),
        (("status", "--url", f"http://127.0.0.1:{free_port()}"), 4, "no daemon answers"),
        (("refine", "damaged.h5", "--output", "x.h5"), 3, "is cut short"),
        (("refine", "small.npz", "--output", "x.h5"), 3, "small.npz"),
    ]
    for arguments, code, words in cases:
        done = run_verb(*arguments, cwd=place)
        assert words in sentence(done), arguments
        assert done.returncode == code, arguments


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_check_says_silent_for_an_endpoint_without_a_sender(place: Path):
    setting = f'frames.endpoint="tcp://127.0.0.1:{free_port()}"'
    done = run_verb("check", "--config", "test.toml", "--set", setting, "--wait", "0.2", "--json", cwd=place)
    found = json.loads(done.stdout)
    assert {name: part["result"] for name, part in found.items()} == {
        "probe": "OK",
        "model": "OK",
        "device": "OK",
        "output": "OK",
        "publish": "OK",
        "http": "OK",
        "frames": "SILENT",
    }
    assert done.returncode == 4
