"""The refined layer of several workers: regions with halos, one probe for all, phases aligned, blended without a seam.

The refiners are the engine's own; they run in turn here, and the parts of the reader lie between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from daemon.cluster.halo import Halos, width_of
from daemon.cluster.outbox import probe_report
from daemon.cluster.parts import NO_PIXELS
from daemon.cluster.regions import Regions
from daemon.cluster.shared_probe import SharedProbe
from ptychopinn.model.lift import Lift
from ptychopinn.mosaic.canvas import Box
from ptychopinn.mosaic.mosaic import Mosaic
from ptychopinn.physics.diffraction import rfactor_parts
from ptychopinn.refine.merged import MergedRefined, RefinedTile
from ptychopinn.refine.refined_layer import Refiner
from ptychopinn.simulate import Recipe, SimulatedScan, simulate_scan
from ptychopinn.workflow.inference import reconstruct
from streams.frame import PositionM, ScanPoint

FRAMES, SIZE_PX, PASSES = 400, 32, 16


@dataclass(frozen=True, eq=False)
class Scene:
    scan: SimulatedScan
    network: Mosaic
    whole: Box
    one: NDArray[np.complex64]
    probe: torch.Tensor
    lit: NDArray[np.bool_]


def passes(refiners: list[Refiner], shared: SharedProbe | None = None) -> None:
    """Work as long as each frame has had so many visits; share the probe between two passes."""
    for _ in range(PASSES):
        for number, refiner in enumerate(refiners):
            wanted = refiner.least_visits + 1
            while refiner.least_visits < wanted:
                refiner.step()
            if shared is not None:
                shared.note(number, probe_report(refiner))
        for number, refiner in enumerate(refiners if shared is not None else []):
            shared._next.clear()  # a second has gone by
            if (change := shared.change(number)) is not None:
                refiner.moving_probe.offer(torch.from_numpy(change))


def started(scene_scan: SimulatedScan, network: Mosaic, frames: list[int]) -> Refiner:
    refiner = Refiner(scene_scan.probe, network.picture, update_probe=True)
    for i in frames:
        refiner.add(i, scene_scan.amplitude[i].clone(), tuple(scene_scan.positions_px[i].tolist()))
    return refiner


@pytest.fixture(scope="module")
def scene() -> Scene:
    recipe = Recipe(size_px=SIZE_PX, frames=FRAMES, counts=1e5, phase_rad=1.0, probe_error=0.1, seed=4)
    scan = simulate_scan(recipe)
    network = reconstruct(Lift(scan.probe), scan.probe, scan.amplitude, scan.positions_px).mosaic
    one = started(scan, network, list(range(FRAMES)))
    passes([one])
    whole = Box(*one.origin_px, *one.shape)
    value, coverage = (plane.numpy() for plane in one.read())
    return Scene(scan, network, whole, value, one.probe, coverage > 0.3 * np.median(coverage[coverage > 0]))


def many(scene: Scene, workers: int) -> tuple[NDArray[np.complex64], torch.Tensor, NDArray[np.int64], list[int]]:
    """Return picture and probe of several workers, the worker with the most weight on each pixel, their frames."""
    scan = scene.scan
    positions, probe = scan.positions_px, np.asarray(scan.probe.numpy())
    regions = Regions(workers, SIZE_PX)
    halos = Halos("one", regions.side_px, width_of(probe))
    mine: list[list[int]] = [[] for _ in range(workers)]
    helpers: list[list[int]] = [[] for _ in range(workers)]
    points = [ScanPoint("one", i, NO_PIXELS, PositionM(*positions[i].tolist()), 0) for i in range(FRAMES)]
    for at in range(0, FRAMES, 16):
        some = slice(at, at + 16)
        owners = regions.owners(positions[some])
        for point, owner in zip(points[some], owners, strict=True):
            mine[owner].append(point.index)
        for worker, more in halos.frames_for(
            points[some], positions[some], owners, regions.squares_of(positions[some])
        ).items():
            helpers[worker] += [point.index for point in more]
    refiners = [started(scan, scene.network, own + more) for own, more in zip(mine, helpers, strict=True)]
    shared = SharedProbe()
    passes(refiners, shared)
    weight = (scan.probe.abs() ** 2).sum(0)
    merged, mosaics = MergedRefined(4096), []
    for number, (refiner, own) in enumerate(zip(refiners, mine, strict=True)):
        top, left = refiner.origin_px
        merged.replace(number, [RefinedTile(top, left, *(plane.numpy() for plane in refiner.read()))])
        mosaics.append(Mosaic(weight))
        mosaics[-1].add(own, torch.ones(len(own), SIZE_PX, SIZE_PX, dtype=torch.complex64), positions[own])
    merged.align(range(workers), is_last=True)

    def weight_of(part: object, box: Box) -> torch.Tensor:
        mosaic, found = mosaics[int(str(part))], torch.zeros(box.h, box.w)
        known = Box(*mosaic.origin_px, *mosaic.shape)
        both = box.shared(known)
        found[both.within(box).window] = mosaic.read(both.within(known))[1]
        return found

    top, left = merged.origin_px
    here = Box(scene.whole.y - top, scene.whole.x - left, *scene.whole[2:])
    value, _ = merged.read(weight_of, range(workers), here)
    weights = torch.stack([weight_of(number, scene.whole) for number in range(workers)])
    assert shared.probe is not None
    return value.numpy(), torch.from_numpy(shared.probe), weights.argmax(0).numpy(), list(map(len, helpers))


def without_ramp(
    value: NDArray[np.complex64], other: NDArray[np.complex64], lit: NDArray[np.bool_]
) -> NDArray[np.complex64]:
    """Return a picture with the phase and the ramp of another."""
    y, x = (places[lit] / 100 for places in np.indices(value.shape))
    base = np.stack([np.ones_like(y), y, x])
    ramp = np.zeros(3)
    for _ in range(3):
        angle = np.angle(value[lit] * other[lit].conj() * np.exp(-1j * (ramp @ base)))
        ramp += np.linalg.solve(base @ base.T, base @ angle)
    turned = value.copy()
    turned[lit] *= np.exp(-1j * (ramp @ base))
    return turned


def rfactor(scene: Scene, value: NDArray[np.complex64], probe: torch.Tensor) -> float:
    scan, half = scene.scan, SIZE_PX // 2
    corners = np.round(scan.positions_px).astype(int) - half - np.array(scene.whole[:2])
    patches = torch.from_numpy(np.stack([value[y : y + SIZE_PX, x : x + SIZE_PX] for y, x in corners.tolist()]))
    misfit, total = rfactor_parts(probe, patches, scan.amplitude)
    return float(misfit / total)


def phase_steps(value: NDArray[np.complex64], owner: NDArray[np.int64], lit: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the mean |phase step| between neighbouring pixels, across the cuts and elsewhere."""
    across, elsewhere = [], []
    for axis in (0, 1):
        first, second = (np.arange(value.shape[axis] - 1) + shift for shift in (0, 1))
        ahead, behind = np.take(value, second, axis), np.take(value, first, axis)
        step = np.abs(np.angle(ahead * behind.conj()))
        is_lit = np.take(lit, first, axis) & np.take(lit, second, axis)
        is_cut = np.take(owner, first, axis) != np.take(owner, second, axis)
        across.append(step[is_lit & is_cut])
        elsewhere.append(step[is_lit & ~is_cut])
    return float(np.concatenate(across).mean()), float(np.concatenate(elsewhere).mean())


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_give_the_refined_layer_of_one_engine(scene: Scene, workers: int) -> None:
    value, probe, owner, helpers = many(scene, workers)
    assert 0 < sum(helpers) < FRAMES * workers / 2, "halos, not copies of the whole scan"
    turned = without_ramp(value, scene.one, scene.lit)
    phases = [
        np.angle(picture[scene.lit] * np.exp(-1j * np.angle(scene.one[scene.lit].sum())))
        for picture in (scene.one, turned)
    ]
    assert np.corrcoef(*phases)[0, 1] >= 0.995
    assert abs(rfactor(scene, value, probe) - rfactor(scene, scene.one, scene.probe)) < 0.001
    across, elsewhere = phase_steps(turned, owner, scene.lit)
    across_one, elsewhere_one = phase_steps(scene.one, owner, scene.lit)
    assert abs(across / elsewhere / (across_one / elsewhere_one) - 1) < 0.05
