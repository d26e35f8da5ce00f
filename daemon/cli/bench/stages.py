"""``bench``: measure the speed of each stage and of the whole chain on this machine.

Stages run in this process with one thread; the best of several rounds counts. For the whole chain a real daemon runs in a
separate process, a ``replay`` process sends over TCP, and this process is the viewer. A plain implementation of the same
work, if there is one, is timed in the same run, alternating with ours.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import torch
import typer

from daemon.cli.bench.launches import measure_launches
from daemon.cli.bench.learning import measure_learning
from daemon.cli.bench.live import live_daemon
from daemon.cli.bench.overhead import measure_overhead
from daemon.cli.bench.receive import measure_receive
from daemon.cli.bench.scaling import measure_scaling
from daemon.cli.bench.viewers import measure_viewers
from daemon.cli.demo import PROBE, SCAN
from daemon.cli.progress import progress
from daemon.errors import ConfigError
from daemon.files import ScanFile, read_probe, read_scan
from daemon.version import VERSION
from ptychopinn.detector.geometry import to_amplitude
from ptychopinn.model import Lift
from ptychopinn.model.bundle import find_bundle, load_model
from ptychopinn.model.cnn import Cnn, CnnOptions
from ptychopinn.mosaic.groups import GroupBuilder, GroupFrame
from ptychopinn.mosaic.mosaic import Mosaic
from ptychopinn.refine.refined_layer import CHUNK_FRAMES, Refiner
from ptychopinn.workflow.half_precision import with_dtype
from ptychopinn.workflow.inference import choose_batch, single_group
from streams.codecs import CODECS
from streams.replay.sender import prepare

ROUNDS = 5
"""Rounds of a stage, after one to warm up."""
BATCH = 32
"""Frames of a batch, as [model] batch_frames."""
CHAIN_REPEAT = 12
"""Repetitions of the demo scan: 6,192 frames, so that start and end do not matter."""
Measurement = dict[str, float | str | None]
"""The figures of a measurement by name; a sentence where one could not be measured."""


def run_bench(only: Sequence[str], as_json: bool) -> None:
    """Run the measurements and print them."""
    unknown = [name for name in only if name not in MEASUREMENTS]
    if unknown:
        raise ConfigError(f"{unknown[0]} is not a known measurement; choose from {', '.join(MEASUREMENTS)}, resolution")
    torch.set_num_threads(1)
    chosen = {
        name: measure for name, measure in MEASUREMENTS.items() if name in (only or MEASUREMENTS.keys() - ASKED_FOR)
    }
    found: dict[str, Mapping[str, object]] = {}
    with progress(len(chosen), "measuring", "measurement") as bar:
        for name, measure in chosen.items():
            bar.set_postfix_str(name)
            found[name] = measure()
            bar.update()
    machine = {"cores": os.cpu_count(), "processor": processor(), "python": platform.python_version()}
    versions = {"torch": torch.__version__, "numpy": np.__version__, "ptycholive": VERSION}
    if as_json:
        typer.echo(json.dumps({"machine": machine | versions, "measurements": found}))
        return
    for name, result in found.items():
        words = ", ".join(
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in result.items()
        )
        typer.echo(f"{name}: {words}")


def processor() -> str:
    """Return the name of the processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def best_seconds(*calls: Callable[[], object]) -> list[float]:
    """Return the best time of each call, s; each round runs all calls in turn."""
    best = [float("inf")] * len(calls)
    for _ in range(ROUNDS + 1):  # the first round warms up
        for number, call in enumerate(calls):
            begun = time.perf_counter()
            call()
            best[number] = min(best[number], time.perf_counter() - begun)
    return best


def _scan() -> tuple[ScanFile, torch.Tensor, np.ndarray, np.ndarray]:
    """Return the shipped scan, its probe, its amplitudes and its positions, pixels."""
    scan = read_scan(SCAN)
    if scan.positions_px is None:
        raise ConfigError(f"{SCAN} has no positions; install ptycholive again")
    return scan, torch.from_numpy(read_probe(PROBE).probe), to_amplitude(scan.counts, None, None), scan.positions_px


