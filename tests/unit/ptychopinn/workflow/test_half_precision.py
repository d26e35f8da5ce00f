"""The network in half precision: taken where the picture stays, refused in words where it does not."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from ptychopinn.model import Lift
from ptychopinn.model.bundle import find_bundle, load_model
from ptychopinn.model.cnn import Cnn, CnnOptions
from ptychopinn.simulate import Recipe, simulate_scan
from ptychopinn.workflow.half_precision import MOST_CHANGE, with_dtype
from ptychopinn.workflow.inference import reconstruct


@pytest.fixture(scope="module")
def scan():
    return simulate_scan(Recipe(frames=36, counts=1e5, phase_rad=0.8, seed=5))


@pytest.fixture(scope="module")
def shipped(scan) -> Lift:
    path = find_bundle("shipped")
    assert path is not None
    model, _ = load_model(path, scan.probe)
    assert isinstance(model, Lift)
    return model


def type_of(model: Lift) -> torch.dtype:
    return next(model.network.parameters()).dtype


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_the_shipped_network_keeps_its_pictures(shipped, scan, name):
    half, refused = with_dtype(shipped, name)
    assert (refused, type_of(half), type_of(shipped)) == ("", getattr(torch, name), torch.float32)
    both = [
        reconstruct(model, scan.probe, scan.amplitude, scan.positions_px, looks=2).rfactors for model in (shipped, half)
    ]
    np.testing.assert_allclose(both[1], both[0], rtol=MOST_CHANGE)
    assert both[0] != both[1]


@pytest.mark.parametrize("name", ["float32", "auto"])
def test_on_a_cpu_all_bits_stay_unless_asked(shipped, name):
    assert with_dtype(shipped, name) == (shipped, "")


def test_what_does_not_fit_into_fewer_bits_is_refused(shipped, scan):
    network = copy.deepcopy(shipped.network)
    block = network.coders[0][0]
    with torch.no_grad():  # the same answer by way of numbers that float16 does not hold
        block.first.weight.mul_(1e6)
        block.first.bias.mul_(1e6)
        block.second.weight.div_(1e6)
    model = Lift(scan.probe, network, shipped.projections)
    got, refused = with_dtype(model, "float16")
    assert got is model
    assert "in float16 R of simulated frames changes from 0." in refused


@pytest.mark.parametrize("name", ["lift", "cnn"])
def test_other_models_are_float32_alone(scan, name):
    model = Lift(scan.probe) if name == "lift" else Cnn(CnnOptions(width_factor=1)).eval()
    assert with_dtype(model, "auto") == (model, "")
    assert with_dtype(model, "bfloat16") == (model, f"a model {name} runs in float32 only")
