"""The light of each frame: found where it varies, and 1 where it does not."""

from __future__ import annotations

import numpy as np
import pytest

from ptychopinn.refine.refined_layer import Refiner
from ptychopinn.simulate import Recipe, simulate_scan

FRAMES = 49


@pytest.mark.parametrize("spread", [0.0, 0.15])
def test_the_light_of_each_frame_is_found(spread: float) -> None:
    scan = simulate_scan(Recipe(size_px=32, frames=FRAMES, counts=1e6, phase_rad=0.8, seed=4))
    true = np.exp(np.random.default_rng(0).normal(scale=spread, size=FRAMES))
    true /= true.mean()
    rfactors = []
    for finds_light in (False, True):
        refiner = Refiner(scan.probe, finds_light=finds_light)
        for index, (pattern, (y, x)) in enumerate(zip(scan.amplitude, scan.positions_px.tolist(), strict=True)):
            refiner.add(index, pattern * float(true[index]), (y, x))
        while refiner.least_visits < 40:
            refiner.step()
        rfactors.append(refiner.rfactor)
    found = np.array([refiner.light(index) for index in range(FRAMES)])
    assert float(np.std(found / true)) < max(0.01, 0.3 * spread)
    assert found.mean() == pytest.approx(1.0)
    assert rfactors[1] < (0.5 if spread else 1.1) * rfactors[0]


def test_a_monitor_gives_the_light_of_each_frame() -> None:
    scan = simulate_scan(Recipe(size_px=32, frames=FRAMES, counts=1e6, phase_rad=0.8, seed=4))
    monitor = np.exp(np.random.default_rng(0).normal(scale=0.3, size=FRAMES))
    rfactors = []
    for has_monitor in (False, True):
        refiner = Refiner(scan.probe, has_monitor=has_monitor)
        for index, (pattern, (y, x)) in enumerate(zip(scan.amplitude, scan.positions_px.tolist(), strict=True)):
            refiner.add(index, pattern * float(monitor[index]) ** 0.5, (y, x), 1e5 * float(monitor[index]))
        while refiner.least_visits < 10:
            refiner.step()
        rfactors.append(refiner.rfactor)
    assert rfactors[1] < 0.5 * rfactors[0]
    assert refiner.light(3) == pytest.approx((monitor[3] / monitor.mean()) ** 0.5, rel=1e-6)
