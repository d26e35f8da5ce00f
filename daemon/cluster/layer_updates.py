"""What changed in the merged layers of a scan since the last call, for viewers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from daemon.cluster.scan import ClusterScan
from daemon.publish.snapshot import LayerName, LayerUpdate, Region
from ptychopinn.device import to_host
from ptychopinn.mosaic.canvas import Box
from ptychopinn.mosaic.merged import MergedParts


@dataclass(frozen=True, slots=True)
class Moment:
    """Frames received and the time of an update, ns; whether nothing more is to come."""

    frames_received: int
    time_ns: int
    is_complete: bool


def network_update(scan: ClusterScan, now: Moment) -> LayerUpdate | None:
    """Return what changed in the network layer; None if nothing did and more is to come."""
    with scan.lock:
        boxes = scan.mosaic.take_dirty()
        if not boxes and not now.is_complete:
            return None
        return _update(scan, "network", scan.mosaic, [(box, *scan.mosaic.read(box, scan.shown)) for box in boxes], now)


def refined_update(scan: ClusterScan, now: Moment) -> LayerUpdate | None:
    """Return what changed in the refined layer; None without one, and if nothing did and more is to come."""
    with scan.lock:
        if not scan.refined.is_there:
            return None
        boxes = scan.refined.changed(is_last=now.is_complete)
        if not boxes and not now.is_complete:
            return None
        return _update(scan, "refined", scan.refined.picture, boxes, now)


def _update(
    scan: ClusterScan, layer: LayerName, picture: MergedParts, boxes: Sequence[tuple[Box, Tensor, Tensor]], now: Moment
) -> LayerUpdate:
    regions = tuple(
        Region(*box, object=np.asarray(to_host(value)), weight=np.asarray(to_host(weight)))
        for box, value, weight in boxes
    )
    return LayerUpdate(
        scan_id=scan.scan_id,
        layer=layer,
        shape=picture.shape,
        origin_px=picture.origin_px,
        pixel_size_m=scan.pixel_size_m,
        frames_stitched=len(scan.places),
        frames_received=now.frames_received,
        model_generation=0 if scan.model is None else scan.model.generation,
        rfactor=scan.rfactors.get(layer),
        complete=now.is_complete,
        regions=regions,
        time_ns=now.time_ns,
    )
