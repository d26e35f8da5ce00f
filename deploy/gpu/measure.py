"""Measures the device path: tests marked gpu, speed of each stage, the whole chain, a profile of one step.

Writes ``measure.json`` and ``measure.md``. See ``measure.sh``, which bounds its time.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from daemon.cli.bench.launches import StageScan
from daemon.version import VERSION

SIZES_PX = (64, 128, 256)
FRAMES = 256
"""Frames of a batch, as on a GPU."""
STAGE_S, MOST_ROUNDS = 1.0, 200
"""Time and rounds of one measurement at most; the median round counts."""
WARM_UP = 3
"""Rounds before it: the second one records a graph."""
TESTS_S, CHAIN_S = 90, 150
"""Longest time of the tests and of the chain, s."""
PROFILED_PX, PROFILE_ROWS = 128, 25
GOALS = {"step": 20_000, "refine": 50_000}
"""Frames and visits a second asked of an H200, patterns of 128 x 128."""
PARTS = ("tests", "stages", "chain", "profile")

Found = dict[str, Any]


def main(arguments: list[str] | None = None) -> Path:
    """Measure what is asked for; return the folder with the results."""
    options = _options(arguments)
    device = torch.device("cpu" if options.cpu else "cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("this machine has no usable CUDA device; use --cpu to try the script")
    begun = time.monotonic()
    work: dict[str, Callable[[], Any]] = {
        "tests": lambda: _tests(),
        "stages": lambda: {str(n): _stages(n, options.frames, device) for n in options.sizes},
        "chain": lambda: _chain(),
        "profile": lambda: _profile(options.sizes[len(options.sizes) // 2], options.frames, device),
    }
    found: Found = {"machine": _machine(device), "frames": options.frames}
    for part in options.parts:
        print(f"{part} ...", file=sys.stderr, flush=True)
        try:
            found[part] = work[part]()
        except (RuntimeError, subprocess.SubprocessError) as fault:  # the other parts are worth having
            found[part] = {"fault": str(fault).splitlines()[0]}
    found["seconds"] = round(time.monotonic() - begun, 1)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "measure.json").write_text(json.dumps(found, indent=1))
    (options.out / "measure.md").write_text(_page(found))
    return Path(options.out)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="measure.sh", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("artefacts/gpu"), help="Folder for the results.")
    parser.add_argument("--cpu", action="store_true", help="Measure the CPU, to try the script.")
    parser.add_argument("--parts", type=lambda text: text.split(","), default=list(PARTS), help="Parts to run.")
    parser.add_argument("--frames", type=int, default=FRAMES, help="Frames of a batch.")
    parser.add_argument("--sizes", type=lambda text: [int(n) for n in text.split(",")], default=list(SIZES_PX))
    return parser.parse_args(arguments)


def _machine(device: torch.device) -> Found:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    versions = {"torch": torch.__version__, "cuda": torch.version.cuda, "ptycholive": VERSION}
    return {"device": name, "kind": device.type, "python": platform.python_version(), **versions}


def _tests() -> Found:
    """Run the tests marked gpu; the last line of pytest has their numbers."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests/gpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TESTS_S, check=False)
    return {"exit_status": done.returncode, "summary": (done.stdout.strip().splitlines() or ["nothing"])[-1]}


def _stages(size_px: int, frames: int, device: torch.device) -> Found:
    """Return frames a second of each stage, and of a step: group, predict, stitch."""
    stages = StageScan(size_px, frames, device).stages()
    network = stages.get("predict_network", stages["predict_lift"])
    stages["step"] = lambda: (stages["group"](), network(), stages["mosaic"]())
    return {name: round(frames / _seconds(stage, device), 1) for name, stage in stages.items()}


def _seconds(stage: Callable[[], object], device: torch.device) -> float:
    rounds: list[float] = []
    for _ in range(WARM_UP):
        stage()
    begun = time.perf_counter()
    while len(rounds) < MOST_ROUNDS and (not rounds or time.perf_counter() - begun < STAGE_S):
        _synchronise(device)
        start = time.perf_counter()
        stage()
        _synchronise(device)
        rounds.append(time.perf_counter() - start)
    return sorted(rounds)[len(rounds) // 2]


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _chain() -> Found:
    """Run the benchmark of the whole chain, in processes of its own."""
    command = [sys.executable, "-m", "daemon.cli", "bench", "--only", "chain", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=CHAIN_S, check=True)
    return dict(json.loads(done.stdout)["measurements"]["chain"])


def _profile(size_px: int, frames: int, device: torch.device) -> Found:
    """Return where one step spends its time, as a table and as numbers, us."""
    stages = StageScan(size_px, frames, device).stages()
    step = [stages["group"], stages.get("predict_network", stages["predict_lift"]), stages["mosaic"], stages["refine"]]
    for stage in step * WARM_UP:
        stage()
    kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
    with profile(activities=kinds) as profiled:
        for stage in step:
            stage()
        _synchronise(device)
    averages = profiled.key_averages()
    own = f"self_{device.type}_time_total" if device.type == "cpu" else "self_device_time_total"
    spent = {event.key: {"calls": event.count, "us": round(float(getattr(event, own)), 1)} for event in averages}
    most = sorted(spent, key=lambda key: -spent[key]["us"])[:PROFILE_ROWS]
    return {"size_px": size_px, "operations": {key: spent[key] for key in most}}


def _page(found: Found) -> str:
    machine = found["machine"]
    lines = [f"# {machine['device'] or machine['kind']}", "", f"torch {machine['torch']}, CUDA {machine['cuda']}, "]
    lines[-1] += f"batches of {found['frames']}, {found['seconds']} s in all"
    if "tests" in found:
        lines += ["", f"Tests: {found['tests'].get('summary', found['tests'].get('fault'))}"]
    lines += _table(found.get("stages", {}))
    if "chain" in found:
        lines += ["", "Whole chain: " + ", ".join(f"{key} {value}" for key, value in found["chain"].items())]
    operations = found.get("profile", {}).get("operations", {})
    if operations:
        lines += ["", f"One step and one pass, {found['profile']['size_px']} px:", ""]
        lines += ["| operation | calls | us |", "|---|---|---|"]
        lines += [f"| {key} | {row['calls']} | {row['us']} |" for key, row in operations.items()]
    return "\n".join(lines) + "\n"


def _table(stages: Found) -> list[str]:
    """Return frames a second by stage and size, with the goals at 128 px."""
    if not stages or "fault" in stages:
        return ["", f"Stages: {stages['fault']}"] if stages else []
    sizes = list(stages)
    lines = ["", "Frames a second:", "", f"| stage | {' | '.join(f'{n} px' for n in sizes)} | goal at 128 px |"]
    lines.append("|---" * (len(sizes) + 2) + "|")
    for name in stages[sizes[0]]:
        rates = " | ".join(f"{stages[n][name]:,.0f}" for n in sizes)
        lines.append(f"| {name} | {rates} | {GOALS.get(name, '')} |")
    return lines


if __name__ == "__main__":
    main()