def measure_decode() -> Measurement:
    """Parse and decode DECTRIS V2 messages, bslz4, one thread."""
    scan, *_ = _scan()
    codec = CODECS["dectris-v2"]()
    messages = prepare(scan.counts, scan.positions_m, codec, "bench")

    def decode() -> None:
        for parts in messages:
            (item,) = codec.parse(parts, 0)
            item.decode()  # type: ignore[union-attr]

    (seconds,) = best_seconds(decode)
    return {"frames_per_s": len(messages) / seconds}


def measure_mosaic() -> Measurement:
    """Stitch full 128 x 128 patches exactly; compared with a plain scatter-add of the central 64 x 64 in float32."""
    _, probe, _, positions = _scan()
    positions = positions[:256]
    rng = np.random.default_rng(0)
    patches = torch.from_numpy(rng.normal(size=(256, 128, 128, 2)).astype(np.float32))
    complex_patches = torch.view_as_complex(patches)
    mosaic = Mosaic(probe.abs().square().sum(0))
    plain = _PlainMosaic(probe.abs().square().sum(0)[32:96, 32:96])
    centres = complex_patches[:, 32:96, 32:96].contiguous()
    ours, theirs = best_seconds(
        lambda: mosaic.add(range(256), complex_patches, positions),
        lambda: plain.add(centres, torch.from_numpy(positions - 32.0)),
    )
    return {"us_per_patch": ours / 256 * 1e6, "plain_scatter_central_64_us_per_patch": theirs / 256 * 1e6}


class _PlainMosaic:
    """Bilinear scatter-add of a batch on a fixed canvas: the plain implementation."""

    def __init__(self, weight: torch.Tensor, side: int = 1024) -> None:
        self._weight, self._side = weight, side
        self._values = torch.zeros(side * side, dtype=torch.complex64)
        self._weights = torch.zeros(side * side)

    def add(self, patches: torch.Tensor, positions: torch.Tensor) -> None:
        n = patches.shape[-1]
        corner = positions - positions.amin(0)
        whole, fraction = corner.floor().long(), (corner - corner.floor()).float()
        rows, columns = torch.arange(n)[None, :, None], torch.arange(n)[None, None, :]
        for dy in (0, 1):
            for dx in (0, 1):
                share = (fraction[:, 0] if dy else 1 - fraction[:, 0]) * (fraction[:, 1] if dx else 1 - fraction[:, 1])
                weight = self._weight * share[:, None, None]
                place = (whole[:, 0, None, None] + rows + dy) * self._side + whole[:, 1, None, None] + columns + dx
                self._values.index_add_(0, place.flatten(), (patches * weight).flatten())
                self._weights.index_add_(0, place.flatten(), weight.flatten())


def measure_lift() -> Measurement:
    """Predict with the lift alone, with k projections."""
    _, probe, amplitude, positions = _scan()
    frames = [GroupFrame(i, amplitude[i], tuple(positions[i])) for i in range(BATCH)]
    (group,) = GroupBuilder(1, 64.0, probe.device).add(frames)
    models = [Lift(probe, projections=k) for k in (1, 2, 4)]
    seconds = best_seconds(*(lambda m=m: [m.predict(group) for _ in range(4)] for m in models))
    return {f"frames_per_s_k{k}": 4 * BATCH / s for k, s in zip((1, 2, 4), seconds, strict=True)}


