"""The result of a scan that several workers reconstructed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from daemon.cluster.refined import mean_certainty
from daemon.cluster.scan import ClusterScan
from daemon.engine.models import ModelIdentity
from daemon.engine.result import ScanResult


def merged_result(scan: ClusterScan, probe: NDArray[np.complex64], model: ModelIdentity) -> ScanResult:
    """Return the merged pictures as they are; ``probe`` and ``model`` are those in use.

    Resolution and doubts are those of the part with the most frames: a part of a few frames doubts for that alone.
    """
    found = scan.copied()
    refined, rfactors = found.refined, found.rfactors
    if refined is None:
        rfactors.pop("refined", None)
    elif (mean := scan.refined.probe.probe) is not None:
        probe = mean
    results = [part.result.result for part in scan.parts if part.result is not None]
    largest = None if scan.largest.result is None else scan.largest.result.result
    order = np.argsort(found.indexes)
    return ScanResult(
        scan_id=scan.scan_id,
        network=found.network,
        network_weight=found.network_weight,
        network_origin_px=found.origin_px,
        refined=None if refined is None else refined[0],
        refined_weight=None if refined is None else refined[1],
        refined_origin_px=None if refined is None else scan.refined.picture.origin_px,
        probe=probe,
        model=model if scan.model is None else scan.model,
        indexes=found.indexes[order],
        positions_px=found.told_px[order],
        rfactors=rfactors,
        certainty=None if refined is None else mean_certainty(results),
        resolution=None if refined is None or largest is None else largest.resolution,
        left_out=tuple(sorted({index for result in results for index in result.left_out})),
        doubts=() if largest is None else largest.doubts,
    )
