"""Finishes a prediction: optional refinement, transfer to the host, files."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from daemon.cli.progress import progress
from daemon.errors import DaemonError
from daemon.files import LiveGroup, Product, ScanFile, write_product
from ptychopinn.api import Picture, save_npz, save_plot
from ptychopinn.refine.refined_layer import Refiner
from ptychopinn.workflow.inference import Reconstruction, rfactor


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """The object ``(H, W)``, its weight and origin (pixels), the rows of the stitched frames, the group ``live``, the probe."""

    object: NDArray[np.complex64]
    weight: NDArray[np.float32]
    origin_px: tuple[int, int]
    kept: NDArray[np.int64]
    live: LiveGroup
    probe: NDArray[np.complex64]

    @property
    def rfactor(self) -> float:
        """R-factor of the best layer."""
        return self.live.rfactors.get("refined", self.live.rfactors["network"])


def finish(
    result: Reconstruction,
    probe: torch.Tensor,
    amplitude: torch.Tensor,
    positions_px: NDArray[np.float64],
    sweeps: int,
) -> Outcome:
    """Refine if ``sweeps`` is not 0, and copy everything to the host."""
    kept = np.setdiff1d(np.arange(len(amplitude)), list(result.refused))
    network, weight = (plane.cpu().numpy() for plane in result.mosaic.read())
    live = LiveGroup(
        network=network,
        network_weight=weight,
        network_origin_px=result.mosaic.origin_px,
        verdict=_account(len(amplitude), result),
        rfactors={"network": result.rfactors[-1]},
    )
    if not sweeps:
        return Outcome(network, weight, result.mosaic.origin_px, kept, live, probe=probe.cpu().numpy())
    refiner = Refiner(probe, result.mosaic.picture, buffer_bytes=amplitude.nbytes, update_probe=True)
    for index in kept.tolist():
        y, x = positions_px[index].tolist()
        refiner.add(index, amplitude[index], (y, x))
    _refine(refiner, sweeps * len(kept))
    refined, refined_weight = (plane.cpu().numpy() for plane in refiner.read())
    rfactors = {**live.rfactors, "refined": rfactor(refiner.probe, refiner, amplitude[kept], positions_px[kept])}
    live = replace(live, refined_weight=refined_weight, rfactors=rfactors)
    return Outcome(refined, refined_weight, refiner.origin_px, kept, live, probe=refiner.probe.cpu().numpy())


def _refine(refiner: Refiner, updates: int) -> None:
    with progress(updates, "refining", "updates") as bar:
        while refiner.updates < updates and (count := refiner.step()):
            bar.update(count)


def _account(frames: int, result: Reconstruction) -> dict[str, Any]:
    """Return the account of the frames, as a live scan has it."""
    refused = dict(Counter(result.refused.values()))
    names = ("duplicate", "missing", "without_position", "pending")
    stitched = frames - len(result.refused)
    return {"expected": frames, "received": frames, "stitched": stitched, **dict.fromkeys(names, 0), "refused": refused}


def write_outcome(target: Path, product: Product, outcome: Outcome, scan: ScanFile) -> None:
    """Write a product or, for ``.npz``, the picture alone."""
    try:
        if target.suffix == ".npz":
            save_npz(target, _picture(outcome, scan), scan.object)
        else:
            write_product(target, product)
    except OSError as fault:
        raise _not_written(target, fault) from fault


def write_plot(path: Path, outcome: Outcome, scan: ScanFile, window_px: int = 0) -> None:
    """Plot the object, without a border, beside the true or initial object of the scan's file, if it holds one."""
    try:
        save_plot(path, replace(_picture(outcome, scan), window_px=window_px), scan.object, title=scan.name)
    except OSError as fault:
        raise _not_written(path, fault) from fault


def _not_written(path: Path, fault: OSError) -> DaemonError:
    return DaemonError(f"{path} cannot be written ({fault.strerror or fault}); choose another --output")


def _picture(outcome: Outcome, scan: ScanFile) -> Picture:
    """Return the picture with its origin relative to the object in the scan's file."""
    y, x = (round(own - other) for own, other in zip(outcome.origin_px, scan.object_origin_px, strict=True))
    return Picture(outcome.object, outcome.weight, (y, x), len(outcome.kept), tuple(outcome.live.rfactors.values()))
