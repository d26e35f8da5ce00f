"""A daemon whose model does something before each batch: it waits, fails, or notes the frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tensordict import TensorDict

from daemon.app import Daemon
from daemon.client import Viewer
from daemon.work import Models

FRAME_BYTES = 128 * 128 * 2


class Wrapped:
    """A model with something done before each batch."""

    def __init__(self, model: Any, before: Callable[[TensorDict], None]) -> None:
        self._model, self._before, self.batches = model, before, []

    def predict(self, group: TensorDict) -> torch.Tensor:
        self.batches.append(group["center_scan_id"].tolist())
        self._before(group)
        return self._model.predict(group)


def wrap(daemon: Daemon, before: Callable[[TensorDict], None]) -> Wrapped:
    wrapped = Wrapped(daemon._engine._models.quick, before)
    daemon._engine._models = Models(wrapped, None)  # type: ignore[arg-type]
    return wrapped


def status_when(viewer: Viewer, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    return next(header for topic, header, _ in viewer.events() if topic == "status" and is_so(header))