def measure_refine() -> Measurement:
    """Update the refined layer frame by frame."""
    _, probe, amplitude, positions = _scan()
    refiner = Refiner(probe)
    for i in range(256):
        refiner.add(i, torch.from_numpy(amplitude[i]), tuple(positions[i]))
    (seconds,) = best_seconds(lambda: [refiner.step() for _ in range(256 // CHUNK_FRAMES)])
    return {"updates_per_s": 256 / seconds, "ms_per_update": seconds / 256 * 1e3}


def measure_predict() -> Measurement:
    """Predict with the shipped network, one look per frame, in float32 and bfloat16; compared with a cnn of the size
    of PtychoPINN's (width 2).
    """
    path = find_bundle("shipped")
    if path is None:
        return {"frames_per_s": None, "why": "the shipped model is missing"}
    _, probe, amplitude, _ = _scan()
    model, _ = load_model(path, probe)
    half, refused = with_dtype(model, "bfloat16")
    cnn = Cnn(CnnOptions(size_px=128)).eval()
    found: Measurement = {"bfloat16_refused": refused} if refused else {}
    for threads in (1, os.cpu_count() or 1):
        torch.set_num_threads(threads)
        batch = choose_batch(model, 128, probe.device)
        group = single_group(torch.from_numpy(amplitude[:batch, None]))
        ours, halved, theirs = best_seconds(*(partial(m.predict, group) for m in (model, half, cnn)))
        found |= {
            f"frames_per_s_{threads}_threads": batch / ours,
            f"bfloat16_frames_per_s_{threads}_threads": batch / halved,
            f"cnn_frames_per_s_{threads}_threads": batch / theirs,
            f"batch_{threads}_threads": batch,
        }
    torch.set_num_threads(1)
    return found


def measure_chain() -> Measurement:
    """Measure frames/s through sender, TCP, decode, join, lift, stitch and publish, as fast as the daemon accepts."""
    found: Measurement = {}
    for name, bundle in (("", "none"), ("_with_network", "shipped")):
        seen = _stream(bundle, ["--repeat", str(CHAIN_REPEAT)])
        found |= {f"frames_per_s{name}": seen["frames"] / seen["seconds"], f"frames{name}": seen["frames"]}
    return found


def measure_latency() -> Measurement:
    """Measure the time from the receipt of a frame to the update that shows it, at 100 frames/s."""
    found: Measurement = {}
    for name, bundle in (("", "none"), ("_with_network", "shipped")):
        seen = _stream(bundle, ["--rate", "100"])
        found |= {
            f"median_s{name}": _quantile(seen["latency"], 0.5),
            f"p90_s{name}": _quantile(seen["latency"], 0.9),
        }
    return found


def _stream(bundle: str, replay: Sequence[str]) -> dict[str, Any]:
    """Run a daemon and a sender; return the frames, the time until all were shown, s, and the latency histogram."""
    with live_daemon(bundle, refine=True, finetune=bundle != "none") as daemon:
        frames, seconds = daemon.send("bench", *replay)
        with urlopen(daemon.addresses["http"] + "/metrics", timeout=10) as answer:  # noqa: S310
            text = answer.read().decode()
    return {"frames": frames, "seconds": seconds, "latency": _buckets(text)}


def _buckets(text: str) -> list[tuple[float, float]]:
    """Return (upper bound, cumulative count) of the latency histogram in a Prometheus exposition."""
    start = 'ptycholive_frame_latency_seconds_bucket{le="'
    lines = [line.removeprefix(start) for line in text.splitlines() if line.startswith(start)]
    return [(float(line.split('"')[0]), float(line.split()[-1])) for line in lines]


def _quantile(buckets: list[tuple[float, float]], share: float) -> float:
    """Return a quantile, interpolated linearly within its bucket."""
    wanted, low, before = share * buckets[-1][1], 0.0, 0.0
    for bound, count in buckets:
        if count >= wanted:
            return (
                bound if bound == float("inf") else low + (bound - low) * (wanted - before) / max(1.0, count - before)
            )
        low, before = bound, count
    return float("inf")


MEASUREMENTS: dict[str, Callable[[], Mapping[str, object]]] = {
    "decode": measure_decode,
    "receive": measure_receive,
    "mosaic": measure_mosaic,
    "lift": measure_lift,
    "predict": measure_predict,
    "refine": measure_refine,
    "chain": measure_chain,
    "latency": measure_latency,
    "viewers": measure_viewers,
    "learning": measure_learning,
    "scaling": measure_scaling,
    "launches": measure_launches,
    "overhead": measure_overhead,
}
ASKED_FOR = {"scaling", "viewers", "learning", "launches", "overhead"}
"""Measurements that run only if named: they take minutes, or count for a device that is not there."""
