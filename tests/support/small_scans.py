"""A simulated scan of 64 px for a daemon, a quarter of the work of the shipped one, and a network that learns on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from daemon.files import ScanFile
from ptychopinn.detector.geometry import object_pixel_size_m
from ptychopinn.model.bundle import Bundle, write_bundle
from ptychopinn.model.network import CorrectionNet
from ptychopinn.simulate import Recipe, simulate_scan

PIXEL_M = object_pixel_size_m(8800.0, 1.92, 75e-6, 64)


def small_scan(folder: Path, frames: int = 160) -> tuple[ScanFile, tuple[str, ...]]:
    """Return a scan, and the settings for it; its probe lies in the folder."""
    made = simulate_scan(Recipe(size_px=64, frames=frames, counts=1e5, phase_rad=1.0, probe_error=0.0, seed=4))
    np.savez(folder / "probe.npz", probe=made.probe.numpy())
    counts = np.rint(made.amplitude.numpy().clip(0) ** 2).astype(np.uint32)
    positions_m = made.positions_px * PIXEL_M
    scan = ScanFile(name="small", counts=counts, indexes=np.arange(frames), positions_m=positions_m)
    size = ("detector.size_px=64", "detector.center_px=[32, 32]")
    return scan, (f'optics.probe_file="{folder / "probe.npz"}"', *size)


def write_spoilt_bundle(path: Path) -> Path:
    """Write a bundle whose decoder has something to learn: fine-tuning promotes its first candidates."""
    torch.manual_seed(0)
    options = {"widths": [8, 16], "depths": [1, 1]}
    network = CorrectionNet(**options)
    with torch.no_grad():
        network.head.weight.add_(0.3 * torch.randn_like(network.head.weight))
    write_bundle(path, Bundle(path.stem, "lift-correction", options, network.state_dict()))
    return path
