"""``bench resolution``: Fourier ring correlation of the demo's picture, for Ptycholive and pty-chi.

The frames are divided at random (with a fixed seed) into two halves. Each half is reconstructed separately, from the
shipped model and probe; each engine refines the probe itself.
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from daemon.background.external.finished import SIDE, TIMEOUT_S
from daemon.background.external.side_process import SideProcess
from daemon.cli.demo import PROBE, SCAN
from daemon.cli.progress import progress
from daemon.cli.scan_input import positions_of
from daemon.errors import ConfigError
from daemon.files import read_probe, read_scan
from ptychopinn.atomic import atomic_path
from ptychopinn.detector.geometry import to_amplitude
from ptychopinn.diagnosis.resolution import SEVENTH, RingCorrelation, ring_correlation
from ptychopinn.errors import ConfigurationError
from ptychopinn.model.bundle import find_bundle, load_model
from ptychopinn.refine.refined_layer import Refiner
from ptychopinn.workflow.inference import reconstruct

SEED = 0
PASSES, LOOKS = 30, 2
"""Passes of the refiner after two looks: the refined layer has converged."""
EPOCHS = 100
"""Epochs of pty-chi, as [refine] engine_epochs."""


@dataclass(frozen=True, slots=True, eq=False)
class _Half:
    """Half of the frames: amplitudes ``(n, N, N)``, positions (pixels)."""

    amplitude: torch.Tensor
    positions_px: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class _Picture:
    """A picture ``(H, W)``, its origin, its R-factor."""

    object: NDArray[np.complex64]
    origin_px: tuple[int, int]
    rfactor: float


def run_resolution(engine_python: Path | None, plot: Path | None, as_json: bool) -> None:
    """Measure, print, and plot the curves on request."""
    torch.set_num_threads(1)
    probe = torch.from_numpy(read_probe(PROBE).probe)
    halves, pixel_size_m = _halves()
    engines: dict[str, Callable[[_Half], _Picture]] = {"ours": lambda half: _refined(half, probe)}
    if engine_python is not None:
        side = SideProcess([str(engine_python), str(SIDE)], "pty-chi", TIMEOUT_S)
        engines["pty-chi"] = lambda half: _by_ptychi(half, probe, side)
    curves: dict[str, RingCorrelation] = {}
    found: dict[str, dict[str, Any]] = {}
    with progress(2 * len(engines), "reconstructing", "halves") as bar:
        for name, engine in engines.items():
            begun, pictures = time.monotonic(), []
            for half in halves:
                pictures.append(engine(half))
                bar.update()
            seconds = time.monotonic() - begun
            curves[name] = ring_correlation(*_on_one_canvas(pictures, halves, probe))
            found[name] = _figures(curves[name], pictures, pixel_size_m) | {"seconds": seconds}
    if plot is not None:
        _save_plot(plot, curves, pixel_size_m)
    if as_json:
        typer.echo(json.dumps(found))
        return
    for name, about in found.items():
        typer.echo(
            f"{name}: resolution {about['half_bit_nm']:.1f} nm (half-bit), {about['seventh_nm']:.1f} nm (1/7); R of the "
            f"halves {', '.join(f'{r:.4f}' for r in about['rfactors'])}; {about['seconds']:.0f} s"
        )


def _halves() -> tuple[list[_Half], float]:
    """Return the demo's frames in two halves, and the size of the object pixel, m."""
    scan = read_scan(SCAN)
    amplitude = torch.from_numpy(to_amplitude(scan.counts, scan.mask, None))
    positions_px, pixel_size_m = positions_of(scan, SCAN, None)
    order = np.random.default_rng(SEED).permutation(len(amplitude))
    parts = [np.sort(part) for part in np.array_split(order, 2)]
    return [_Half(amplitude[part.tolist()], positions_px[part]) for part in parts], pixel_size_m


