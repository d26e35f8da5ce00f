"""``predict``, ``refine`` and ``simulate`` on a Ray cluster."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

from daemon.cli.cluster_batch import Printer, ScanJob, run_jobs
from daemon.cli.predict import Job as PredictJob
from daemon.cli.predict import jobs_of, prediction_line
from daemon.cli.prediction import DEFAULT_BUNDLE, PredictOptions, Predictor
from daemon.cli.refine import RefineOptions, check_several, refine_file, refinement_line
from daemon.cli.simulate import check_recipe, numbered, simulate_file, simulation_line
from daemon.cli.targets import is_folder, targets_of
from daemon.cluster.address import parse_address
from daemon.cluster.connection import Cluster, connected
from daemon.cluster.manifest import fingerprint, manifest_path
from daemon.cluster.tasks import Needs
from daemon.errors import ConfigError
from daemon.files import read_probe
from daemon.messages.summaries import PredictionSummary
from ptychopinn.errors import ReconstructionError
from ptychopinn.model.bundle import find_bundle
from ptychopinn.simulate import Recipe


def predict_on(
    on: str, data: list[Path], output: Path, options: PredictOptions, *, gpus_per_scan: float | None, as_json: bool
) -> None:
    """Predict each scan as a task of a cluster."""
    address = parse_address(on)
    if options.device.startswith("cuda:"):
        raise ConfigError(f"--device {options.device}: on a cluster Ray chooses the GPU; give --device cuda")
    options = replace(options, probe=_absolute(options.probe), bundle=_absolute_name(options.bundle))
    _check_files(options)
    scans = jobs_of([path.absolute() for path in data], output.absolute(), options.scan_number)
    manifest = manifest_path(output.absolute(), is_folder=scans[0].target != output.absolute())
    with connected(address) as cluster:
        needs = Needs(gpus=gpus_of_a_scan(cluster, options.device, gpus_per_scan))
        # Ray does not hide GPUs from a task that asks for none
        placed = options if needs.gpus else replace(options, device="cpu")
        jobs = [
            ScanJob(
                scan.path,
                scan.target,
                fingerprint(options, [scan.path, options.probe, Path(options.bundle)]),
                partial(_predict, placed, scan),
                manifest,
            )
            for scan in scans
        ]
        run_jobs(cluster, jobs, needs, Printer(as_json, prediction_line))


def refine_on(on: str, data: list[Path], output: Path, options: RefineOptions, as_json: bool) -> None:
    """Refine each scan as a task of a cluster."""
    address = parse_address(on)
    if len(data) > 1:
        check_several(options)
    options = replace(options, probe=_absolute(options.probe), probe_output=_absolute(options.probe_output))
    data = [path.absolute() for path in data]
    manifest = manifest_path(output.absolute(), is_folder=is_folder(data, output))
    jobs = [
        ScanJob(
            path,
            target,
            fingerprint(options, [path, options.probe]),
            partial(refine_file, path, target, options),
            manifest,
        )
        for path, target in zip(data, targets_of(data, output.absolute()), strict=True)
    ]
    with connected(address) as cluster:
        run_jobs(cluster, jobs, Needs(), Printer(as_json, refinement_line))


def simulate_on(on: str, output: Path, recipe: Recipe, probe_file: Path | None, *, count: int, as_json: bool) -> None:
    """Simulate each scan as a task of a cluster."""
    address, probe = parse_address(on), _absolute(probe_file)
    check_recipe(recipe, probe)
    output = output.absolute()
    manifest = manifest_path(output, is_folder=False)
    jobs = [
        ScanJob(None, path, fingerprint(one, [probe]), partial(simulate_file, path, one, probe), manifest)
        for path, one in numbered(output, recipe, count)
    ]
    with connected(address) as cluster:
        run_jobs(cluster, jobs, Needs(), Printer(as_json, simulation_line))


@lru_cache(maxsize=1)
def _predictor(options: PredictOptions) -> Predictor:
    """Return the predictor of this process: the model is loaded once for all its scans."""
    return Predictor(options)


def _predict(options: PredictOptions, scan: PredictJob) -> PredictionSummary:
    try:
        predictor = _predictor(options)
    except ReconstructionError as fault:  # this machine lacks what the command found on its own
        raise ConfigError(str(fault)) from fault
    return predictor.predict(scan.path, scan.target, scan.number)


def _check_files(options: PredictOptions) -> None:
    """Raise an error for a model or a probe that cannot be read, before any process starts."""
    named = None if options.inference is None or options.bundle != DEFAULT_BUNDLE else options.inference.model_path
    find_bundle(named or options.bundle)
    if options.probe is not None:
        read_probe(options.probe)


def gpus_of_a_scan(cluster: Cluster, device: str, asked: float | None) -> float:
    """Return the GPUs of a task: as asked, else one where the cluster has any. Raises :class:`ConfigError`."""
    if asked is not None and asked > 1 and asked != int(asked):
        raise ConfigError(f"--gpus-per-scan {asked:g}: give a whole number, or one up to 1")
    if asked is not None and device == ("cpu" if asked else "cuda"):
        raise ConfigError(f"--gpus-per-scan {asked:g} and --device {device} contradict each other; leave out one")
    if asked is not None:
        return asked
    return 1.0 if device == "cuda" or (device == "auto" and cluster.gpus) else 0.0


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else path.absolute()


def _absolute_name(bundle: str) -> str:
    """Return a bundle that is a file by its whole path: workers have other folders."""
    return str(Path(bundle).absolute()) if Path(bundle).is_file() else bundle
