"""The chain on a device that is not there: every tensor on the right device, and the host reads as little as it may."""

from __future__ import annotations

import numpy as np
import torch

from daemon.engine.models import ActiveModel, Models
from daemon.engine.options import EngineOptions
from daemon.engine.scan import ScanWork
from daemon.engine.scan_output import outgoing_update
from ptychopinn.model import Lift
from ptychopinn.model.network import CorrectionNet
from ptychopinn.mosaic.groups import GroupFrame
from tests.support.fake_cuda import CUDA, fake_cuda, on_cuda

N, FRAMES = 16, 121
ANSWER = 50.0
"""A value that makes a phase ramp certain, so that its code runs too."""
PASSES = 4
"""Enough for the probe to follow, and for both passes that look at slow phase and those that do not."""


def frames():
    random = np.random.default_rng(0)
    places = (np.stack(np.divmod(np.arange(FRAMES), 11), axis=1) * 2.0 + 0.3).tolist()
    return [GroupFrame(i, random.random((N, N), dtype=np.float32), (y, x)) for i, (y, x) in enumerate(places)]


def scan_work():
    network = on_cuda(CorrectionNet((8, 16), (1, 1)).eval())
    probe = torch.ones(2, N, N, dtype=torch.complex64, device=CUDA)
    models = Models(Lift(probe), Lift(probe, network))
    return ScanWork("fake", ActiveModel(None, models, probe), EngineOptions(lambda _: 1e-8), looks_again=True)


def assert_published_without_a_wait(work, reads, layer):
    with reads.at_most(0):
        outgoing = outgoing_update(work, layer, frames_received=FRAMES, time_ns=0, is_complete=False)
    assert outgoing.boxes
    (pixels,), (weights,) = outgoing.pixels, outgoing.weights  # one copy for all that has changed
    assert pixels.nbytes == 2 * weights.nbytes == 8 * sum(box.h * box.w for box in outgoing.boxes)


def test_the_chain_keeps_its_tensors_on_the_device_and_reads_once_a_batch_or_pass(monkeypatch):
    with fake_cuda(monkeypatch, ANSWER) as reads:
        work, some = scan_work(), frames()
        with reads.at_most(0):
            (group,) = work.group(some)
            amplitude = group["images"][:, 0]
            patches = [model.predict(group)[:, 0] for model in (work.model.models.quick, work.model.models.sharp)]
        assert {t.device for t in (amplitude, *patches)} == {CUDA}
        with reads.at_most(1):  # which patches are finite
            work.lay(group, patches[0], is_quick=True)
        with reads.at_most(0):
            work.keep(some, amplitude, looks=0)
        with reads.at_most(1):
            work.look_again(FRAMES, has_ended=True)
        assert work.mosaic.read()[0].device == CUDA
        assert_published_without_a_wait(work, reads, "network")


def test_a_pass_of_the_refined_layer_reads_once(monkeypatch):
    with fake_cuda(monkeypatch, ANSWER) as reads:
        work, some = scan_work(), frames()
        (group,) = work.group(some)
        amplitude = group["images"][:, 0]
        work.lay(group, work.model.models.quick.predict(group)[:, 0])
        work.keep(some, amplitude, looks=1)
        refiner = work.refiner
        with reads.at_most(2):  # the frames' sums, when they are admitted
            refiner.admit_all()
        for visits in range(1, PASSES + 1):
            with reads.at_most(1):
                while refiner.least_visits < visits:
                    refiner.step()
        assert refiner.setbacks == 0
        assert {t.device for t in refiner.read()} == {CUDA}
        assert_published_without_a_wait(work, reads, "refined")
