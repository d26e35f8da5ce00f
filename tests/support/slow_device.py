"""A daemon whose model does something before each batch: it waits, fails, or notes the frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from daemon.client import Viewer
from daemon.engine.models import Models
from ptychopinn.tensor_dict import TensorDict

FRAME_BYTES = 128 * 128 * 2


class SlowLift:
    """The lift with something done before each batch, once ``before`` is set; it notes the frames of each batch.

    An instance is the ``wrap_models`` of a daemon.
    """

    def __init__(self) -> None:
        self.before: Callable[[TensorDict], object] = lambda _group: None
        self.batches: list[list[int]] = []

    def __call__(self, models: Models) -> Models:
        self._model = models.quick
        return Models(self, None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def predict(self, group: TensorDict, *neighbours: torch.Tensor) -> torch.Tensor:
        self.batches.append(group["center_scan_id"].tolist())
        self.before(group)
        return self._model.predict(group, *neighbours)


def status_when(viewer: Viewer, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    return next(header for topic, header, _ in viewer.events() if topic == "status" and is_so(header))
