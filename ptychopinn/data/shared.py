"""Building a store once for all processes of a distributed training."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ptychopinn.data.loader import Share


def once(build: Callable[[], None]) -> None:
    """Let rank 0 build while the others wait; a fault there is raised everywhere."""
    share = Share.current()
    fault: list[Exception | None] = [None]
    if share.rank == 0:
        try:
            build()
        except Exception as raised:
            fault[0] = raised
    if share.workers > 1:
        torch.distributed.broadcast_object_list(fault, src=0)
    if fault[0] is not None:
        raise fault[0]
