"""Viewers in Python: loops over pictures of one scan, asyncio, the terminal, and the examples."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from daemon.app import Daemon
from daemon.cli.watch import half_blocks
from daemon.client import AsyncViewer, Viewer
from daemon.files import ScanFile
from daemon.publish.snapshot import LayerCanvas
from tests.support.daemon_tools import PATIENCE_S, adds_up, real_scan, running_daemon, send

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples" / "viewers"
FRAMES = 60


@pytest.fixture(scope="module")
def scan() -> ScanFile:
    return real_scan()


def test_following_one_scan_ends_with_its_verdict(scan: ScanFile, tmp_path: Path):
    with running_daemon(tmp_path) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        send(daemon, scan, FRAMES, scan_id="one")
        send(daemon, scan, FRAMES, scan_id="two")
        events = list(viewer.follow_scan("two"))
        topic, header, _ = events[-1]
        assert (topic, header["state"]) == ("scan", "ended")
        assert adds_up(header["verdict"])
        assert {header["scan_id"] for _, header, _ in events} == {"two"}


def test_snapshots_are_copies_that_grow(scan: ScanFile, tmp_path: Path):
    with running_daemon(tmp_path) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        send(daemon, scan, FRAMES, rate_hz=200)
        kept: list[LayerCanvas] = []
        for canvas in viewer.snapshots("network"):
            kept.append(canvas)
            if canvas.complete:
                break
        final = daemon.hub.canvas("star", "network")
    assert kept[0].frames_stitched < kept[-1].frames_stitched == FRAMES
    assert not np.shares_memory(kept[-1].object, kept[-2].object)
    np.testing.assert_array_equal(kept[-1].object, final.object)


def test_asyncio_sees_the_same(scan: ScanFile, tmp_path: Path):
    async def last_picture(daemon: Daemon) -> LayerCanvas:
        async with AsyncViewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
            await asyncio.to_thread(send, daemon, scan, FRAMES)
            async for canvas in viewer.snapshots("network"):
                if canvas.complete:
                    return canvas
        raise AssertionError("the viewer ended")

    with running_daemon(tmp_path) as daemon:
        seen = asyncio.run(last_picture(daemon))
        np.testing.assert_array_equal(seen.object, daemon.hub.canvas("star", "network").object)


def test_asyncio_says_when_nobody_speaks():
    async def listen() -> None:
        async with AsyncViewer("tcp://127.0.0.1:9", 0.3) as viewer:
            async for _ in viewer.events():
                pass

    with pytest.raises(TimeoutError, match="no message came from tcp://127.0.0.1:9"):
        asyncio.run(listen())


def test_the_picture_in_the_terminal(scan: ScanFile, tmp_path: Path):
    with running_daemon(tmp_path) as daemon:
        command = [sys.executable, "-m", "daemon.cli", "watch", daemon.addresses()["http"], "--once"]
        command += ["--picture", "phase", "--timeout", str(PATIENCE_S)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as watch:
            with Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
                next(header for _, header, _ in viewer.events() if header.get("subscribers", 0) >= 2)
            send(daemon, scan, FRAMES)
            text, _ = watch.communicate(timeout=PATIENCE_S)
    assert watch.returncode == 0
    assert "▀" in text
    assert f"{FRAMES} received = {FRAMES} stitched" in text


def test_half_blocks_are_two_pixels_a_character():
    red, blue, none = [255, 0, 0, 255], [0, 0, 255, 255], [0, 0, 0, 0]
    picture = np.array([[red, none], [blue, blue]], dtype=np.uint8)
    text = half_blocks(picture, 2, 1)
    assert text == "\x1b[38;2;255;0;0;48;2;0;0;255m▀\x1b[38;2;0;0;255;49m▄\x1b[0m"
    assert half_blocks(picture[:0], 2, 1) == ""
    assert len(half_blocks(np.zeros((400, 100, 4), np.uint8), 80, 20).splitlines()) == 20


def test_the_notebook_runs_beside_a_daemon(scan: ScanFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    script = (
        "import sys, nbformat; from nbclient import NotebookClient; "
        "book = nbformat.read(sys.argv[1], 4); "
        "NotebookClient(book, timeout=100, kernel_name='python3').execute(); "
        "nbformat.write(book, sys.argv[2])"
    )
    pytest.importorskip("nbclient", reason="the notebook's test needs nbclient")
    with running_daemon(tmp_path) as daemon:
        monkeypatch.setenv("PTYCHOLIVE_UPDATES", daemon.addresses()["updates"])
        command = [sys.executable, "-c", script, str(EXAMPLES / "live.ipynb"), str(tmp_path / "done.ipynb")]
        with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as run:
            with Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
                next(header for _, header, _ in viewer.events() if header.get("subscribers", 0) >= 2)
            send(daemon, scan, FRAMES)
            _, complaints = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 0, complaints
    cells = json.loads((tmp_path / "done.ipynb").read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    drawn = [output["data"]["text/html"] for output in outputs if "text/html" in output.get("data", {})]
    assert f"{FRAMES} frames" in "".join(drawn[-1])
    assert any(f"{FRAMES} received, {FRAMES} stitched" in "".join(output.get("text", "")) for output in outputs)
