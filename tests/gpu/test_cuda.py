"""The chain's numerics on a CUDA device give the CPU's pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ptychopinn.device import Replayed, release_memory
from ptychopinn.model import Lift
from ptychopinn.model.network import CorrectionNet
from ptychopinn.refine.refined_layer import Refiner
from ptychopinn.simulate import Recipe, simulate_scan
from ptychopinn.workflow.inference import reconstruct, single_group

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
        model = Lift(probe, network.to(device)) if has_network else Lift(probe)
        mosaic = reconstruct(model, probe, amplitude, scan.positions_px, looks=2).mosaic
        refiner = Refiner(probe, mosaic.cut)
        for index, (y, x) in enumerate(scan.positions_px.tolist()):
            refiner.add(index, amplitude[index], (y, x))
        while refiner.least_visits < 3:
            refiner.step()
        pictures.append([p.cpu().numpy() for p in (*mosaic.read(), *refiner.read())])
    for on_cpu, on_cuda in zip(*pictures, strict=True):
        np.testing.assert_allclose(on_cuda, on_cpu, atol=2e-3)


def test_a_look_is_replayed_as_a_graph_and_gives_the_same_picture():
    scan = simulate_scan(Recipe(frames=36, seed=2))
    torch.manual_seed(0)
    model = Lift(scan.probe.cuda(), CorrectionNet((8, 16), (1, 1)).eval().cuda())
    groups = [single_group(scan.amplitude[part, None].cuda()) for part in (slice(0, 12), slice(12, 24), slice(24, 36))]
    plain = [model.predict(group) for group in groups]  # the first of them without a graph, the others by it
    assert [run is not None for run in model._look_at._graphs.values()] == [True]
    release_memory(torch.device("cuda"))
    assert not model._look_at._graphs
    for group, patches in zip(groups, plain, strict=True):
        torch.testing.assert_close(Lift(model.probe, model.network).predict(group), patches, atol=1e-4, rtol=1e-4)


def test_what_cannot_be_captured_is_called(caplog: pytest.LogCaptureFixture):
    replayed = Replayed(lambda tensor: tensor * float(tensor.sum()))  # waits for the device
    ones = torch.ones(2, device="cuda")
    for _ in range(3):
        assert replayed(ones).tolist() == [2.0, 2.0]
    assert len(caplog.messages) == 1
    assert (ones + 1).tolist() == [2.0, 2.0]
