"""``init``: hears streams of several formats over both kinds of socket, asks in a terminal, writes what the daemon reads."""

from __future__ import annotations

import os
import pty
import sys
import threading
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from daemon.attach.quantities import quantities, quantity
from daemon.cli.main import app
from daemon.config import load_config
from daemon.errors import DaemonError
from ptychopinn.detector.geometry import orient
from streams.errors import EndpointError
from streams.frame import StreamGeometry
from streams.sockets.transport import Sender
from tests.support.daemon_tools import PROBE, real_scan
from tests.support.detectors import detector

OPTICS = ["--energy", "8.8", "--distance", "1.92 m", "--pixel", "75", "--probe", str(PROBE)]


def init(*words: str | Path, answers: str | None = None) -> Any:
    """Run the verb; without answers it asks nothing."""
    asking = ["--yes"] if answers is None else []
    return CliRunner().invoke(app, ["init", *map(str, words), *asking, "--wait", "60"], input=answers)


@pytest.mark.parametrize(
    ("stream_format", "socket", "orientation"),
    [("dectris-v2", "push", "rot90_cw"), ("array-1.0", "pub", "identity"), ("native", "push", "transpose")],
)
def test_everything_is_found(tmp_path: Path, stream_format: str, socket: str, orientation: str) -> None:
    upright = np.pad(real_scan().counts[:70].astype(np.uint16), ((0, 0), (6, 20), (30, 2)))
    inverse = {"rot90_cw": "rot90_ccw"}.get(orientation, orientation)
    counts = np.ascontiguousarray(orient(upright, inverse))
    path = tmp_path / "found.toml"
    with detector(counts, stream_format, socket) as endpoint:
        done = init(
            path, "--endpoint", endpoint, *OPTICS, "--positions", "raster", "--shape", "4x5", "--step", "0.5,0.4"
        )
    assert done.exit_code == 0, done.output
    tree = tomllib.loads(path.read_text(encoding="utf-8"))
    assert tree["frames"] == {
        "endpoint": endpoint,
        "format": stream_format,
        "socket": socket.replace("push", "pull").replace("pub", "sub"),
    }
    assert tree["detector"]["orientation"] == orientation
    np.testing.assert_allclose(tree["detector"]["center_px"], [70, 94], atol=2)
    assert tree["positions"] == {"source": "raster", "shape": [4, 5], "step_m": [5e-7, 4e-7]}
    assert load_config(path).optics.photon_energy_eV == 8800


def test_a_header_that_says_otherwise_is_a_note(tmp_path: Path) -> None:
    path, other = tmp_path / "x.toml", StreamGeometry(photon_energy_eV=12650.0)
    with detector(real_scan().counts[:70], "dectris-v2", geometry=other) as endpoint:
        done = init(path, "--endpoint", endpoint, *OPTICS, "--positions", "native", "--positions-endpoint", "ipc:///p")
    assert done.exit_code == 0, done.output
    assert "the stream says photon_energy_eV 12650 eV" in done.output
    assert load_config(path).optics.photon_energy_eV == 8800


def test_the_header_answers_what_it_knows(tmp_path: Path) -> None:
    known = StreamGeometry(photon_energy_eV=8800.0, detector_distance_m=1.92, detector_pixel_size_m=(75e-6, 75e-6))
    path = tmp_path / "header.toml"
    with detector(real_scan().counts[:70], "dectris-v2", geometry=known) as endpoint:
        done = init(
            path,
            "--endpoint",
            endpoint,
            "--probe",
            PROBE,
            "--positions",
            "native",
            "--positions-endpoint",
            "tcp://127.0.0.1:1",
        )
    assert done.exit_code == 0, done.output
    optics = load_config(path).optics
    assert (optics.photon_energy_eV, optics.detector_distance_m, optics.detector_pixel_size_m) == (8800, 1.92, 75e-6)


