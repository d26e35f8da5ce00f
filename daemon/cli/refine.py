"""``refine``: reconstruct probe and object of a data file iteratively."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from daemon.cli.batch import FileBatch, at_file
from daemon.cli.exit_codes import ExitCode
from daemon.cli.file_resolution import FileResolution, resolution_of
from daemon.cli.position_correction import PositionCorrection, corrected
from daemon.cli.progress import progress
from daemon.cli.scan_input import positions_of, probe_of, read_data
from daemon.cli.targets import targets_of
from daemon.cli.verdict import PictureVerdict, finite, verdict_on
from daemon.errors import ConfigError, DaemonError
from daemon.files import LiveGroup, Product, ScanFile, write_product
from daemon.files.product import known_pixel_size
from daemon.messages.summaries import RefinementSummary
from daemon.results.records import now_text
from daemon.version import VERSION
from ptychopinn.detector.geometry import to_amplitude
from ptychopinn.diagnosis.file_check import misfit_sentence
from ptychopinn.diagnosis.resolution import RingCorrelation
from ptychopinn.model import Lift
from ptychopinn.refine.retrieve import Retrieval, retrieve
from ptychopinn.workflow.file_resolution import half_correlation
from ptychopinn.workflow.inference import reconstruct


@dataclass(frozen=True, slots=True)
class RefineOptions:
    """The options of the verb."""

    sweeps: int
    full_sweeps: int
    probe: Path | None = None
    decay: float = 0.9
    update_probe: bool = True
    seed: int = 0
    pixel_size_m: float | None = None
    probe_output: Path | None = None
    frames: int | None = None
    correct_positions: bool = False
    position_bound_px: float | None = None
    scan: int | None = None
    measure_resolution: bool = False
    diagnose: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Refined:
    """A refined scan: its positions (pixels), the result, the verdict on it, its resolution, start and duration."""

    scan: ScanFile
    correction: PositionCorrection
    pixel_size_m: float
    found: Retrieval
    verdict: PictureVerdict
    resolution: FileResolution
    started: str
    seconds: float

    @property
    def left_out_line(self) -> str:
        """One line on the frames that the reconstruction did without; empty if there are none."""
        count = len(self.found.left_out)
        frames = "1 frame was" if count == 1 else f"{count} frames were"
        return f"{frames} left out: no counts, or impossibly many; check beam and detector" if count else ""


def run_refine(data: list[Path], output: Path, options: RefineOptions, as_json: bool) -> None:
    """Refine each scan and write a product; print the R-factor and the duration."""
    if len(data) == 1 and not output.is_dir():
        _refine_one(data[0], output, options, as_json)
        return
    check_several(options)
    targets = dict(zip(data, targets_of(data, output), strict=True))
    batch, done = FileBatch(), []
    for path in data:
        summary = batch.attempt(path, lambda each: refine_file(each, targets[each], options))
        if summary is None:
            continue
        done.append(summary)
        if not as_json:
            typer.echo(refinement_line(summary))
        if summary["verdict"] == "nonsense":
            batch.refuse()
    if as_json:
        typer.echo(json.dumps(done))
    batch.end()


def check_several(options: RefineOptions) -> None:
    """Raise :class:`ConfigError` for an option that names one file for all scans."""
    if options.probe_output is not None:
        raise ConfigError(
            "--probe-output is one file, but there are several scans; leave it out: each product has its probe"
        )


def _refine_one(data: Path, output: Path, options: RefineOptions, as_json: bool) -> None:
    with at_file(data):
        summary = refine_file(data, output, options)
    typer.echo(json.dumps(summary) if as_json else refinement_line(summary))
    if summary["verdict"] == "nonsense":
        raise typer.Exit(ExitCode.REFUSED)


def refine_file(data: Path, output: Path, options: RefineOptions) -> RefinementSummary:
    """Refine one scan, write its product, return a summary for JSON."""
    torch.set_num_threads(1)  # the transforms are small: more threads only wait for each other
    refined = _refine(data, options)
    _write(output, _product(refined, options), options.probe_output)
    rfactors = [finite(value) for value in refined.found.rfactors]
    notes = (refined.resolution.line, refined.correction.line, refined.left_out_line, refined.verdict.line)
    return {
        "input": str(data),
        "output": str(output),
        "rfactor": rfactors[-1],
        "sweeps": options.sweeps,
        "seconds": refined.seconds,
        "pixel_size_m": known_pixel_size(refined.pixel_size_m),
        **refined.correction.summary(),
        **refined.resolution.summary(),
        "left_out": len(refined.found.left_out),
        "rfactors": rfactors,
        "verdict": refined.verdict.word,
        "doubts": refined.verdict.doubts,
        "notes": [line for line in notes if line],
    }


def refinement_line(summary: RefinementSummary) -> str:
    """Return the lines for the screen."""
    rfactor = "unknown" if summary["rfactor"] is None else f"{summary['rfactor']:.4f}"
    first = f"{summary['output']}: R {rfactor} after {summary['sweeps']} sweeps in {summary['seconds']:.1f} s"
    return "\n".join((first, *(f"{summary['output']}: {line}" for line in summary["notes"])))


def _refine(data: Path, options: RefineOptions) -> _Refined:
    begun, started = time.monotonic(), now_text()
    scan = _first_frames(read_data(data, options.scan), options.frames)
    probe = torch.from_numpy(probe_of(scan, data, options.probe).probe)
    positions_px, pixel_size_m = positions_of(scan, data, options.pixel_size_m)
    amplitude = torch.from_numpy(to_amplitude(scan.counts, scan.mask, None))
    correction = corrected(
        amplitude, positions_px, probe, is_asked=options.correct_positions, bound_px=options.position_bound_px
    )
    places = correction.positions_px
    found = _retrieved(amplitude, places, probe, options)
    seconds = time.monotonic() - begun
    misfit = misfit_sentence(amplitude, places, probe, is_guess=options.update_probe) if options.diagnose else None
    resolution = resolution_of(
        lambda: _half_correlation(amplitude, places, found, options.sweeps),
        pixel_size_m,
        is_asked=options.measure_resolution,
    )
    return _Refined(
        scan=scan,
        correction=correction,
        pixel_size_m=pixel_size_m,
        found=found,
        verdict=_verdict(scan, amplitude, places, found, misfit=misfit, passes=options.sweeps),
        resolution=resolution,
        started=started,
        seconds=seconds,
    )


def _verdict(
    scan: ScanFile,
    amplitude: torch.Tensor,
    positions_px: NDArray[np.float64],
    found: Retrieval,
    *,
    misfit: str | None,
    passes: int,
) -> PictureVerdict:
    return verdict_on(
        scan,
        amplitude,
        positions_px,
        found.probe.numpy(),
        rfactor=found.rfactors[-1],
        picture=found.object.numpy(),
        weight=found.weight.numpy(),
        misfit=misfit,
        passes=passes,
    )


def _half_correlation(
    amplitude: torch.Tensor, positions_px: NDArray[np.float64], found: Retrieval, sweeps: int
) -> RingCorrelation | None:
    """Return the ring correlation of two halves of the frames that were used, each from the lift through the found probe."""
    rows = np.setdiff1d(np.arange(len(amplitude)), found.left_out)
    lift = Lift(found.probe)
    return half_correlation(
        amplitude[rows.tolist()],
        positions_px[rows],
        found.probe,
        lambda frames, places: reconstruct(lift, found.probe, frames, places).mosaic,
        sweeps,
    )


def _retrieved(
    amplitude: torch.Tensor, positions_px: NDArray[np.float64], probe: torch.Tensor, options: RefineOptions
) -> Retrieval:
    with progress(options.sweeps, "refining", "sweeps") as bar:

        def on_sweep(sweep: int, rfactor: float) -> None:
            bar.update()
            bar.set_postfix_str(f"R {rfactor:.4f}")

        return retrieve(
            amplitude,
            positions_px,
            probe,
            sweeps=options.sweeps,
            full_sweeps=options.full_sweeps,
            decay=options.decay,
            update_probe=options.update_probe,
            seed=options.seed,
            on_sweep=on_sweep,
        )


def _write(output: Path, product: Product, probe_output: Path | None) -> None:
    """Write the product and, on request, its probe in a separate file."""
    for path in (output, probe_output):
        if path is None:
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path == output:
                write_product(path, product)
            else:
                size = product.known_pixel_size_m
                arrays: dict[str, Any] = {} if size is None else {"object_pixel_size_m": size}
                np.savez_compressed(path, probe=product.probe, **arrays)
        except OSError as fault:
            raise DaemonError(f"{path} cannot be written ({fault.strerror or fault}); choose another place") from fault


def _first_frames(scan: ScanFile, most: int | None) -> ScanFile:
    if most is None:
        return scan
    m, px = (None if places is None else places[:most] for places in (scan.positions_m, scan.positions_px))
    return replace(scan, counts=scan.counts[:most], indexes=scan.indexes[:most], positions_m=m, positions_px=px)


def _product(refined: _Refined, options: RefineOptions) -> Product:
    scan, found = refined.scan, refined.found
    made = f"Ptycholive {VERSION} refine, {options.sweeps} sweeps, seed {options.seed}, R {found.rfactors[-1]:.4f}"
    return Product(
        name=scan.name,
        comments="\n".join(
            filter(None, (made, refined.correction.line, refined.left_out_line, refined.verdict.line, *scan.notes))
        ),
        indexes=scan.indexes,
        positions_m=refined.correction.positions_px * refined.pixel_size_m,
        probe=found.probe.numpy(),
        pixel_size_m=refined.pixel_size_m,
        photon_energy_eV=scan.photon_energy_eV,
        detector_distance_m=scan.detector_distance_m,
        object=found.object.numpy(),
        object_origin_px=found.origin_px,
        live=_live(refined, options),
        losses=tuple(found.rfactors),
    )


def _live(refined: _Refined, options: RefineOptions) -> LiveGroup:
    """Return the group ``live`` of the product; it has no network layer."""
    rows = np.argsort(refined.scan.indexes)
    live = LiveGroup(
        refined_weight=refined.found.weight.numpy(),
        rfactors={"refined": refined.found.rfactors[-1]},
        configuration=json.dumps({"refine": asdict(options)}, default=str, indent=1),
        started=refined.started,
        ended=now_text(),
        doubts=refined.verdict.line,
    )
    return refined.resolution.noted(refined.correction.noted(live, rows, refined.pixel_size_m))
