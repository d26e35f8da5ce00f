"""The chain's numerics on a CUDA device give the CPU's pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ptychopinn.inference import reconstruct
from ptychopinn.model import build_model
from ptychopinn.model.network import CorrectionNet, LiftNet
from ptychopinn.refine import Refiner
from ptychopinn.simulate import Recipe, simulate_scan

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("has_network", [False, True])
def test_mosaic_and_refined_object_on_cuda_are_those_of_the_cpu(has_network: bool):
    scan = simulate_scan(Recipe(frames=36, seed=2))
    torch.manual_seed(0)
    network = CorrectionNet((8, 16), (1, 1)).eval()
    pictures = []
    for device in ("cpu", "cuda"):
        probe, amplitude = scan.probe.to(device), scan.amplitude.to(device)
        model = LiftNet(probe, network.to(device)) if has_network else build_model("lift", probe)
        mosaic = reconstruct(model, probe, amplitude, scan.positions_px, looks=2).mosaic
        refiner = Refiner(probe, mosaic.cut)
        for index, (y, x) in enumerate(scan.positions_px.tolist()):
            refiner.add(index, amplitude[index], (y, x))
        while refiner.least_visits < 3:
            refiner.step()
        pictures.append([p.cpu().numpy() for p in (*mosaic.read(), *refiner.read())])
    for on_cpu, on_cuda in zip(*pictures, strict=True):
        np.testing.assert_allclose(on_cuda, on_cpu, atol=2e-3)
