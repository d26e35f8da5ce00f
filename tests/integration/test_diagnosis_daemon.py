"""The diagnosis in a running daemon: named in status, record and log; set right in this scan and the next."""

from __future__ import annotations

import json
import logging
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from daemon.app import Daemon
from daemon.assessment.diagnosis_notes import DiagnosisNote
from daemon.client import Viewer
from daemon.config import load_config
from daemon.files import ScanFile, read_product
from ptychopinn.detector.geometry import object_pixel_size_m
from ptychopinn.physics.initial_probe import ProbeGrid, zone_plate_probe
from ptychopinn.simulate import Recipe, simulate_scan
from tests.support.daemon_tools import PATIENCE_S, follow, on_common_ground, real_scan, running_daemon, send

FLIPPED = 'positions.flips=["x"]'
ON = "diagnosis.enabled=true"
FRAMES = 120


@pytest.fixture(scope="module")
def scan() -> ScanFile:
    return real_scan()


def get(daemon: Any, path: str) -> Any:
    with urllib.request.urlopen(daemon.addresses()["http"] + "/api/v1/" + path) as answer:
        return json.loads(answer.read())


def test_a_fault_is_named_in_status_record_and_log(
    scan: ScanFile, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.WARNING, "daemon.background.diagnosis"),
        running_daemon(tmp_path, ON, 'detector.orientation="transpose"') as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
    ):
        send(daemon, scan, FRAMES)
        for topic, header, _ in viewer.events():  # a status comes twice a second
            if topic == "status" and header["diagnosis"]["looks"]:
                break
        status = get(daemon, "status")
        notes = get(daemon, "scans/star")["notes"]
    (sentence,) = notes
    assert sentence.startswith("patterns look transposed: R falls from 0.")
    assert sentence.endswith('set [detector] orientation = "identity"')
    assert sentence[1:] in status["sentence"]
    assert status["diagnosis"]["finding"] in sentence
    said = [record.getMessage() for record in caplog.records if record.name.startswith("daemon.background.diagnosis")]
    assert said == [f"scan star: {sentence}"]


def test_a_fault_is_set_right_in_this_scan_and_in_the_next(scan: ScanFile, tmp_path: Path) -> None:
    """The pictures are those of the right configuration, to the last bit where the same frames are laid."""
    for name in ("right", "wrong"):
        (tmp_path / name).mkdir()
    with running_daemon(tmp_path / "right") as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        send(daemon, scan, FRAMES)
        _, right = follow(viewer)
    found = []
    with (
        running_daemon(tmp_path / "wrong", ON, FLIPPED, "diagnosis.auto_fix=true") as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
    ):
        for name in ("one", "two"):
            send(daemon, scan, FRAMES, scan_id=name)
            ended, pictures = follow(viewer, name)
            assert ended["verdict"]["stitched"] == FRAMES
            found.append((ended, pictures["network"]))
        notes = [get(daemon, f"scans/{name}")["notes"] for name in ("one", "two")]
    assert "the x positions look negated" in notes[0][0]
    assert DiagnosisNote.CORRECTED.sentence in notes[0][0]
    assert notes[1] == []
    for ended, picture in found:
        np.testing.assert_array_equal(*on_common_ground(right["network"], picture))
        places = read_product(ended["product"]).positions_m
        np.testing.assert_allclose(places, scan.positions_m[:FRAMES], atol=1e-12)


def test_a_wrong_pixel_size_is_set_right_in_the_product(scan: ScanFile, tmp_path: Path) -> None:
    probe = tmp_path / "probe.npz"
    with np.load(Path(__file__).parents[2] / "daemon" / "demo_data" / "siemens-star-probe.npz") as file:
        np.savez(probe, probe=file["probe"])
    settings = (f'optics.probe_file="{probe}"', "optics.detector_distance_m=2.016", ON, "diagnosis.auto_fix=true")
    with running_daemon(tmp_path, *settings) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        send(daemon, scan, FRAMES)
        ended, pictures = follow(viewer)
    true_m = 2.8178e-08
    assert read_product(ended["product"]).pixel_size_m == pytest.approx(true_m, rel=0.02)
    assert pictures["network"].pixel_size_m == pytest.approx(true_m, rel=0.02)
    assert "too close together" in ended["notes"][0]