def test_a_terminal_shows_the_pattern_and_takes_the_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, shown = tmp_path / "asked.toml", bytearray()
    answers = {
        b"Photon energy": "nine\n8.8\n",
        b"Distance": "1920\n",
        b"Side of a detector pixel": "75 um\n",
        b"probe comes from": "file\n",
        b"File with the probe": f"{PROBE}\n",
        b"positions come from": "raster\n",
        b"Rows and columns": "40x60\n",
        b"Steps": "0.5\n",
        b"Orientation": "\n",
        b"Beam centre": "\n",
    }
    upper, lower = pty.openpty()

    def person() -> None:
        waiting = dict(answers)
        while part := os.read(upper, 65536):
            shown.extend(part)
            for question in [known for known in waiting if known in shown]:
                os.write(upper, waiting.pop(question).encode())
            if b"Now run" in shown:
                return

    thread = threading.Thread(target=person)
    thread.start()
    terminal = {"closefd": False, "encoding": "utf-8", "buffering": 1}
    with os.fdopen(lower, "r", **terminal) as typed, os.fdopen(lower, "w", **terminal) as screen:
        monkeypatch.setattr(sys, "stdin", typed)
        monkeypatch.setattr(sys, "stderr", screen)
        with detector(real_scan().counts[:70], "dectris-v2") as endpoint:
            app(["init", str(path), "--endpoint", endpoint, "--wait", "60"], standalone_mode=False)
        thread.join()
    os.close(lower)
    os.close(upper)
    text = shown.decode(errors="replace")
    assert "▀" in text
    assert "'nine' is not a number with a unit" in text
    config = load_config(path)
    assert config.positions.step_m == (5e-7, 5e-7)
    assert config.detector.center_px == (64, 64)


def test_a_missing_answer_names_its_option(tmp_path: Path) -> None:
    with detector(real_scan().counts[:70], "native") as endpoint:
        done = init(tmp_path / "x.toml", "--endpoint", endpoint, "--energy", "8.8", answers="1920\n")
    assert done.exit_code
    assert "--pixel" in str(done.exception)
    assert not (tmp_path / "x.toml").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--energy", "8.8 mm"], "--energy: 'mm' is not a unit"),
        (["--positions", "raster"], "--shape is missing"),
        (["--probe", "/nowhere.h5"], "--probe: /nowhere.h5 does not exist"),
        (["--orientation", "upwards"], "--orientation upwards"),
        (["--distance", "3 m"], "correct [optics]"),
        (["--size", "256"], "size_px is 256"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_nothing_is_written(tmp_path: Path, words: list[str], sentence: str) -> None:
    usual = {"--energy": "8.8", "--distance": "1920", "--pixel": "75", "--probe": str(PROBE), "--positions": "frame"}
    given = {**usual, words[0]: words[1]}
    flat = [word for pair in given.items() for word in pair]
    with detector(real_scan().counts[:70], "native") as endpoint:
        done = init(tmp_path / "x.toml", "--endpoint", endpoint, *flat)
    assert sentence in str(done.exception)
    assert list(tmp_path.glob("*.toml")) == []


def test_silence_and_an_existing_file(tmp_path: Path) -> None:
    with Sender("tcp://127.0.0.1:0") as silent:
        done = CliRunner().invoke(
            app, ["init", str(tmp_path / "x.toml"), "--yes", "--endpoint", silent.bound_endpoint, "--wait", "0.2"]
        )
    assert isinstance(done.exception, EndpointError)
    assert "no message within 0.2 s" in str(done.exception)
    (tmp_path / "x.toml").touch()
    assert isinstance(init(tmp_path / "x.toml", "--endpoint", "tcp://127.0.0.1:1").exception, DaemonError)


def test_quantities() -> None:
    assert quantity("8800 eV", "keV") == quantity("8.8", "keV") == 8800
    assert quantity("75µm", "mm") == quantity("0.075", "mm") == 75e-6
    assert quantities("60, 160", ("nm", "um", "um"), 2) == (60e-9, 160e-6, 0.0)
    for text in ("", "1.2.3", "5 furlongs", "1e999", "nan"):
        with pytest.raises(ValueError, match=r"."):
            quantity(text, "mm")
