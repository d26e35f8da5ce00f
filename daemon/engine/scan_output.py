"""Output of the engine for a scan: updates of its layers for viewers, the result for its product."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from daemon.engine.outgoing import Outgoing
from daemon.engine.result import ScanResult, host_layer
from daemon.engine.scan import ScanWork
from daemon.publish.snapshot import LayerName, LayerUpdate
from ptychopinn.device import HostCopy, to_host
from ptychopinn.mosaic.canvas import Box


def outgoing_update(
    work: ScanWork, layer: LayerName, *, frames_received: int, time_ns: int, is_complete: bool
) -> Outgoing | None:
    """Return what changed in a layer since the last call, on its way to the host; None if nothing did."""
    source = work.mosaic if layer == "network" else work.refiner
    if source is None:
        return None
    boxes = source.take_dirty()
    if not boxes and not is_complete:
        return None
    if layer in work.unseen:  # viewers hold another picture of this scan
        work.unseen.discard(layer)
        boxes = [Box(0, 0, *source.shape)]
    update = LayerUpdate(
        scan_id=work.scan_id,
        layer=layer,
        shape=source.shape,
        origin_px=source.origin_px,
        pixel_size_m=work.pixel_size_m,
        frames_stitched=work.stitched,
        frames_received=frames_received,
        model_generation=work.made_by.generation,
        rfactor=work.scores.rfactors.get(layer),
        complete=is_complete,
        regions=(),
        time_ns=time_ns,
    )
    parts = source.read_boxes(boxes) if boxes else []
    return Outgoing(update, boxes, [HostCopy(value) for value, _ in parts], [HostCopy(weight) for _, weight in parts])


def scan_result(work: ScanWork) -> ScanResult:
    """Return both layers as they are."""
    nothing = np.zeros((0, 0), np.complex64), np.zeros((0, 0), np.float32)
    network, weight = host_layer(work.mosaic) if work.is_readable else nothing
    refiner = work.refiner
    refined, refined_weight = (None, None) if refiner is None else host_layer(refiner)
    indexes = work.places.indexes
    order = np.argsort(indexes)
    probe = work.model.probe if refiner is None else refiner.probe
    offsets_px = _offsets_px(work)
    return ScanResult(
        scan_id=work.scan_id,
        network=network,
        network_weight=weight,
        network_origin_px=work.mosaic.origin_px,
        refined=refined,
        refined_weight=refined_weight,
        refined_origin_px=None if refiner is None else refiner.origin_px,
        probe=np.asarray(to_host(probe), dtype=np.complex64),
        model=work.made_by,
        indexes=indexes[order],
        positions_px=work.places.told_px[order],
        rfactors=dict(work.scores.rfactors),
        pixel_ratio=work.pixel_ratio,
        offsets_px=None if offsets_px is None else offsets_px[order],
        position_error_px=work.places.error_px,
        certainty=work.scores.certainty,
        resolution=None if refiner is None else work.resolution.latest,
        doubts=work.scores.doubts,
        left_out=() if refiner is None else tuple(sorted(refiner.left_out)),
    )


def _offsets_px(work: ScanWork) -> NDArray[np.float64] | None:
    """Return used minus measured positions ``(n, 2)`` in the order of stitching; None if positions stay as measured."""
    offsets_px = work.offsets_px
    return None if offsets_px is None else offsets_px(work.places.indexes)
