"""``predict``: batch inference over files, to products."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer

from daemon.cli.progress import progress
from daemon.cli.scan_input import positions_of, probe_of
from daemon.errors import ConfigError
from daemon.files import LiveGroup, Product, read_scan, write_product
from daemon.version import VERSION
from ptychopinn.bundle import Bundle, find_bundle, load_model
from ptychopinn.device import choose_device
from ptychopinn.errors import ReconstructionError
from ptychopinn.geometry import to_amplitude
from ptychopinn.inference import Reconstruction, choose_batch, reconstruct
from ptychopinn.model import Model, build_model
from ptychopinn.refine import Refiner


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """How to predict; the fields are the verb's options."""

    bundle: str
    probe: Path | None
    device: str
    looks: int
    sweeps: int
    pixel_size_m: float | None


def run_predict(data: list[Path], output: Path, options: PredictOptions, as_json: bool) -> None:
    """Predict each file; a file that cannot be read costs only itself, and exit code 3 at the end."""
    if len(data) > 1 or output.is_dir():
        output.mkdir(parents=True, exist_ok=True)
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
    done, refused = [], 0
    for path in data:
        target = output / f"{path.name.split('.')[0]}.h5" if output.is_dir() else output
        try:
            done.append(_predict_file(path, target, options))
        except ReconstructionError as fault:
            refused += 1
            typer.echo(f"ptycholive: {fault}", err=True)
            continue
        if not as_json:
            typer.echo(_line(done[-1]))
    if as_json:
        typer.echo(json.dumps(done))
    if refused:
        raise typer.Exit(3)


def _line(summary: dict[str, Any]) -> str:
    looks = ", ".join(f"{value:.4f}" for value in summary["rfactors"])
    return f"{summary['output']}: {summary['frames']} frames, {summary['frames_per_s']:.0f} a second, R {looks}"


def _predict_file(path: Path, target: Path, options: PredictOptions) -> dict[str, Any]:
    scan = read_scan(path)
    try:
        device = choose_device(options.device)
    except (ValueError, RuntimeError) as fault:
        raise ConfigError(f"--device: {str(fault).splitlines()[0]}") from fault
    found = probe_of(scan, path, options.probe)
    probe = torch.from_numpy(found.probe).to(device)
    positions_px, pixel_size_m = positions_of(scan, path, options.pixel_size_m)
    model, bundle = _model(options.bundle, probe)
    amplitude = torch.from_numpy(to_amplitude(scan.counts, scan.mask, None)).to(device)
    batch = choose_batch(model, probe.shape[-1], device)
    looks = 1 if bundle is None else options.looks
    begun = time.monotonic()
    with progress(looks * len(amplitude), path.name, "frames") as bar:
        result = reconstruct(model, probe, amplitude, positions_px, looks=looks, batch=batch, on_progress=bar.update)
    seconds = time.monotonic() - begun
    picture, origin_px = _swept(result, probe, amplitude, positions_px, options.sweeps)
    network, weight = result.mosaic.read()
    live = LiveGroup(
        network=network.cpu().numpy(),
        network_weight=weight.cpu().numpy(),
        network_origin_px=result.mosaic.origin_px,
        rfactors={"network": result.rfactors[-1]},
        model_name="lift" if bundle is None else bundle.name,
        model_sha256="" if bundle is None else bundle.sha256,
    )
    product = Product(
        name=scan.name,
        comments=f"Ptycholive {VERSION} predict, {looks} looks, {options.sweeps} sweeps",
        indexes=scan.indexes,
        positions_m=positions_px * pixel_size_m,
        probe=found.probe,
        pixel_size_m=pixel_size_m,
        photon_energy_eV=scan.photon_energy_eV,
        detector_distance_m=scan.detector_distance_m,
        object=picture,
        object_origin_px=origin_px,
        live=live,
    )
    write_product(target, product)
    return {
        "input": str(path),
        "output": str(target),
        "frames": len(amplitude),
        "seconds": seconds,
        "frames_per_s": looks * len(amplitude) / seconds,
        "batch": batch,
        "rfactors": result.rfactors,
        "model": live.model_name,
    }


def _model(name: str, probe: torch.Tensor) -> tuple[Model, Bundle | None]:
    path = find_bundle(name)
    return (build_model("lift", probe), None) if path is None else load_model(path, probe, projections=2)


def _swept(
    result: Reconstruction, probe: torch.Tensor, amplitude: torch.Tensor, positions_px: np.ndarray, sweeps: int
) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the object and its origin, after sweeps of the refiner if any are asked for."""
    if not sweeps:
        return result.mosaic.read()[0].cpu().numpy(), result.mosaic.origin_px
    refiner = Refiner(probe, result.mosaic.cut, buffer_bytes=amplitude.nbytes)
    for index, (y, x) in enumerate(positions_px.tolist()):
        refiner.add(index, amplitude[index], (y, x))
    with progress(sweeps * len(amplitude), "refining", "updates") as bar:
        for _ in range(sweeps * len(amplitude)):
            refiner.step()
            bar.update()
    return refiner.read()[0].cpu().numpy(), refiner.origin_px
