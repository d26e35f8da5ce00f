"""Train the shipped network of the model ``lift``: one command, on two CPU cores in an hour or two.

    python deploy/training/train_lift.py runs/lift

Everything it learns from comes from the simulator (``ptychopinn.simulate``), drawn from a fixed seed while it trains.
No measured data are read: neither the scan that the demo streams nor its probe, nor any other file, is in the training
set or among the held-out scans. Held-out scans have other seeds, and a probe kind and an object family that training
never draws.

The folder gets ``log.jsonl`` (losses every 50 steps, held-out scores every 2500), ``checkpoint.pt`` (every 500 steps;
the same command goes on from it) and ``network.pt`` (averaged weights). ``--minutes`` lets the learning rate fall with
the clock; ``--steps`` gives a run that repeats exactly, apart from a restart (the textures are then drawn anew).
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch

from ptychopinn.training.lift_training import Settings, run_worker


def main() -> None:
    """Parse the command line and start the workers."""
    parser = argparse.ArgumentParser(description="Train the network of the model lift on simulated scans.")
    parser.add_argument("folder", type=Path, help="where log, checkpoint and weights go; a run found there goes on")
    parser.add_argument("--minutes", type=float, default=90.0, help="length of the training on the clock (90)")
    parser.add_argument("--steps", type=int, default=0, help="length in steps instead, repeatable")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="processes, one core each (2)")
    parser.add_argument("--start", default="", help="network.pt to begin with")
    parser.add_argument("--rate", type=float, default=Settings.rate, help="greatest learning rate")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / "rendezvous").unlink(missing_ok=True)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    settings = Settings(
        minutes=options.minutes, steps=options.steps, seed=options.seed, rate=options.rate, start=options.start
    )
    arguments = (options.workers, settings, options.folder)
    try:
        torch.multiprocessing.spawn(run_worker, arguments, nprocs=options.workers)
    except KeyboardInterrupt:
        parser.exit(130, f"stopped; the same command goes on from {options.folder / 'checkpoint.pt'}, if it is there\n")


if __name__ == "__main__":
    main()
