"""Training throughput of the cnn at upstream's size: N = 64, groups of 4, batch 16; full network, and frozen encoder.

    python deploy/training/throughput.py [--compile] [--steps N]

Groups a second of wall clock, and of one core's time, which other programs on the machine do not change much.
"""

from __future__ import annotations

import argparse
import json
import time

import torch

from ptychopinn.config.manager import ConfigManager
from ptychopinn.data.dataset import GroupBatch
from ptychopinn.data.experiment import Experiment
from ptychopinn.data.gather import ExperimentFrames, gather
from ptychopinn.data.grouping import draw_groups
from ptychopinn.model.cnn import TrainableCnn
from ptychopinn.model.cnn_config import cnn_options, physics_options
from ptychopinn.model.cnn_scaling import normalise_probe
from ptychopinn.simulate import Recipe, simulate_scan
from ptychopinn.training.freeze import freeze_encoder, set_training
from ptychopinn.training.loss_stages import Stages
from ptychopinn.training.optimise import make_optimiser
from ptychopinn.training.task import BatchIndex, GroupTask

BATCH = 16


def first_batch(configs: ConfigManager) -> GroupBatch:
    """Return one batch of a simulated scan."""
    import numpy as np

    scan = simulate_scan(Recipe(size_px=64, frames=100, overlap_ratio=0.9))
    data = configs.data_config
    whole = Experiment("scan", scan.amplitude.numpy(), scan.positions_px, scan.probe.numpy())
    members, _ = draw_groups(scan.positions_px, data, np.random.default_rng(0))
    frames = ExperimentFrames.of(whole, data, np.arange(100))
    probe, q = normalise_probe(scan.probe)
    group = gather(frames, torch.from_numpy(members[:BATCH]), 0, data, has_labels=False)
    return GroupBatch(group, probe[None, None].expand(BATCH, -1, -1, -1, -1), torch.full((BATCH, 1, 1, 1), q))


def measure(*, is_frozen: bool, is_compiled: bool, steps: int) -> dict[str, float]:
    """Return groups a second of steps as both loops make them."""
    configs = ConfigManager()
    batch = first_batch(configs)
    network = TrainableCnn(
        cnn_options(configs.data_config, configs.model_config),
        physics_options(configs.data_config, configs.model_config),
    )
    task = GroupTask(network, configs.model_config, Stages())
    network.use_acting_weights_only()
    if is_frozen:
        freeze_encoder(network)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if is_compiled:
        network.autoencoder.compile()
    optimiser = make_optimiser(network, configs.training_config, 1e-3)
    set_training(network, is_frozen=is_frozen)

    def step() -> None:
        task.loss(batch, BatchIndex(0, 0))["loss"].backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    for _ in range(3):
        step()
    begun, cpu = time.perf_counter(), time.process_time()
    for _ in range(steps):
        step()
    wall, used = time.perf_counter() - begun, time.process_time() - cpu
    return {"groups_per_s": steps * BATCH / wall, "groups_per_core_s": steps * BATCH / used}


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--steps", type=int, default=10)
    wanted = parser.parse_args()
    found = {
        name: measure(is_frozen=is_frozen, is_compiled=wanted.compile, steps=wanted.steps)
        for name, is_frozen in (("full", False), ("frozen encoder", True))
    }
    print(json.dumps({"threads": torch.get_num_threads(), "compiled": wanted.compile, **found}, indent=1))


if __name__ == "__main__":
    main()
