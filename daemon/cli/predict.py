"""``predict``: batch inference over files, to products."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from daemon.cli.batch import Batch
from daemon.cli.progress import progress
from daemon.cli.scan_input import positions_of, probe_of, read_data
from daemon.cli.verdict import Verdict, finite, verdict_on
from daemon.errors import ConfigError, DaemonError
from daemon.files import LiveGroup, ProbeFile, Product, ScanFile, read_probe, write_product
from daemon.results.records import now_text
from daemon.version import VERSION
from ptychopinn.api import Picture, PtychoModel, save_npz, save_plot
from ptychopinn.detector.geometry import to_amplitude
from ptychopinn.device import choose_device
from ptychopinn.errors import FileFormatError, ProbeMismatchError
from ptychopinn.model import Lift, Model
from ptychopinn.model.bundle import find_bundle
from ptychopinn.physics.diffraction import vacuum_counts
from ptychopinn.physics.scan_check import NO_PHOTON
from ptychopinn.refine.refined_layer import Refiner
from ptychopinn.workflow.half_precision import Dtype, with_dtype
from ptychopinn.workflow.inference import Reconstruction, choose_batch, reconstruct, rfactor

PIXEL_TOLERANCE = 0.01
UNIT_RATIO = 10.0


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """How to predict; the fields are the verb's options."""

    bundle: str
    probe: Path | None
    device: str
    dtype: Dtype
    looks: int
    sweeps: int
    pixel_size_m: float | None
    plot: str | None = None


def run_predict(data: list[Path], output: Path, options: PredictOptions, as_json: bool) -> None:
    """Predict each file; a file that cannot be read costs only itself, and exit code 3 at the end."""
    targets = dict(zip(data, _targets(data, output), strict=True))
    predictor, batch = _Predictor(options), Batch()
    done = []
    for path in data:
        summary = batch.attempt(path, lambda each: predictor.predict(each, targets[each]))
        if summary is None:
            continue
        done.append(summary)
        if not as_json:
            typer.echo(_line(summary))
        if summary["verdict"] == "nonsense":
            batch.refuse()
    if done and done[-1]["looks"] < options.looks:
        typer.echo(f"the model {done[-1]['model']} looks once; --looks {options.looks} was not used", err=True)
    if as_json:
        typer.echo(json.dumps(done))
    batch.end()


