"""The command line as a user runs it: the demo, an orderly end, a real browser."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from daemon.client import Viewer
from daemon.files import read_product
from tests.support.daemon_process import serving
from tests.support.daemon_tools import (
    PATIENCE_S,
    SCAN,
    follow,
    real_scan,
    send_unfinished,
    wait_for_frames,
)

pytestmark = pytest.mark.system
ARTEFACTS = Path(__file__).parents[2] / "artefacts"
DEMO = [sys.executable, "-m", "daemon.cli", "demo", "--port", "0"]


def rfactor(product: Path) -> tuple[float, list[int]]:
    """Return R and the frame indexes of a product, by nothing but HDF5, NumPy and the contract."""
    with h5py.File(product) as file, h5py.File(SCAN) as raw:
        obj, probe = file["object"][0].astype(np.complex128), file["probe"][0].astype(np.complex128)
        about, pixel_m = file["object"].attrs, file["object"].attrs["pixel_width_m"]
        x = (file["probe_position_x_m"][()] - about["center_x_m"]) / pixel_m + (obj.shape[1] - 1) / 2
        y = (file["probe_position_y_m"][()] - about["center_y_m"]) / pixel_m + (obj.shape[0] - 1) / 2
        indexes = file["probe_position_indexes"][()]
        counts = raw["entry_1/data_1/data"][()].astype(np.float64)
    n = probe.shape[-1]
    above = below = 0.0
    for index, row, column in zip(
        indexes, np.rint(y).astype(int) - n // 2, np.rint(x).astype(int) - n // 2, strict=True
    ):
        far = np.fft.fftshift(np.fft.fft2(probe * obj[row : row + n, column : column + n], norm="ortho"), axes=(-2, -1))
        measured = np.sqrt(counts[index])
        above += np.abs(np.sqrt((np.abs(far) ** 2).sum(axis=0)) - measured).sum()
        below += measured.sum()
    return above / below, indexes.tolist()


def test_demo_stitches_every_frame_and_its_product_has_the_r_factor_it_says(tmp_path: Path):
    command = [*DEMO, "--headless", "--rate", "100", "--no-finetune", "--output", str(tmp_path / "x.h5")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=True)
    said = json.loads(done.stdout)
    assert said["frames_sent"] == said["frames_stitched"] == 516
    assert said["first_image_s"] > 0
    assert said["finished_s"] > 0
    value, indexes = rfactor(tmp_path / "x.h5")
    assert indexes == list(range(516))
    assert value <= 0.158
    assert value == pytest.approx(said["rfactor"], abs=2e-4)
    assert said["rfactor_network"] <= 0.19


def test_the_demo_for_people_keeps_its_page_until_it_is_ended_and_leaves_nothing_behind(tmp_path: Path):
    command = [*DEMO, "--rate", "300", "--no-refine", "--no-finetune", "--output", str(tmp_path / "x.h5")]
    less = {**os.environ, "PTYCHOLIVE_DIAGNOSIS__ENABLED": "false"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=less) as demo:
        address = demo.stderr.readline().split()[-1]
        assert "516 of 516 frames stitched" in demo.stderr.readline()
        value, indexes = rfactor(tmp_path / "x.h5")
        assert indexes == list(range(516))
        assert value <= 0.19
        with urllib.request.urlopen(address) as page:
            assert b"<canvas" in page.read()
        demo.terminate()
        assert demo.wait(PATIENCE_S) == 143
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address)


def replayed(addresses: dict[str, Any], *options: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "daemon.cli", "replay", str(SCAN), "--format", "native", "--json"]
    command += ["--bind", ">" + addresses["streams"]["frames"], *options]
    return json.loads(subprocess.run(command, capture_output=True, text=True, timeout=110, check=True).stdout)


def test_words_on_the_command_line_and_sigterm_in_the_middle_of_a_scan(tmp_path: Path):
    with serving(tmp_path) as (process, addresses), Viewer(addresses["updates"], PATIENCE_S) as viewer:
        assert replayed(addresses, "--scan-id", "star")["sent"] == 516
        follow(viewer)

        def said(*arguments: str) -> str:
            command = [sys.executable, "-m", "daemon.cli", *arguments]
            return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

        assert said("status", "--url", addresses["http"]).startswith("Waiting for a scan.")
        assert "516 received = 516 stitched" in said("scans", "--url", addresses["http"])
        (listed,) = json.loads(said("scans", "--url", addresses["http"], "--json"))
        assert listed["state"] == "complete"
        send_unfinished(addresses["streams"]["frames"], real_scan(), 40, 516, "cut")
        wait_for_frames(viewer, 40, "cut")
        process.send_signal(signal.SIGTERM)
        ended, _ = follow(viewer, "cut")
        assert process.wait(PATIENCE_S) == 0
    assert ended["result"] == "stopped"
    assert read_product(tmp_path / "out" / "cut" / "product.h5").indexes.tolist() == list(range(40))
    record = json.loads((tmp_path / "out" / "cut" / "scan.json").read_text())
    assert record["verdict"]["stitched"] == 40
    assert record["verdict"]["missing"] == 476


@pytest.mark.browser
def test_the_page_shows_what_the_daemon_has(tmp_path: Path):
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Debian's package chromium")
    ARTEFACTS.mkdir(exist_ok=True)
    with (
        serving(tmp_path, "refine.enabled=true", "refine.improve_s=0") as (_, addresses),
        sync_api.sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(addresses["http"])
        with Viewer(addresses["updates"], PATIENCE_S) as viewer:
            replayed(addresses, "--rate", "300", "--scan-id", "star")
            _, pictures = follow(viewer)
        refined = pictures["refined"]
        page.wait_for_function(
            "() => ptycholive.session.pictures.refined?.header?.complete === true", timeout=PATIENCE_S * 1000
        )
        y, x = (side // 2 for side in refined.shape)
        script = "([y, x]) => ptycholive.session.pictures.refined.valueAt(y, x)"
        for dy, dx in ((0, 0), (-60, 31), (77, -44)):
            place = [y + dy + refined.origin_px[0], x + dx + refined.origin_px[1]]
            shown = page.evaluate(script, place)
            truth = refined.object[y + dy, x + dx]
            assert (shown["re"], shown["im"]) == pytest.approx((truth.real, truth.imag), rel=1e-6)
        assert "516 received = 516 stitched" in page.inner_text("body")
        page.evaluate("() => ptycholive.stage.settled()")
        page.screenshot(path=ARTEFACTS / "page.png")
        browser.close()
        assert faults == []
