"""``refine``: probe and object of a data file by iterative refinement, to a product."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from daemon.cli.batch import REFUSED, at_file
from daemon.cli.progress import progress
from daemon.cli.scan_input import positions_of, probe_of, read_data
from daemon.cli.verdict import Verdict, finite, verdict_on
from daemon.errors import DaemonError
from daemon.files import LiveGroup, Product, ScanFile, write_product
from daemon.results.records import now_text
from daemon.version import VERSION
from ptychopinn.detector.geometry import to_amplitude
from ptychopinn.refine.retrieve import Retrieval, retrieve


@dataclass(frozen=True, slots=True)
class RefineOptions:
    """How to refine; the fields are the verb's options."""

    probe: Path | None
    sweeps: int
    full_sweeps: int
    decay: float
    update_probe: bool
    seed: int
    pixel_size_m: float | None
    probe_output: Path | None
    frames: int | None = None


def run_refine(data: Path, output: Path, options: RefineOptions, as_json: bool) -> None:
    """Refine and write a product; say the R-factor and the time it took."""
    torch.set_num_threads(1)  # one small transform at a time: more threads only wait for each other
    begun, started = time.monotonic(), now_text()
    with at_file(data):
        scan = _first_frames(read_data(data), options.frames)
        probe = probe_of(scan, data, options.probe)
        positions_px, pixel_size_m = positions_of(scan, data, options.pixel_size_m)
        amplitude = torch.from_numpy(to_amplitude(scan.counts, scan.mask, None))
        found = _retrieved(amplitude, positions_px, probe.probe, options)
        seconds = time.monotonic() - begun
        verdict = verdict_on(
            scan,
            amplitude,
            positions_px,
            found.probe.numpy(),
            found.rfactors[-1],
            found.object.numpy(),
            found.weight.numpy(),
            passes=options.sweeps,
        )
    product = _product(scan, found, positions_px, pixel_size_m, options, verdict)
    live = _live(found, options, verdict, started)
    _write(output, replace(product, live=live), options.probe_output)
    rfactors = [finite(value) for value in found.rfactors]
    summary = {"output": str(output), "rfactor": rfactors[-1], "sweeps": options.sweeps, "seconds": seconds}
    if as_json:
        typer.echo(json.dumps({**summary, "rfactors": rfactors, "verdict": verdict.word, "doubts": verdict.doubts}))
    else:
        typer.echo(f"{output}: R {found.rfactors[-1]:.4f} after {options.sweeps} sweeps in {seconds:.1f} s")
        if verdict.line:
            typer.echo(f"{output}: {verdict.line}")
    if verdict.is_nonsense:
        raise typer.Exit(REFUSED)


def _retrieved(
    amplitude: torch.Tensor,
    positions_px: NDArray[np.float64],
    probe: NDArray[np.complex64],
    options: RefineOptions,
) -> Retrieval:
    with progress(options.sweeps, "refining", "sweeps") as bar:

        def on_sweep(sweep: int, rfactor: float) -> None:
            bar.update()
            bar.set_postfix_str(f"R {rfactor:.4f}")

        return retrieve(
            amplitude,
            positions_px,
            torch.from_numpy(probe),
            sweeps=options.sweeps,
            full_sweeps=options.full_sweeps,
            decay=options.decay,
            update_probe=options.update_probe,
            seed=options.seed,
            on_sweep=on_sweep,
        )


def _write(output: Path, product: Product, probe_output: Path | None) -> None:
    """Write the product, and its probe alone if that is asked for."""
    for path in (output, probe_output):
        if path is None:
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path == output:
                write_product(path, product)
            else:
                np.savez_compressed(path, probe=product.probe, object_pixel_size_m=product.pixel_size_m)
        except OSError as fault:
            raise DaemonError(f"{path} cannot be written ({fault.strerror or fault}); choose another place") from fault


def _first_frames(scan: ScanFile, most: int | None) -> ScanFile:
    if most is None:
        return scan
    m, px = (None if places is None else places[:most] for places in (scan.positions_m, scan.positions_px))
    return replace(scan, counts=scan.counts[:most], indexes=scan.indexes[:most], positions_m=m, positions_px=px)


def _product(
    scan: ScanFile,
    found: Retrieval,
    positions_px: np.ndarray,
    pixel_size_m: float,
    options: RefineOptions,
    verdict: Verdict,
) -> Product:
    made = f"Ptycholive {VERSION} refine, {options.sweeps} sweeps, seed {options.seed}, R {found.rfactors[-1]:.4f}"
    return Product(
        name=scan.name,
        comments="\n".join(filter(None, (made, verdict.line, *scan.notes))),
        indexes=scan.indexes,
        positions_m=positions_px * pixel_size_m,
        probe=found.probe.numpy(),
        pixel_size_m=pixel_size_m,
        photon_energy_eV=scan.photon_energy_eV,
        detector_distance_m=scan.detector_distance_m,
        object=found.object.numpy(),
        object_origin_px=found.origin_px,
    )


def _live(found: Retrieval, options: RefineOptions, verdict: Verdict, started: str) -> LiveGroup:
    """Return what is known beside the object; there is no network's layer."""
    return LiveGroup(
        refined_weight=found.weight.numpy(),
        rfactors={"refined": found.rfactors[-1]},
        configuration=json.dumps({"refine": asdict(options)}, default=str, indent=1),
        started=started,
        ended=now_text(),
        doubts=verdict.line,
    )
