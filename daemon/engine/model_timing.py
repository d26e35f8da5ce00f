"""The time of a model for a frame, measured on blank frames before its use."""

from __future__ import annotations

import time

import numpy as np

from daemon.engine.models import ActiveModel
from daemon.engine.options import EngineOptions
from ptychopinn.device import to_host
from ptychopinn.model import Model
from ptychopinn.mosaic.groups import GroupBuilder, GroupFrame
from ptychopinn.tensor_dict import TensorDict

WARM_UP_ROUNDS = 3
"""The first round loads kernels, the later ones show the time."""


def blank_frames(model: ActiveModel, options: EngineOptions) -> list[GroupFrame]:
    """Return blank frames: as many as a batch has, and enough for a group."""
    blank = np.ones(model.probe.shape[-2:], dtype=np.float32)
    frames = max(options.batch_frames, options.gridsize**2)
    return [GroupFrame(i, blank, (0.0, 0.0)) for i in range(frames)]


def sharp_frame_s(model: ActiveModel, options: EngineOptions) -> float:
    """Return how long the sharp model takes for a frame, s; infinite where there is none."""
    if model.models.sharp is None:
        return float("inf")
    groups = GroupBuilder(options.gridsize, model.probe.shape[-1] / 2, model.probe.device)
    return _frame_s(model.models.sharp, groups.add(blank_frames(model, options))[-1][:1])


def _frame_s(model: Model, group: TensorDict) -> float:
    """Return the time of one frame, s: the best of a few."""
    best = float("inf")
    for _ in range(WARM_UP_ROUNDS):
        begun = time.perf_counter()
        to_host(model.predict(group))
        best = min(best, time.perf_counter() - begun)
    return best
