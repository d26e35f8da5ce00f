"""The engines of ``bench real``: each gets a scan and a time, and returns pictures made on the way."""

from __future__ import annotations

import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from daemon.background.external.side_process import SideProcess
from daemon.cli.bench.real_runs import EngineRun
from daemon.cli.bench.real_scans import RealCase
from daemon.cli.processes import first_line, free_port, verb_process
from daemon.client import Viewer
from daemon.files import read_product
from ptychopinn.contract.training_export import TrainingScan, write_training_file
from ptychopinn.diagnosis.comparison import PlacedPicture, known_pixels
from ptychopinn.model.bundle import find_bundle, load_model
from ptychopinn.model.lift import Lift
from ptychopinn.positions.find import find_positions
from ptychopinn.refine.refined_layer import Refiner
from ptychopinn.workflow.inference import reconstruct

SIDE = Path(__file__).parents[2] / "background" / "external" / "ptychi_timed_side.py"
START_S = 600.0
"""Time for pty-chi to load and to build its task, beside the time that is measured."""
FIRST_S, RATIO = 1.0, 1.6
"""Time of the first picture that is kept, and ratio of the times of two."""
SCAN_SHARE = 0.5
"""Share of the time in which the frames of the live run arrive."""
ASSUMED_PIXEL_M = 1e-8
"""Object pixel of the live run where the file states none; only lengths in m depend on it."""
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.monotonic, "cpu": time.process_time}
SILENCE_S = 180.0
"""The live run fails after this time without an update."""
LIVE_CONFIG = """\
frames = {{endpoint = "{frames}", format = "native"}}
detector = {{size_px = {side}}}
optics = {{object_pixel_size_m = {pixel}, probe_file = {probe}}}
finetune = {{enabled = false}}
refine = {{finish_s = {finish}, improve_s = 0.0}}
publish = {{endpoint = "tcp://127.0.0.1:0"}}
http = {{port = 0}}
output = {{directory = {folder}}}
"""


@dataclass(frozen=True, slots=True)
class Budget:
    """Time of a run, s, by the wall's clock or by CPU time; threads of its libraries."""

    seconds: float
    clock: Literal["wall", "cpu"]
    threads: int


def by_ptychi(case: RealCase, budget: Budget, python: Path, method: str) -> EngineRun:
    """Run a method of pty-chi in its environment."""
    side = SideProcess([str(python), str(SIDE)], "pty-chi", START_S + 20 * budget.seconds)
    arrays = {
        "amplitude": case.amplitude.numpy(),
        "positions_px": case.positions_px,
        "probe": case.probe.numpy(),
    }
    found = side.run(arrays, method=method, **asdict(budget), correct_positions=case.finds_positions)
    y, x = (float(value) for value in found["origin_px"])
    pictures = [
        (float(at), PlacedPicture(picture, known_pixels(picture), (y, x)))
        for at, picture in zip(found["seconds"], found["objects"], strict=True)
    ]
    positions_px = found["positions_px"].astype(np.float64)
    return EngineRun(pictures, positions_px, float(found["rfactor"]), cpu_s=float(found["cpu_s"]))


def offline(case: RealCase, budget: Budget) -> EngineRun:
    """Find positions if they are wrong, predict, refine: as ``predict --correct-positions --sweeps`` does."""
    torch.set_num_threads(budget.threads)
    cpu_begun, now = time.process_time(), CLOCKS[budget.clock]
    begun, positions_px = now(), case.positions_px
    if case.finds_positions:
        positions_px = find_positions(case.amplitude, positions_px, case.probe).positions_px
    bundle = find_bundle("shipped")
    model = Lift(case.probe) if bundle is None else load_model(bundle, case.probe)[0]
    mosaic = reconstruct(model, case.probe, case.amplitude, positions_px).mosaic
    refiner = Refiner(case.probe, mosaic.picture, update_probe=True, is_subpixel=True)
    for index, (y, x) in enumerate(positions_px.tolist()):
        refiner.add(index, case.amplitude[index], (y, x))
    run = EngineRun(positions_px=positions_px)
    _refine_for(refiner, run, lambda: now() - begun, budget.seconds)
    run.rfactor, run.cpu_s = refiner.rfactor, time.process_time() - cpu_begun
    return run


