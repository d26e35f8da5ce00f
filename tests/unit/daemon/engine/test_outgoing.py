"""Updates on their way to the viewers: in order, in another thread, the same pixels from both placements."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from daemon.engine.loop import Engine
from daemon.engine.models import ActiveModel, Models
from daemon.engine.options import EngineOptions
from daemon.engine.outgoing import MOST_WAITING, Outgoing, Sender
from daemon.engine.ports import EngineEvents
from daemon.metrics import Metrics
from daemon.publish.snapshot import LayerUpdate
from ptychopinn.device import HostCopy, batched
from ptychopinn.model import Lift
from ptychopinn.mosaic.canvas import Box
from ptychopinn.mosaic.mosaic import Mosaic
from ptychopinn.refine.refined_layer import Refiner
from streams.frame import PositionM, ScanPoint

N, FRAMES = 16, 160
PATIENCE_S = 120.0


def update(number: int = 0) -> LayerUpdate:
    return LayerUpdate(
        scan_id="scan",
        layer="network",
        shape=(64, 64),
        origin_px=(0, 0),
        pixel_size_m=None,
        frames_stitched=number,
        frames_received=number,
        model_generation=0,
        rfactor=None,
        complete=False,
        regions=(),
        time_ns=0,
    )


def outgoing(number: int) -> Outgoing:
    return Outgoing(update(number), [], [], [])


def test_a_slow_viewer_does_not_hold_up_who_puts_and_the_order_stays() -> None:
    goes_on, sent, noted = threading.Event(), list[int](), list[int]()

    def send(one: LayerUpdate) -> None:
        goes_on.wait(60)
        sent.append(one.frames_stitched)

    sender = Sender(send, pytest.fail)
    for number in range(MOST_WAITING):
        assert not sender.is_full
        sender.put(outgoing(number), lambda number=number: noted.append(number))  # type: ignore[misc]
    assert sender.is_full
    assert sent == []
    goes_on.set()
    sender.flush()
    assert sent == noted == list(range(MOST_WAITING))
    assert not sender.is_full


def test_an_update_that_fails_is_said_and_the_next_is_sent() -> None:
    sent, faults = list[int](), list[str]()

    def send(one: LayerUpdate) -> None:
        if one.frames_stitched == 1:
            raise ValueError("broken")
        sent.append(one.frames_stitched)

    sender = Sender(send, faults.append)
    for number in range(3):
        sender.put(outgoing(number))
    sender.flush()
    assert sent == [0, 2]
    assert len(faults) == 1
    assert "broken" in faults[0]


def laid() -> tuple[Mosaic, Refiner]:
    random = np.random.default_rng(1)
    weight = torch.ones(N, N)
    patches = torch.from_numpy((random.normal(size=(9, N, N)) + 1j).astype(np.complex64))
    positions = random.uniform(0, 90, size=(9, 2))
    mosaic = Mosaic(weight)
    mosaic.add(range(9), patches, positions)
    refiner = Refiner(torch.ones(1, N, N, dtype=torch.complex64))
    for index, place in enumerate(positions.tolist()):
        refiner.add(index, torch.ones(N, N), (place[0], place[1]))
    refiner.admit_all()
    return mosaic, refiner


@pytest.mark.parametrize("layer", [0, 1])
def test_both_placements_hand_on_the_pixels_of_the_layer(layer: int) -> None:
    regions = []
    for is_batched in (False, True):
        source = laid()[layer]
        boxes = source.take_dirty()
        assert len(boxes) > 1
        if is_batched:
            with batched():
                parts = source.read_boxes(boxes)
            assert len(parts) == 1  # one copy for all
        else:
            parts = source.read_boxes(boxes)
        copies = ([HostCopy(part[k]) for part in parts] for k in (0, 1))
        regions.append(Outgoing(update(), boxes, *copies).finished().regions)
        for region in regions[-1]:
            value, weight = source.read(Box(region.y, region.x, region.h, region.w))
            assert np.array_equal(region.object, value.numpy())
            assert np.array_equal(region.weight, weight.numpy())
    assert len(regions[0]) == len(regions[1])


def test_the_engine_stitches_on_while_the_encoder_hangs() -> None:
    goes_on, hangs, is_done, stitched = threading.Event(), threading.Event(), threading.Event(), set[int]()

    def encode(_: LayerUpdate) -> None:
        hangs.set()
        goes_on.wait()

    def on_stitched(_: str, indexes: Sequence[int]) -> None:
        stitched.update(indexes)
        if len(stitched) == FRAMES:
            is_done.set()

    nothing = lambda *_: None  # noqa: E731
    events = EngineEvents(encode, on_stitched, nothing, nothing, nothing, lambda _: FRAMES)
    probe = torch.ones(1, N, N, dtype=torch.complex64)
    options = EngineOptions(lambda _: 1e-8, batch_frames=8, refine=False, publish_period_s=0.0)
    engine = Engine(ActiveModel(None, Models(Lift(probe), None), probe), options, Metrics(), events)
    engine.start()
    try:
        engine.wait_until_warm()
        counts = np.ones((N, N), dtype=np.uint16)
        points = [ScanPoint("scan", i, counts, PositionM(0.0, 2e-8 * i), time.monotonic_ns()) for i in range(FRAMES)]
        engine.submit(points[:8])
        assert hangs.wait(PATIENCE_S)
        engine.submit(points[8:])
        assert is_done.wait(PATIENCE_S), "the engine waits for the encoder"
        assert not goes_on.is_set()
    finally:
        goes_on.set()
        engine.stop()
