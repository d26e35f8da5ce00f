"""Short trainings of the lift's network, in one or several processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ptychopinn.errors import TrainingInterruptedError
from ptychopinn.training import lift_training
from ptychopinn.training.heldout import heldout_recipes
from ptychopinn.training.lift_training import LiftTraining, LiftTrainingSettings
from ptychopinn.training.simulated_batches import BatchSettings
from tests.support.training_scenes import StopAfter

SMALL_BATCHES = BatchSettings(lit_pixels=20_000, frames=5, large_share=0.0, bank_textures=8, bank_side_px=160)
SMALL_TRAINING = LiftTrainingSettings(
    steps=6, warmup_steps=3, log_steps=2, checkpoint_steps=2, score_steps=2, batches=SMALL_BATCHES
)


def weights_of(folder: Path) -> dict[str, bytes]:
    found = torch.load(folder / "network.pt", weights_only=True)["weights"]
    return {name: value.contiguous().numpy().tobytes() for name, value in found.items()}


def interrupted_training(rank: int, workers: int, folder: Path) -> None:
    """Train in one folder without interruption, in another with one; a process of :func:`torch.multiprocessing.spawn`."""
    torch.set_num_threads(1)
    meeting = f"file://{folder / 'rendezvous'}"
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=workers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lift_training, "heldout_recipes", lambda: heldout_recipes((64,))[:1])
        for name in ("straight", "resumed"):
            (folder / name).mkdir(exist_ok=True)
        LiftTraining(SMALL_TRAINING, folder / "straight").run()
        with pytest.raises(TrainingInterruptedError):
            LiftTraining(SMALL_TRAINING, folder / "resumed", should_stop=StopAfter(3)).run()
        LiftTraining(SMALL_TRAINING, folder / "resumed").run()
    torch.distributed.destroy_process_group()