def _refine_for(refiner: Refiner, run: EngineRun, spent: Callable[[], float], seconds: float) -> None:
    next_s = FIRST_S
    while True:
        has_worked = refiner.step() > 0
        spent_s = spent()
        is_over = spent_s >= seconds or not has_worked
        if spent_s >= next_s or is_over:
            value, coverage = (plane.numpy() for plane in refiner.read())
            run.pictures.append((spent_s, PlacedPicture(value, known_pixels(value, coverage), refiner.origin_px)))
            next_s = max(spent_s, next_s) * RATIO
        if is_over:
            return


def live(case: RealCase, budget: Budget) -> EngineRun:
    """Stream the scan to a daemon; the frames arrive in half of the time, the rest is for the refined layer.

    The times of its pictures are those of the budget's clock; frames come, and the scan ends, by the wall's clock.
    """
    cpu_begun = _children_cpu_s()
    with tempfile.TemporaryDirectory(prefix="ptycholive-bench-") as name:
        folder, pixel_m = Path(name), case.pixel_size_m or ASSUMED_PIXEL_M
        _write_scan(folder, case, pixel_m)
        frames = f"tcp://127.0.0.1:{free_port()}"
        settings = LIVE_CONFIG.format(
            frames=frames,
            side=case.probe.shape[-1],
            pixel=pixel_m,
            probe=json.dumps(str(folder / "probe.npz")),
            finish=(1 - SCAN_SHARE) * budget.seconds,
            folder=json.dumps(str(folder / "out")),
        )
        (folder / "live.toml").write_text(settings)
        rate = len(case.amplitude) / (SCAN_SHARE * budget.seconds)
        command = [str(folder / "scan.npz"), "--bind", frames, "--format", "native", "--scan-id", "scan"]
        with (
            verb_process("serve", "--config", str(folder / "live.toml"), "--json", log=folder / "daemon.log") as daemon,
            Viewer(json.loads(first_line(daemon, folder / "daemon.log"))["updates"], SILENCE_S) as viewer,
            verb_process("replay", *command, "--rate", f"{rate:g}", log=folder / "sender.log"),
        ):
            now = time.monotonic if budget.clock == "wall" else partial(_cpu_s_of, daemon.pid)
            run = _watched(viewer, pixel_m, now)
    run.cpu_s = _children_cpu_s() - cpu_begun
    return run


def _children_cpu_s() -> float:
    """Return the CPU time of all processes that were started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _cpu_s_of(pid: int) -> float:
    """Return the CPU time of a running process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _write_scan(folder: Path, case: RealCase, pixel_m: float) -> None:
    probe = case.probe.numpy()
    counts = np.square(case.amplitude.clamp_min(0).numpy()).round().astype(np.uint16)
    scan = TrainingScan(counts, case.positions_px, probe, extras={"object_pixel_size_m": pixel_m})
    write_training_file(folder / "scan.npz", scan, "diff3d")
    np.savez(folder / "probe.npz", probe=probe, object_pixel_size_m=pixel_m)


def _watched(viewer: Viewer, pixel_m: float, now: Callable[[], float]) -> EngineRun:
    """Return the pictures of the refined layer as they come, and the product's at the end."""
    run, begun, next_s = EngineRun(), now(), FIRST_S
    for event in viewer.follow_scan("scan"):
        spent_s = now() - begun
        if event.topic == "scan" and event.header["state"] == "ended" and event.header["product"] is not None:
            _take_product(run, spent_s, Path(event.header["product"]), pixel_m)
        elif event.picture is not None and event.header["layer"] == "refined" and spent_s >= next_s:
            picture = event.picture.object.copy()
            y, x = event.header["origin_px"]
            run.pictures.append((spent_s, PlacedPicture(picture, known_pixels(picture), (float(y), float(x)))))
            next_s = max(spent_s, next_s) * RATIO
    return run


def _take_product(run: EngineRun, spent_s: float, path: Path, pixel_m: float) -> None:
    product = read_product(path)
    run.pictures.append(
        (spent_s, PlacedPicture(product.object, known_pixels(product.object), product.object_origin_px))
    )
    run.positions_px = product.positions_m / pixel_m
    if product.live is not None:
        run.rfactor = product.live.rfactors.get("refined")
        run.frc_px = None if product.live.frc_nm is None else product.live.frc_nm * 1e-9 / pixel_m