def _refined(half: _Half, probe: torch.Tensor) -> _Picture:
    """Reconstruct as the daemon does: the shipped network, then the refined layer."""
    path = find_bundle("shipped")
    if path is None:
        raise ConfigError("the shipped model is missing; install ptycholive again")
    model, _ = load_model(path, probe)
    mosaic = reconstruct(model, probe, half.amplitude, half.positions_px, looks=LOOKS).mosaic
    refiner = Refiner(probe, mosaic.picture, update_probe=True)
    for index, (pattern, (y, x)) in enumerate(zip(half.amplitude, half.positions_px.tolist(), strict=True)):
        refiner.add(index, pattern, (y, x))
    while refiner.least_visits < PASSES and refiner.step():
        pass
    return _Picture(refiner.read()[0].numpy(), refiner.origin_px, refiner.rfactor or float("nan"))


def _by_ptychi(half: _Half, probe: torch.Tensor, side: SideProcess) -> _Picture:
    arrays = {"amplitude": half.amplitude.numpy(), "positions_px": half.positions_px, "probe": probe.numpy()}
    found = side.run(arrays, epochs=EPOCHS, threads=1)
    y, x = found["origin_px"].tolist()
    return _Picture(found["object"], (y, x), float(found["rfactor"]))


def _on_one_canvas(
    pictures: list[_Picture], halves: list[_Half], probe: torch.Tensor
) -> tuple[NDArray[np.complex64], NDArray[np.complex64], NDArray[np.float32]]:
    """Return both pictures on a common canvas, and the smaller coverage of the two halves."""
    size = probe.shape[-1]
    weight = probe.abs().square().sum(0).numpy()
    corners = [np.rint(half.positions_px).astype(int) - size // 2 for half in halves]
    low = np.min([*(c.min(axis=0) for c in corners), *(p.origin_px for p in pictures)], axis=0)
    ends = [np.add(p.origin_px, p.object.shape) for p in pictures]
    shape = np.max([*(c.max(axis=0) + size for c in corners), *ends], axis=0) - low
    fields, coverages = [], []
    for picture, corner in zip(pictures, corners, strict=True):
        field, coverage = np.zeros(shape, dtype=np.complex64), np.zeros(shape, dtype=np.float32)
        y, x = np.subtract(picture.origin_px, low)
        field[y : y + picture.object.shape[0], x : x + picture.object.shape[1]] = picture.object
        for top, left in (corner - low).tolist():
            coverage[top : top + size, left : left + size] += weight
        fields.append(field)
        coverages.append(coverage)
    return fields[0], fields[1], np.minimum(*coverages)


def _figures(curve: RingCorrelation, pictures: list[_Picture], pixel_size_m: float) -> dict[str, Any]:
    half_bit, seventh = (curve.resolution_px(name) for name in ("half-bit", "1/7"))
    return {
        "half_bit_px": half_bit,
        "half_bit_nm": half_bit * pixel_size_m * 1e9,
        "seventh_px": seventh,
        "seventh_nm": seventh * pixel_size_m * 1e9,
        "side_px": curve.side_px,
        "rfactors": [picture.rfactor for picture in pictures],
    }


def _save_plot(path: Path, curves: dict[str, RingCorrelation], pixel_size_m: float) -> None:
    try:
        figure_module = importlib.import_module("matplotlib.figure")
    except ImportError:
        raise ConfigurationError("matplotlib is not installed; install ptycholive[plot]") from None
    figure = figure_module.Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, curve in curves.items():
        label = f"{name}: {curve.resolution_px('half-bit') * pixel_size_m * 1e9:.0f} nm"
        axes.plot(curve.frequency / 0.5, curve.correlation, label=label)
    first = next(iter(curves.values()))
    axes.plot(first.frequency / 0.5, first.half_bit, color="0.4", linestyle="--", linewidth=1, label="half-bit")
    axes.axhline(SEVENTH, color="0.4", linestyle=":", linewidth=1, label="1/7")
    axes.set(
        xlabel="spatial frequency / Nyquist",
        ylabel="Fourier ring correlation",
        xlim=(0, 1),
        ylim=(0, 1.02),
        title="Siemens star, two halves of 258 frames",
    )
    axes.legend(frameon=False)
    kind = path.suffix.removeprefix(".").lower()
    if kind not in figure.canvas.get_supported_filetypes():
        raise ConfigurationError(f"{path}: the extension of a plot must be png, svg or pdf")
    with atomic_path(path) as part:
        figure.savefig(part, format=kind, metadata={"Date": None} if kind == "svg" else None)
