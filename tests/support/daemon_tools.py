"""A real daemon in this process, real senders, and a viewer that follows one scan."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from daemon.app import Daemon
from daemon.client import Viewer
from daemon.config import load_config
from daemon.engine.models import Models
from daemon.files import ScanFile, read_scan
from daemon.files.cxi import write_cxi
from daemon.publish.snapshot import LayerCanvas
from ptychopinn.model.bundle import Bundle, write_bundle
from ptychopinn.model.network import CorrectionNet
from streams.codecs import CODECS
from streams.frame import PositionM, ScanStart
from streams.replay.sender import Faults, Summary, replay
from streams.sockets.transport import Sender

DATA = Path(__file__).parents[2] / "daemon" / "demo_data"
SCAN, PROBE = DATA / "siemens-star.cxi", DATA / "siemens-star-probe.npz"
PATIENCE_S = 100.0

CONFIG = """
[frames]
endpoint = "@tcp://127.0.0.1:0"
format = "native"
[detector]
center_px = [64, 64]
[positions]
source = "frame"
[optics]
photon_energy_eV = 8800.0
detector_distance_m = 1.92
detector_pixel_size_m = 75e-6
probe_file = {probe}
[model]
bundle = "none"
[refine]
enabled = false
[diagnosis]
enabled = false
[publish]
endpoint = "tcp://127.0.0.1:0"
period_s = 0.02
[http]
port = 0
[output]
directory = {directory}
"""


def write_config(folder: Path) -> Path:
    """Write a configuration whose sockets all take free ports; what takes seconds of each scan is off."""
    path = folder / "test.toml"
    path.write_text(CONFIG.format(probe=json.dumps(str(PROBE)), directory=json.dumps(str(folder / "out"))))
    return path


@contextmanager
def running_daemon(
    folder: Path, *settings: str, wrap_models: Callable[[Models], Models] = lambda models: models, **replaced: Any
) -> Iterator[Daemon]:
    """Yield a daemon that is ready; ``replaced`` are its clock and disk."""
    daemon = Daemon(load_config(write_config(folder), settings), wrap_models, **replaced)
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.stop()


def write_untrained_bundle(path: Path) -> Path:
    """Write a bundle whose network corrects nothing yet: its looks are projections from the stitched neighbours."""
    torch.manual_seed(0)
    options = {"widths": [8, 16], "depths": [1, 1]}
    write_bundle(path, Bundle(path.stem, "lift-correction", options, CorrectionNet(**options).state_dict()))
    return path


def real_scan() -> ScanFile:
    """Return the shipped scan."""
    return read_scan(SCAN)


def write_short_scan(path: Path, frames: int) -> Path:
    """Write a CXI file with the first frames of the shipped scan."""
    scan = real_scan()
    first = {name: getattr(scan, name)[:frames] for name in ("counts", "indexes", "positions_m")}
    write_cxi(path, replace(scan, **first))
    return path


def send(
    daemon: Daemon,
    scan: ScanFile,
    frames: int = 516,
    *,
    fault: str = "",
    scan_id: str = "star",
    rate_hz: float | None = None,
    stream_format: str = "native",
    **options: Any,
) -> Summary:
    """Send frames of a scan to a daemon; positions go to its position stream if it has one."""
    streams = daemon.addresses()["streams"]
    codec = CODECS[stream_format]()
    arguments = {"scan_id": scan_id, "rate_hz": rate_hz, "faults": Faults.parse(fault), **options}
    with Sender(">" + streams["frames"]) as sender:
        if "positions" not in streams:
            return replay(scan.counts[:frames], scan.positions_m[:frames], codec, sender, **arguments)
        with Sender(">" + streams["positions"]) as positions:
            arguments["position_sender"] = positions
            return replay(scan.counts[:frames], scan.positions_m[:frames], codec, sender, **arguments)


def send_unfinished(endpoint: str, scan: ScanFile, frames: int, expected: int, scan_id: str) -> None:
    """Send a start and some frames, and no end."""
    codec = CODECS["native"]()
    with Sender(">" + endpoint) as sender:
        sender.send(codec.encode_start(ScanStart(scan_id, expected), scan.counts.shape[1:], scan.counts.dtype))
        for i in range(frames):
            sender.send(codec.encode_frame(scan_id, i, scan.counts[i], PositionM(*scan.positions_m[i])))


def wait_for_frames(viewer: Viewer, frames: int, scan_id: str | None = None) -> LayerCanvas:
    """Return the first picture that holds so many frames, of a scan if one is named."""
    for _, header, canvas in viewer.events():
        if canvas is None or scan_id not in (None, header["scan_id"]):
            continue
        if header["frames_stitched"] >= frames:
            return canvas
    raise AssertionError("the viewer ended")


def follow(viewer: Viewer, scan_id: str | None = None) -> tuple[dict[str, Any], dict[str, LayerCanvas]]:
    """Return the header of the scan's end and its final pictures by layer."""
    for topic, header, _ in viewer.events():
        if topic == "scan" and header["state"] == "ended" and scan_id in (None, header["scan_id"]):
            ended = header
            break
    pictures = {layer: canvas for (name, layer), canvas in viewer.states.items() if name == ended["scan_id"]}
    return ended, pictures


def adds_up(verdict: dict[str, Any]) -> bool:
    """Whether an account of frames is whole."""
    others = verdict["duplicate"] + sum(verdict["refused"].values()) + verdict["without_position"] + verdict["pending"]
    return verdict["received"] == verdict["stitched"] + others


def on_common_ground(a: LayerCanvas, b: LayerCanvas) -> tuple[np.ndarray, np.ndarray]:
    """Return both objects on one canvas that holds both."""
    origin = np.minimum(a.origin_px, b.origin_px)
    end = np.maximum(np.add(a.origin_px, a.shape), np.add(b.origin_px, b.shape))
    out = []
    for canvas in (a, b):
        whole = np.zeros(tuple(end - origin), dtype=np.complex64)
        y, x = np.subtract(canvas.origin_px, origin)
        whole[y : y + canvas.shape[0], x : x + canvas.shape[1]] = canvas.object
        out.append(whole)
    return out[0], out[1]
