"""Train the shipped network of the model ``lift``: one command, one to two hours on two CPU cores.

    python deploy/training/train_lift.py runs/lift

The training data come from the simulator (``ptychopinn.simulate``) and are drawn from a fixed seed during the training.
No measured data are read: neither the scan of the demo nor its probe, nor any other file, is in the training set or among
the held-out scans. Held-out scans have other seeds, and a probe kind and an object family that training never draws.

The plain loop (``ptychopinn.training.loop``) runs the training. The folder gets ``log.jsonl`` (losses every 50 steps,
held-out scores every 2500), ``checkpoint.pt`` (every 500 steps and every minute; the same command resumes from it) and
``network.pt`` (averaged weights). With ``--minutes`` the learning rate falls with the clock; with ``--steps`` the run
repeats exactly, also when it is interrupted and resumed.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch

from ptychopinn.errors import ReconstructionError
from ptychopinn.training.lift_training import LiftTrainingSettings, run_worker
from ptychopinn.training.loop import CHECKPOINT, load_checkpoint

STOPPED = 130
"""Exit status after Ctrl-C: 128 + SIGINT, as shells use it."""


def main() -> None:
    """Parse the command line and start the workers."""
    rate = LiftTrainingSettings().rate
    parser = argparse.ArgumentParser(description="Train the network of the model lift on simulated scans.")
    parser.add_argument("folder", type=Path, help="for log, checkpoint and weights; a training found there is resumed")
    parser.add_argument("--minutes", type=float, default=90.0, help="length of the training in minutes (90)")
    parser.add_argument("--steps", type=int, default=0, help="length in steps instead, repeatable")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="processes, one core each (2)")
    parser.add_argument("--start", default="", help="network.pt with the initial weights")
    parser.add_argument("--rate", type=float, default=rate, help=f"greatest learning rate ({rate:g})")
    options = parser.parse_args()
    settings = LiftTrainingSettings(
        minutes=options.minutes, steps=options.steps, seed=options.seed, rate=options.rate, start=options.start
    )
    options.folder.mkdir(parents=True, exist_ok=True)
    checkpoint = options.folder / CHECKPOINT
    if checkpoint.exists():
        try:
            load_checkpoint(checkpoint, settings.identity(options.workers))
        except ReconstructionError as fault:
            parser.exit(2, f"{fault}\n")
    (options.folder / "rendezvous").unlink(missing_ok=True)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    arguments = (options.workers, settings, options.folder)
    try:
        torch.multiprocessing.spawn(run_worker, arguments, nprocs=options.workers)
    except KeyboardInterrupt:
        parser.exit(STOPPED, f"stopped; the same command resumes from {checkpoint}, if it exists\n")


if __name__ == "__main__":
    main()
