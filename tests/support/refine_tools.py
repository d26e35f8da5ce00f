"""A simulated scan that the refiner works on from nothing, and how right it is."""

from __future__ import annotations

from torch import Tensor

from ptychopinn.mosaic.canvas import Box
from ptychopinn.refine.refined_layer import Refiner
from ptychopinn.simulate import SimulatedScan
from ptychopinn.training.heldout import Layout


def refined(scan: SimulatedScan, visits: int, probe: Tensor | None = None) -> Refiner:
    """Return a refiner that began with nothing and has visited each frame so often."""
    refiner = Refiner(scan.probe if probe is None else probe)
    for i, (y, x) in enumerate(scan.positions_px.tolist()):
        refiner.add(i, scan.amplitude[i], (y, x))
    while refiner.least_visits < visits:
        refiner.step()
    return refiner


def correlation(refiner: Refiner, scan: SimulatedScan) -> float:
    """Return the correlation of its phase with the truth's."""
    layout = Layout(scan)
    top, left = (a - o for a, o in zip(scan.corners_px.min(axis=0).tolist(), refiner.origin_px, strict=True))
    return layout.correlation(refiner.read(Box(top, left, *layout.truth.shape))[0])
