"""Predicts one data file after the other with the same model, and writes a product for each."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from daemon.cli.file_resolution import FileResolution, resolution_of
from daemon.cli.position_correction import PositionCorrection, corrected
from daemon.cli.prediction_outcome import Outcome, finish, write_outcome, write_plot
from daemon.cli.progress import progress
from daemon.cli.scan_input import ScanReader, positions_of, probe_of, read_data
from daemon.cli.truth import as_figures, beside_truth
from daemon.cli.verdict import PictureVerdict, finite, verdict_on
from daemon.errors import ConfigError
from daemon.files import ProbeFile, Product, ScanFile, read_probe
from daemon.files.product import known_pixel_size
from daemon.messages.summaries import PredictionSummary, RunSummary
from daemon.results.records import now_text
from daemon.version import VERSION
from ptychopinn.api import PtychoModel
from ptychopinn.config.sections import InferenceConfig
from ptychopinn.detector.geometry import to_amplitude
from ptychopinn.device import choose_device
from ptychopinn.diagnosis.file_check import misfit_sentence
from ptychopinn.diagnosis.resolution import RingCorrelation
from ptychopinn.errors import FileFormatError, ProbeMismatchError
from ptychopinn.model import Lift, Model
from ptychopinn.model.bundle import find_bundle
from ptychopinn.mosaic.mosaic import Mosaic
from ptychopinn.physics.diffraction import vacuum_counts
from ptychopinn.physics.probe_units import photon_factor, unit_sentence
from ptychopinn.physics.scan_check import NO_PHOTON
from ptychopinn.workflow.export import import_matplotlib
from ptychopinn.workflow.file_resolution import half_correlation
from ptychopinn.workflow.half_precision import Dtype, with_dtype
from ptychopinn.workflow.inference import Reconstruction, choose_batch, reconstruct
from ptychopinn.workflow.reassembly import patch_weight

PIXEL_TOLERANCE = 0.01
"""Largest relative difference between the object pixel of the scan and that of a given probe: files round it."""
DEFAULT_BUNDLE = "shipped"
DEFAULT_THREADS = 2
"""CPU threads unless OMP_NUM_THREADS is set; more threads speed these small batches up little."""


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """The options of the verb."""

    bundle: str
    probe: Path | None
    device: str
    dtype: Dtype
    looks: int
    sweeps: int
    pixel_size_m: float | None
    plot: str | None = None
    correct_positions: bool = False
    position_bound_px: float | None = None
    measure_resolution: bool = False
    diagnose: bool = False
    inference: InferenceConfig | None = None
    scan: int | None = None

    @property
    def scan_number(self) -> int | None:
        """Number of the scan in files with several; None: each."""
        configured = None if self.inference is None else self.inference.experiment_number
        return configured if self.scan is None else self.scan


@dataclass(frozen=True, slots=True, eq=False)
class _Input:
    """A data file: scan, positions, amplitudes, probe in photons with the factor that made it so, doubts about it."""

    path: Path
    scan: ScanFile
    correction: PositionCorrection
    pixel_size_m: float
    amplitude: NDArray[np.float32]
    probe: NDArray[np.complex64]
    probe_factor: float
    doubts: tuple[str, ...]

    @property
    def positions_px(self) -> NDArray[np.float64]:
        """The positions ``(n, 2)`` that are used, pixels."""
        return self.correction.positions_px


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """The result of the model on its device, with the time that it took."""

    model: Model
    weight: torch.Tensor | None
    probe: torch.Tensor
    amplitude: torch.Tensor
    result: Reconstruction
    looks: int
    batch: int
    seconds: float

    def summary(self, scan: ScanFile) -> RunSummary:
        """Return the figures for JSON."""
        frames = len(self.amplitude)
        return {
            "frames": frames,
            "refused": {int(scan.indexes[i]): reason for i, reason in self.result.refused.items()},
            "seconds": self.seconds,
            "frames_per_s": self.looks * frames / self.seconds,
            "batch": self.batch,
            "rfactors": [finite(value) for value in self.result.rfactors],
            "looks": self.looks,
        }


class Predictor:
    """Holds the device, the model and the options for all files. A wrong option ends the verb before the first file."""

    def __init__(self, options: PredictOptions) -> None:
        self._options = options
        if options.plot is not None:
            import_matplotlib()
        try:
            self._device = choose_device(options.device)
        except (ValueError, RuntimeError) as fault:
            raise ConfigError(f"--device: {str(fault).splitlines()[0]}") from fault
        torch.set_num_threads(cpu_threads())
        named = None if options.inference is None or options.bundle != DEFAULT_BUNDLE else options.inference.model_path
        path = find_bundle(named or options.bundle)
        self._model = None if path is None else PtychoModel.load(path)
        if options.probe is not None:
            read_probe(options.probe)
        self._reader = ScanReader()
        self._batches: dict[tuple[int, ...], int] = {}

    def predict(self, path: Path, target: Path, number: int | None = None) -> PredictionSummary:
        """Predict a scan of a file, by its number if there are several, write its product, return a summary for JSON."""
        started = now_text()
        given = self._read(path, number)
        run = self._run(given)
        outcome = finish(run.result, run.probe, run.amplitude, given.positions_px, self._options.sweeps)
        verdict = self._verdict(given, run, outcome)
        resolution = self._resolution(given, run, outcome.kept)
        outcome = replace(outcome, live=resolution.noted(outcome.live))
        product = self._product(given, run, outcome, verdict, started)
        write_outcome(target, product, outcome, given.scan)
        if self._options.plot is not None:
            inference = self._options.inference
            window_px = 0 if inference is None else inference.window
            write_plot(target.with_suffix(f".{self._options.plot}"), outcome, given.scan, window_px)
        return {
            "input": str(path),
            "scan": number,
            "output": str(target),
            "pixel_size_m": known_pixel_size(given.pixel_size_m),
            **run.summary(given.scan),
            "sweeps": self._options.sweeps,
            **given.correction.summary(),
            "positions": given.correction.line,
            **resolution.summary(),
            "resolution": resolution.line,
            "rfactor": finite(outcome.rfactor),
            "comparison": as_figures(
                beside_truth(given.scan, outcome.object, outcome.weight, outcome.origin_px, given.pixel_size_m)
            ),
            "verdict": verdict.word,
            "doubts": verdict.doubts,
            "model": self._model_name,
        }

    def _read(self, path: Path, number: int | None) -> _Input:
        """Read a scan, with its probe in photons."""
        is_single = self._options.scan_number is not None
        scan = read_data(path, number) if is_single else self._reader.read(path, number)
        positions_px, pixel_size_m = positions_of(scan, path, self._options.pixel_size_m)
        amplitude = to_amplitude(scan.counts, scan.mask, None)
        probe, factor, doubts = _in_photons(self._probe(scan, path, pixel_size_m), amplitude, path)
        correction = corrected(
            torch.from_numpy(amplitude).to(self._device),
            positions_px,
            torch.from_numpy(probe).to(self._device),
            is_asked=self._options.correct_positions,
            bound_px=self._options.position_bound_px,
        )
        return _Input(
            path=path,
            scan=scan,
            correction=correction,
            pixel_size_m=pixel_size_m,
            amplitude=amplitude,
            probe=probe,
            probe_factor=factor,
            doubts=doubts,
        )

    def _run(self, given: _Input) -> _Run:
        """Reconstruct all frames with the model."""
        probe, amplitude = (torch.from_numpy(a).to(self._device) for a in (given.probe, given.amplitude))
        model = self._model_for(probe, given.path)
        looks = self._options.looks if model.can_look_again else 1
        batch = self._batches.get(given.probe.shape) or choose_batch(model, probe.shape[-1], self._device)
        self._batches[given.probe.shape] = batch
        weight = None
        if self._options.inference is not None:
            weight, batch = self._weight(probe), min(batch, self._options.inference.batch_size)
        begun = time.monotonic()
        with progress(looks * len(amplitude), given.path.name, "frames") as bar:
            result = reconstruct(
                model,
                probe,
                amplitude,
                given.positions_px,
                looks=looks,
                batch=batch,
                weight=weight,
                on_progress=bar.update,
            )
        seconds = time.monotonic() - begun
        return _Run(model, weight, probe, amplitude, result, looks=looks, batch=batch, seconds=seconds)

    def _resolution(self, given: _Input, run: _Run, kept: NDArray[np.int64]) -> FileResolution:
        """Measure the resolution on two halves of the frames, each reconstructed as all of them are."""

        def stitched(frames: torch.Tensor, places: NDArray[np.float64]) -> Mosaic:
            found = reconstruct(
                run.model, run.probe, frames, places, looks=run.looks, batch=run.batch, weight=run.weight
            )
            return found.mosaic

        def measure() -> RingCorrelation | None:
            places = given.positions_px[kept]
            return half_correlation(run.amplitude[kept.tolist()], places, run.probe, stitched, self._options.sweeps)

        return resolution_of(measure, given.pixel_size_m, is_asked=self._options.measure_resolution)

    def _weight(self, probe: torch.Tensor) -> torch.Tensor:
        """Return the weight of a patch's pixels that the configuration asks for; the trim is for networks of one size."""
        wanted = self._options.inference or InferenceConfig()
        has_size = self._model is not None and self._model.size_px is not None
        trim = min(wanted.middle_trim, probe.shape[-1]) if has_size else None
        return patch_weight(probe, wanted.patch_weighting, trim)

    def _model_for(self, probe: torch.Tensor, path: Path) -> Model:
        if self._model is None:
            return Lift(probe)
        model, refused = with_dtype(self._model.for_probe(probe), self._options.dtype)
        if refused:
            typer.echo(f"{path}: the model stays in float32: {refused}", err=True)
        return model

    @property
    def _model_name(self) -> str:
        return "lift" if self._model is None else self._model.bundle.name

    def _verdict(self, given: _Input, run: _Run, outcome: Outcome) -> PictureVerdict:
        misfit = None
        if self._options.diagnose:
            frames, probe = torch.from_numpy(given.amplitude), torch.from_numpy(given.probe)
            misfit = misfit_sentence(frames, given.positions_px, probe)
        return verdict_on(
            given.scan,
            run.amplitude,
            given.positions_px[outcome.kept],
            given.probe,
            rfactor=outcome.rfactor,
            picture=outcome.object,
            weight=outcome.weight,
            verb_doubts=given.doubts,
            misfit=misfit,
            is_refined=self._options.sweeps > 0,
        )

    def _product(self, given: _Input, run: _Run, outcome: Outcome, verdict: PictureVerdict, started: str) -> Product:
        options, scan = self._options, given.scan
        configuration = {"predict": asdict(options), "probe_factor": given.probe_factor}
        live = replace(
            outcome.live,
            configuration=json.dumps(configuration, default=str, indent=1),
            model_name=self._model_name,
            model_sha256="" if self._model is None else self._model.bundle.sha256,
            started=started,
            ended=now_text(),
            doubts=verdict.line,
        )
        rows = outcome.kept[np.argsort(scan.indexes[outcome.kept])]
        live = given.correction.noted(live, rows, given.pixel_size_m)
        made = f"Ptycholive {VERSION} predict, {run.looks} looks, {options.sweeps} sweeps"
        return Product(
            name=scan.name,
            comments="\n".join(filter(None, (made, given.correction.line, verdict.line, *scan.notes))),
            indexes=scan.indexes[outcome.kept],
            positions_m=given.positions_px[outcome.kept] * given.pixel_size_m,
            probe=outcome.probe,
            pixel_size_m=given.pixel_size_m,
            photon_energy_eV=scan.photon_energy_eV,
            detector_distance_m=scan.detector_distance_m,
            object=outcome.object,
            object_origin_px=outcome.origin_px,
            live=live,
            losses=(*run.result.rfactors, *([outcome.rfactor] if options.sweeps else ())),
        )

    def _probe(self, scan: ScanFile, path: Path, pixel_size_m: float) -> ProbeFile:
        found, own = probe_of(scan, path, self._options.probe), self._options.probe is None
        is_known = known_pixel_size(pixel_size_m) is not None
        if not own and is_known and found.pixel_size_m and abs(found.pixel_size_m / pixel_size_m - 1) > PIXEL_TOLERANCE:
            raise ProbeMismatchError(
                f"{path}: the object pixel is {pixel_size_m * 1e9:.3f} nm, but the probe in {self._options.probe} has "
                f"{found.pixel_size_m * 1e9:.3f} nm; give a probe with the same pixel size"
            )
        return found


def cpu_threads() -> int:
    """Return the number of CPU threads: OMP_NUM_THREADS if set, otherwise two, at most the number of cores."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(asked) if asked.isdecimal() and int(asked) else DEFAULT_THREADS
    return min(len(os.sched_getaffinity(0)), threads)


def _in_photons(
    found: ProbeFile, amplitude: NDArray[np.float32], path: Path
) -> tuple[NDArray[np.complex64], float, tuple[str, ...]]:
    """Return the probe in photons, the factor applied to it, and any doubt.

    Some programs store probes in their own units. Such a probe is scaled to the photons of the brightest frame; a probe
    that is right within an order of magnitude is left alone (factor 1).
    """
    probe, frames = torch.from_numpy(found.probe), torch.from_numpy(amplitude)
    if not vacuum_counts(frames) > 0:
        raise FileFormatError(f"{path}: {NO_PHOTON}")
    factor = photon_factor(probe, frames)
    if factor == 1.0:
        return found.probe, 1.0, ()
    doubt = unit_sentence(probe, frames)
    typer.echo(f"{path}: {doubt}", err=True)
    return (found.probe * factor).astype(np.complex64), factor, (doubt,)
