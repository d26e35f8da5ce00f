"""The network layer's sums for a reader that merges the mosaics of several engines, in place of pictures for viewers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from daemon.engine.models import ModelIdentity
from daemon.engine.scan import ScanWork
from ptychopinn.device import to_host
from ptychopinn.mosaic.merged import SumTile


@dataclass(frozen=True, slots=True, eq=False)
class SumsUpdate:
    """Tiles that changed in an engine's mosaic of a scan, with its R-factors and the newest model in it."""

    scan_id: str
    tiles: Sequence[SumTile]
    rfactors: Mapping[str, float]
    stitched: int
    model: ModelIdentity


class SumsPort(Protocol):
    """Takes sums; called in the engine's thread."""

    def wants(self) -> bool:
        """Whether tiles that changed are to be handed on now; the last ones of a scan always are."""

    def take(self, update: SumsUpdate) -> None:
        """Take an update."""


def sums_update(work: ScanWork, *, is_complete: bool) -> SumsUpdate | None:
    """Return the tiles that changed since the last call, copied to the host; None if none did and more is to come."""
    boxes = work.mosaic.take_dirty()
    if not boxes and not is_complete:
        return None
    top, left = work.mosaic.origin_px
    tiles = []
    for box in boxes:
        values, weights = (np.array(to_host(plane), dtype=np.float64) for plane in work.mosaic.read_sums(box))
        tiles.append(SumTile(box.y + top, box.x + left, values, weights))
    return SumsUpdate(work.scan_id, tiles, dict(work.scores.rfactors), work.stitched, work.made_by)