def _targets(data: list[Path], output: Path) -> list[Path]:
    """Return each file's product; two files of one name are told apart by their folders' names."""
    is_folder = len(data) > 1 or output.is_dir()
    try:
        (output if is_folder else output.parent).mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        what = "several files need a directory" if is_folder else "choose another place"
        raise ConfigError(f"--output {output} cannot be made ({fault.strerror}); {what}") from fault
    if not is_folder:
        return [output]
    stems = [path.name.split(".")[0] for path in data]
    names = [s if stems.count(s) == 1 else f"{p.resolve().parent.name}-{s}" for s, p in zip(stems, data, strict=True)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(
            f"two of the files would be written to {output / twice}.h5; predict them into directories apart"
        )
    return [output / f"{name}.h5" for name in names]


def _line(summary: dict[str, Any]) -> str:
    looks = ", ".join(map(_shown, summary["rfactors"]))
    swept = f", swept {_shown(summary['rfactor'])}" if summary["sweeps"] else ""
    lost = f", {len(summary['refused'])} left out" if summary["refused"] else ""
    speed = f"{summary['frames_per_s']:.0f} a second"
    said = Verdict(summary["doubts"]).line
    doubts = f"\n{summary['output']}: {said}" if said else ""
    return f"{summary['output']}: {summary['frames']} frames{lost}, {speed}, R {looks}{swept}{doubts}"


def _shown(rfactor: float | None) -> str:
    return "unknown" if rfactor is None else f"{rfactor:.4f}"


@dataclass(frozen=True, slots=True, eq=False)
class _Given:
    """What a file gives: the scan, its places and amplitudes, the probe in photons, the factor that it took, any doubt."""

    path: Path
    scan: ScanFile
    positions_px: NDArray[np.float64]
    pixel_size_m: float
    amplitude: NDArray[np.float32]
    probe: NDArray[np.complex64]
    factor: float
    said: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """What the model made of a scan, on its device, and in what time."""

    probe: torch.Tensor
    amplitude: torch.Tensor
    result: Reconstruction
    looks: int
    batch: int
    seconds: float

    def summary(self, scan: ScanFile) -> dict[str, Any]:
        """Return the same for JSON."""
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


class _Predictor:
    """What is the same for every file: options, device, model; wrong ones end the verb before the first file."""

    def __init__(self, options: PredictOptions) -> None:
        self._options = options
        try:
            self._device = choose_device(options.device)
        except (ValueError, RuntimeError) as fault:
            raise ConfigError(f"--device: {str(fault).splitlines()[0]}") from fault
        torch.set_num_threads(_threads())
        path = find_bundle(options.bundle)
        self._model = None if path is None else PtychoModel.load(path)
        if options.probe is not None:
            read_probe(options.probe)
        self._batches: dict[tuple[int, ...], int] = {}

    def predict(self, path: Path, target: Path) -> dict[str, Any]:
        """Predict a file, write its product, return what was done."""
        started = now_text()
        given = self._given(path)
        run = self._run(given)
        outcome = _finished(run.result, run.probe, run.amplitude, given.positions_px, self._options.sweeps)
        final = outcome.live.rfactors.get("refined", outcome.live.rfactors["network"])
        kept_px = given.positions_px[outcome.kept]
        verdict = verdict_on(
            given.scan,
            run.amplitude,
            kept_px,
            given.probe,
            final,
            outcome.object,
            outcome.weight,
            *given.said,
            is_refined=self._options.sweeps > 0,
        )
        product = self._product(given, run, outcome, verdict, started)
        _write(target, product, outcome, given.scan)
        if self._options.plot is not None:
            _plot(target.with_suffix(f".{self._options.plot}"), outcome, given.scan)
        return {
            "input": str(path),
            "output": str(target),
            **run.summary(given.scan),
            "sweeps": self._options.sweeps,
            "rfactor": finite(final),
            "verdict": verdict.word,
            "doubts": verdict.doubts,
            "model": self._model_name,
        }

    def _given(self, path: Path) -> _Given:
        """Read a file, with its probe in photons."""
        scan = read_data(path)
        positions_px, pixel_size_m = positions_of(scan, path, self._options.pixel_size_m)
        amplitude = to_amplitude(scan.counts, scan.mask, None)
        found, factor, said = _in_photons(self._probe(scan, path, pixel_size_m), amplitude, path)
        return _Given(path, scan, positions_px, pixel_size_m, amplitude, found.probe, factor, said)

    def _run(self, given: _Given) -> _Run:
        """Have the model look at all frames."""
        probe, amplitude = (torch.from_numpy(a).to(self._device) for a in (given.probe, given.amplitude))
        model = self._model_for(probe, given.path)
        looks = self._options.looks if model.can_look_again else 1
        batch = self._batches.get(given.probe.shape) or choose_batch(model, probe.shape[-1], self._device)
        self._batches[given.probe.shape] = batch
        begun = time.monotonic()
        with progress(looks * len(amplitude), given.path.name, "frames") as bar:
            result = reconstruct(
                model, probe, amplitude, given.positions_px, looks=looks, batch=batch, on_progress=bar.update
            )
        return _Run(probe, amplitude, result, looks, batch, time.monotonic() - begun)

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

    def _product(self, given: _Given, run: _Run, outcome: _Outcome, verdict: Verdict, started: str) -> Product:
        options, scan = self._options, given.scan
        live = replace(
            outcome.live,
            configuration=json.dumps({"predict": asdict(options), "probe_factor": given.factor}, default=str, indent=1),
            model_name=self._model_name,
            model_sha256="" if self._model is None else self._model.bundle.sha256,
            started=started,
            ended=now_text(),
            doubts=verdict.line,
        )
        made = f"Ptycholive {VERSION} predict, {run.looks} looks, {options.sweeps} sweeps"
        return Product(
            name=scan.name,
            comments="\n".join(filter(None, (made, verdict.line, *scan.notes))),
            indexes=scan.indexes[outcome.kept],
            positions_m=given.positions_px[outcome.kept] * given.pixel_size_m,
            probe=given.probe,
            pixel_size_m=given.pixel_size_m,
            photon_energy_eV=scan.photon_energy_eV,
            detector_distance_m=scan.detector_distance_m,
            object=outcome.object,
            object_origin_px=outcome.origin_px,
            live=live,
        )

    def _probe(self, scan: ScanFile, path: Path, pixel_size_m: float) -> ProbeFile:
        found, own = probe_of(scan, path, self._options.probe), self._options.probe is None
        if not own and found.pixel_size_m and abs(found.pixel_size_m / pixel_size_m - 1) > PIXEL_TOLERANCE:
            raise ProbeMismatchError(
                f"{path}: its pixels are {pixel_size_m * 1e9:.3f} nm but those of the probe in {self._options.probe} "
                f"{found.pixel_size_m * 1e9:.3f} nm; take a probe of this geometry"
            )
        return found


def _threads() -> int:
    """Return the CPU threads to use: as OMP_NUM_THREADS says, else two, never more than there are cores."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(len(os.sched_getaffinity(0)), int(asked) if asked.isdecimal() and int(asked) else 2)


def _in_photons(
    found: ProbeFile, amplitude: NDArray[np.float32], path: Path
) -> tuple[ProbeFile, float, tuple[str, ...]]:
    """Return the probe in photon units, the factor that it took, 1 where it had them by order of magnitude, and any doubt.

    Programs leave probes in units of their own; then its energy is set to the counts of the brightest frame.
    """
    energy = float(np.square(np.abs(found.probe), dtype=np.float64).sum())
    brightest = vacuum_counts(torch.from_numpy(amplitude))
    if not brightest > 0:
        raise FileFormatError(f"{path}: {NO_PHOTON}")
    if 1 / UNIT_RATIO < energy / brightest < UNIT_RATIO:
        return found, 1.0, ()
    factor = (brightest / energy) ** 0.5
    said = f"the probe holds {energy:.3g} photons but the brightest frame {brightest:.3g}; the probe was set to that"
    typer.echo(f"{path}: {said}", err=True)
    return replace(found, probe=(found.probe * factor).astype(np.complex64)), factor, (said,)


@dataclass(frozen=True, slots=True, eq=False)
class _Outcome:
    """What becomes of a prediction: the object, where it lies, the places of the stitched frames, the live group."""

    object: NDArray[np.complex64]
    weight: NDArray[np.float32]
    origin_px: tuple[int, int]
    kept: NDArray[np.int64]
    live: LiveGroup


def _finished(
    result: Reconstruction,
    probe: torch.Tensor,
    amplitude: torch.Tensor,
    positions_px: NDArray[np.float64],
    sweeps: int,
) -> _Outcome:
    """Sweep, if that is asked for, and bring everything to the host."""
    kept = np.setdiff1d(np.arange(len(amplitude)), list(result.refused))
    network, weight = (plane.cpu().numpy() for plane in result.mosaic.read())
    live = LiveGroup(
        network=network,
        network_weight=weight,
        network_origin_px=result.mosaic.origin_px,
        verdict=_verdict(len(amplitude), result),
        rfactors={"network": result.rfactors[-1]},
    )
    if not sweeps:
        return _Outcome(network, weight, result.mosaic.origin_px, kept, live)
    refiner = _swept(result, probe, amplitude, positions_px, kept, sweeps)
    refined, refined_weight = (plane.cpu().numpy() for plane in refiner.read())
    rfactors = {**live.rfactors, "refined": rfactor(probe, refiner, amplitude[kept], positions_px[kept])}
    return _Outcome(
        refined,
        refined_weight,
        refiner.origin_px,
        kept,
        replace(live, refined_weight=refined_weight, rfactors=rfactors),
    )


def _write(target: Path, product: Product, outcome: _Outcome, scan: ScanFile) -> None:
    try:
        if target.suffix == ".npz":
            save_npz(target, _picture(outcome, scan), scan.object)
        else:
            write_product(target, product)
    except OSError as fault:
        raise DaemonError(f"{target} cannot be written ({fault.strerror or fault}); choose another --output") from fault


def _plot(path: Path, outcome: _Outcome, scan: ScanFile) -> None:
    """Draw the object, and beside it the truth or guess that the scan's file holds."""
    try:
        save_plot(path, _picture(outcome, scan), scan.object, title=scan.name)
    except OSError as fault:
        raise DaemonError(f"{path} cannot be written ({fault.strerror or fault}); choose another --output") from fault


def _picture(outcome: _Outcome, scan: ScanFile) -> Picture:
    """Return the picture in the frame of the truth or guess that the scan's file holds."""
    y, x = (round(own - other) for own, other in zip(outcome.origin_px, scan.object_origin_px, strict=True))
    return Picture(outcome.object, outcome.weight, (y, x), len(outcome.kept), tuple(outcome.live.rfactors.values()))


def _verdict(frames: int, result: Reconstruction) -> dict[str, Any]:
    refused = dict(Counter(result.refused.values()))
    names = ("duplicate", "missing", "without_position", "pending")
    stitched = frames - len(result.refused)
    return {"expected": frames, "received": frames, "stitched": stitched, **dict.fromkeys(names, 0), "refused": refused}


def _swept(
    result: Reconstruction,
    probe: torch.Tensor,
    amplitude: torch.Tensor,
    positions_px: NDArray[np.float64],
    kept: NDArray[np.int64],
    sweeps: int,
) -> Refiner:
    """Return the refiner after its sweeps."""
    refiner = Refiner(probe, result.mosaic.picture, buffer_bytes=amplitude.nbytes)
    for index in kept.tolist():
        y, x = positions_px[index].tolist()
        refiner.add(index, amplitude[index], (y, x))
    with progress(sweeps * len(kept), "refining", "updates") as bar:
        while refiner.updates < sweeps * len(kept) and (count := refiner.step()):
            bar.update(count)
    return refiner