def test_it_can_be_switched_off(scan: ScanFile, tmp_path: Path) -> None:
    with (
        running_daemon(tmp_path, FLIPPED) as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
    ):
        send(daemon, scan, FRAMES)
        ended, _ = follow(viewer)
        status = get(daemon, "status")
    assert ended["notes"] == []
    assert status["diagnosis"]["state"] == "off"


@pytest.mark.parametrize("is_file", [False, True], ids=["made from optics", "of a file"])
def test_a_rough_probe_is_retrieved_while_the_scan_runs(is_file: bool, tmp_path: Path) -> None:
    """From a zone plate whose focus is not where it is said to be. The real scan: tests/endurance/test_cold_start.py."""
    pixel_size_m = object_pixel_size_m(8800.0, 1.92, 105e-6, 64)
    plate = {"outermost_zone_width_m": 100e-9, "diameter_m": 180e-6, "central_stop_m": 60e-6}
    grid = ProbeGrid(64, pixel_size_m, 8800.0)
    true, told = (torch.from_numpy(zone_plate_probe(grid, **plate, defocus_m=z)) for z in (7e-4, 9e-4))
    made = simulate_scan(
        Recipe(size_px=64, frames=100, counts=1e6, overlap_ratio=0.75, phase_rad=-0.6, seed=4), probe=true
    )
    counts = np.rint(made.amplitude.numpy().clip(0) ** 2).astype(np.uint16)
    scan = ScanFile(name="made", counts=counts, indexes=np.arange(100), positions_m=made.positions_px * pixel_size_m)
    config = tmp_path / "optics.toml"
    np.savez(tmp_path / "guess.npz", probe=told, object_pixel_size_m=pixel_size_m)
    rough = _GUESS.format(file=json.dumps(str(tmp_path / "guess.npz"))) if is_file else _ZONE_PLATE
    config.write_text(_OPTICS.format(rough=rough, directory=json.dumps(str(tmp_path / "out"))))
    daemon = Daemon(load_config(config))
    daemon.start()
    try:
        with Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
            send(daemon, scan, 100, scan_id="made")
            ended, _ = follow(viewer)
    finally:
        daemon.stop()
    assert DiagnosisNote.RETRIEVED.sentence.partition("{")[0] in ended["notes"][0]
    product = read_product(ended["product"])
    likeness = abs(np.vdot(product.probe, true.numpy())) / np.linalg.norm(product.probe) / np.linalg.norm(true)
    assert likeness > 0.98
    assert ended["rfactors"]["network"] < 0.1
    kept = np.load(tmp_path / "out" / "made" / "probe.npz")
    assert kept["object_pixel_size_m"] == pytest.approx(pixel_size_m)
    assert kept["probe"].shape == (1, 64, 64)


_ZONE_PLATE = """
[optics.zone_plate]
outermost_zone_width_m = 100e-9
diameter_m = 180e-6
central_stop_m = 60e-6
defocus_m = 9e-4
"""
_GUESS = """
probe_file = {file}
retrieve_probe = true
"""
_OPTICS = """
[frames]
endpoint = "@tcp://127.0.0.1:0"
[detector]
center_px = [32, 32]
size_px = 64
[optics]
photon_energy_eV = 8800.0
detector_distance_m = 1.92
detector_pixel_size_m = 105e-6
{rough}
[model]
bundle = "none"
[refine]
enabled = false
[publish]
endpoint = "tcp://127.0.0.1:0"
[http]
port = 0
[output]
directory = {directory}
"""
