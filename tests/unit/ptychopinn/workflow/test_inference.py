"""Inference: batches, whole scans, second looks, and frames that cannot be stitched."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ptychopinn.api import InferenceEngine, PtychoModel
from ptychopinn.errors import GeometryError
from ptychopinn.model import Lift
from ptychopinn.model.bundle import Bundle, write_bundle
from ptychopinn.model.network import CorrectionNet
from ptychopinn.refine.neighbour_passes import NeighbourPasses
from ptychopinn.simulate import Recipe, simulate_scan
from ptychopinn.workflow.inference import BATCHES, choose_batch, reconstruct


@pytest.fixture(scope="module")
def scan():
    return simulate_scan(Recipe(frames=25, modes=2, counts=1e5, phase_rad=0.8, seed=5))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PtychoModel:
    """Return a small model whose answer is not zero, by way of a bundle."""
    torch.manual_seed(0)
    network = CorrectionNet((8, 16), (1, 1))
    with torch.no_grad():
        network.head.weight.normal_(std=0.02)
    path = tmp_path_factory.mktemp("model") / "small.zip"
    write_bundle(path, Bundle("small", "lift-correction", network.architecture, network.state_dict()))
    return PtychoModel.load(path)


@pytest.mark.parametrize("looks", [1, 2])
def test_a_scan_does_not_depend_on_the_batch(scan, model, looks):
    lift = model.for_probe(scan.probe)
    results = [
        reconstruct(lift, scan.probe, scan.amplitude, scan.positions_px, looks=looks, batch=size) for size in (25, 4, 1)
    ]
    for other in results[1:]:
        np.testing.assert_allclose(other.rfactors, results[0].rfactors, rtol=1e-5)
        (picture, weight), (expected, total) = other.mosaic.read(), results[0].mosaic.read()
        torch.testing.assert_close(weight, total)
        lit = total > 0.01 * total.max()  # where hardly any light falls the passes magnify rounding
        torch.testing.assert_close(picture[lit], expected[lit], rtol=1e-4, atol=1e-4)
    assert len(results[0].rfactors) == looks


def test_a_second_look_starts_from_the_neighbours_after_the_passes(scan, model):
    lift = model.for_probe(scan.probe)
    asked = []

    class Spy(Lift):
        def predict(self, group, start=None, support=None):
            asked.append((start, support))
            return super().predict(group, start, support)

    reconstruct(Spy(scan.probe, lift.network), scan.probe, scan.amplitude, scan.positions_px, looks=2, batch=25)
    (none, _), (start, support) = asked
    assert none is None
    first = reconstruct(lift, scan.probe, scan.amplitude, scan.positions_px, looks=1).mosaic
    frames = [(pattern, (y, x)) for pattern, (y, x) in zip(scan.amplitude, scan.positions_px.tolist(), strict=True)]
    passes = NeighbourPasses(scan.probe, first, frames)
    passes.run()
    expected = passes.surroundings(scan.positions_px[3:4], torch.ones(64, 64))[0][0]
    torch.testing.assert_close(start[3, 0, 20:44, 20:44], expected[20:44, 20:44], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(expected, first.cut(frames[3][1]), atol=0.1)
    lonely = reconstruct(lift, scan.probe, scan.amplitude[:1], scan.positions_px[:1], looks=2)
    assert float(support[12].max()) > 0.5
    assert np.isfinite(lonely.rfactors).all()


def test_the_lift_alone_looks_again_too_and_the_patterns_fit_better(scan):
    lift = Lift(scan.probe)
    result = reconstruct(lift, scan.probe, scan.amplitude, scan.positions_px, looks=3, batch=7)
    once = reconstruct(lift, scan.probe, scan.amplitude, scan.positions_px)
    assert once.rfactors == pytest.approx(result.rfactors[:1])
    assert result.rfactors[2] < result.rfactors[1] < 0.99 * result.rfactors[0]


def test_a_broken_frame_is_left_out_and_the_others_stay_as_they_are(scan):
    lift = Lift(scan.probe)
    amplitude = scan.amplitude.clone()
    amplitude[7] = torch.nan
    result = reconstruct(lift, scan.probe, amplitude, scan.positions_px)
    assert result.refused == {7: "not_finite"}
    lost = scan.positions_px.copy()
    lost[7] = np.nan
    assert reconstruct(lift, scan.probe, scan.amplitude, lost).refused == {7: "bad_position"}
    rest = [i for i in range(25) if i != 7]
    without = reconstruct(lift, scan.probe, scan.amplitude[rest], scan.positions_px[rest])
    assert result.rfactors == pytest.approx(without.rfactors)
    with pytest.raises(GeometryError, match="none of the 25 frames can be stitched .not_finite"):
        reconstruct(lift, scan.probe, torch.full_like(amplitude, torch.nan), scan.positions_px)


def test_positions_in_a_wrong_unit_are_refused_before_memory_is_taken(scan):
    with pytest.raises(GeometryError, match="check the positions' unit and the object pixel"):
        reconstruct(Lift(scan.probe), scan.probe, scan.amplitude, scan.positions_px * 1e6)


def test_the_batch_is_measured_once(scan, model, monkeypatch):
    measured = []

    def measure(*arguments):
        measured.append(choose_batch(*arguments))
        return measured[-1]

    monkeypatch.setattr("ptychopinn.workflow.inference_engine.choose_batch", measure)
    engine = InferenceEngine(model)
    one, other = (engine.predict(scan.amplitude[:5], probe=scan.probe) for _ in range(2))
    assert len(measured) == 1
    assert measured[0] in BATCHES
    np.testing.assert_array_equal(one, other)
    assert (one.shape, one.dtype) == ((5, 1, 64, 64), np.complex64)


def test_groups_without_positions_are_frames_apart(scan, model):
    images = scan.amplitude[:8].reshape(2, 4, 64, 64)
    patches = InferenceEngine(model).predict(images, probe=scan.probe, batch=3)
    singles = InferenceEngine(model).predict(scan.amplitude[:8], probe=scan.probe, batch=8)
    np.testing.assert_allclose(patches.reshape(8, 1, 64, 64), singles, atol=1e-4)


def test_a_scan_through_the_public_interface(scan, model):
    engine = InferenceEngine(model)
    result = engine.predict_and_stitch(scan.amplitude, scan.positions_px, probe=scan.probe, looks=2)
    assert len(result.rfactors) == 2
    assert not result.refused
    with pytest.raises(GeometryError, match="do not fit together"):
        engine.predict_and_stitch(scan.amplitude, scan.positions_px[:-1], probe=scan.probe)


def test_upstreams_signature(scan, model):
    images, factor = scan.amplitude[:4].reshape(1, 4, 64, 64), torch.full((1, 1, 1, 1), 0.5)
    where = torch.from_numpy(scan.positions_px[:4]).float()
    positions = (where - where.mean(0))[None, :, None]
    patches = model.forward_predict(images, positions, scan.probe, torch.ones(1, 1, 1, 1))
    assert (patches.shape, patches.dtype) == (images.shape, torch.complex64)
    batched = scan.probe.expand(1, 4, -1, -1, -1)
    torch.testing.assert_close(model.forward_predict(images * 2, positions, batched, factor), patches)
    with pytest.raises(GeometryError, match="several probes"):
        model.forward_predict(images, positions, batched * torch.arange(4).view(1, 4, 1, 1, 1), factor)
    with pytest.raises(GeometryError, match=r"give .modes, N, N"):
        model.forward_predict(images, positions, scan.probe[0, 0], factor)
