"""NTNDArray from a real pvAccess server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from p4p import Value

from streams.codecs import CODECS
from streams.codecs.base import EncodedFrame
from streams.detectors.pva import PvaReceiver
from streams.errors import CodecError, EndpointError
from streams.frame import ScanEnd, ScanStart
from tests.support.pva_tools import NAME, Detector, image
from tests.support.stream_tools import WAIT_S, Listener, patterns


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Detector]:
    detector = Detector(monkeypatch)
    yield detector
    detector.server.stop()


def listen(detector: Detector, listener: Listener, **options: Any) -> PvaReceiver:
    """Return a source that has had the image of before."""
    source = PvaReceiver("frames", f"pva://{NAME}", listener, **options)
    source.start()
    assert source.wait_for(lambda: source.connected, WAIT_S)
    return source


def heads(messages: list[list[bytes]]) -> list[tuple[str, int]]:
    return [(head["scan_id"], head["frame"]) for head in (json.loads(parts[0]) for parts in messages)]


@pytest.mark.parametrize("codec", ["", "lz4", "bslz4"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "float32"])
def test_pixels_arrive_as_they_are(detector: Detector, codec: str, dtype: str) -> None:
    counts = patterns(3, 34, dtype=dtype)[:, :20]  # neither square nor a multiple of anything
    listener = Listener()
    detector.open()
    source = listen(detector, listener)
    for number, frame in enumerate(counts):
        detector.post(frame, 7 + number, codec)
    messages = listener.wait(3)
    source.stop()
    reader = CODECS["pva"]()
    items = [item for parts in messages for item in reader.parse(parts, 1)]
    assert isinstance(items[0], ScanStart)
    frames = [item.decode() for item in items if isinstance(item, EncodedFrame)]
    assert [frame.index for frame in frames] == [0, 1, 2]
    for frame, expected in zip(frames, counts, strict=True):
        np.testing.assert_array_equal(frame.counts, expected)
    assert source.messages == 3


def test_gaps_stay_gaps_and_a_number_that_falls_is_a_new_scan(detector: Detector) -> None:
    listener = Listener()
    detector.open(99)
    source = listen(detector, listener)
    for number in (10, 11, 14, 15, 2, 3):
        detector.post(np.full((4, 6), number, np.uint16), number)
    messages = listener.wait(6)
    source.stop()
    found = heads(messages)
    assert [frame for _, frame in found] == [0, 1, 4, 5, 0, 1]
    assert len({scan_id for scan_id, _ in found[:4]}) == len({scan_id for scan_id, _ in found[4:]}) == 1
    assert found[0][0] != found[4][0]
    reader = CODECS["pva"]()
    items = [item for parts in messages for item in reader.parse(parts, 1)]
    kinds = [type(item) for item in items if not isinstance(item, EncodedFrame)]
    assert kinds == [ScanStart, ScanEnd, ScanStart]


def test_the_first_number_can_be_told(detector: Detector) -> None:
    listener = Listener()
    detector.open(0)
    source = listen(detector, listener, first_number=1)
    for number in (3, 4, 1):
        detector.post(np.zeros((4, 6), np.uint16), number)
    assert [frame for _, frame in heads(listener.wait(3))] == [2, 3, 0]
    source.stop()


def test_it_waits_for_the_variable_and_for_its_return(detector: Detector) -> None:
    listener = Listener()
    source = PvaReceiver("frames", f"pva://{NAME}", listener)
    source.start()
    assert not source.connected
    assert "no server has this variable; still trying" in str(source.fault)
    detector.open(5)
    assert source.wait_for(lambda: source.connected, WAIT_S)
    assert source.fault is None
    detector.post(np.zeros((4, 6), np.uint16), 6)
    listener.wait(1)
    detector.variable.close()
    assert source.wait_for(lambda: not source.connected, WAIT_S)
    assert "the connection was lost and no server has this variable" in str(source.fault)
    detector.open(7)  # it goes on with the scan that was running, so it is not left out
    assert source.wait_for(lambda: source.connected, WAIT_S)
    detector.post(np.zeros((4, 6), np.uint16), 8)
    assert [frame for _, frame in heads(listener.wait(3))] == [0, 1, 2]
    source.stop()
    source.stop()


def test_a_codec_that_is_unknown_is_refused_by_name(detector: Detector) -> None:
    listener = Listener()
    detector.open()
    source = listen(detector, listener)
    detector.post(np.zeros((4, 6), np.uint16), 1, "jpeg")
    (message,) = listener.wait(1)
    source.stop()
    fault = CODECS["pva"]().parse(message, 1)[-1]
    assert "encoding 'jpeg' is not one of" in str(fault)


def other_than_an_image(**changes: Any) -> Value:
    """Return an update whose parts are not those of a grey image."""
    return image(np.zeros((4, 6), np.uint16), 1, **changes)


@pytest.mark.parametrize(
    ("value", "reason", "words"),
    [
        (
            other_than_an_image(codec={"name": "bslz4", "parameters": 14}),
            "dtype",
            "type 'codec.parameters 14' is not one of",
        ),
        (
            other_than_an_image(codec={"name": "lz4", "parameters": -1}),
            "dtype",
            "type 'codec.parameters -1' is not one of",
        ),
        (
            other_than_an_image(codec={"name": "bslz4", "parameters": "5"}),
            "dtype",
            "type 'codec.parameters 5' is not one of",
        ),
        (
            other_than_an_image(dimension=[{"size": 3}, {"size": 6}, {"size": 4}]),
            "shape",
            "shape [4, 6, 3] is not [rows",
        ),
        (
            other_than_an_image(dimension=[{"size": 6}, {"size": 4}, {"size": 2}]),
            "shape",
            "shape [2, 4, 6] is not [rows",
        ),
        (other_than_an_image(dimension=[{"size": 6}]), "shape", "shape [6] is not [rows, columns] of one grey image"),
        (other_than_an_image(value=("booleanValue", np.zeros(24, bool))), "dtype", "type 'bool' is not one of"),
    ],
)
def test_what_is_no_grey_image_is_refused_by_the_codec_with_scan_and_frame(
    detector: Detector, value: Value, reason: str, words: str
) -> None:
    listener = Listener()
    detector.open()
    source = listen(detector, listener)
    detector.post_value(value)
    (message,) = listener.wait(1)
    source.stop()
    start, fault = CODECS["pva"]().parse(message, 1)
    assert isinstance(start, ScanStart)
    assert isinstance(fault, CodecError)
    assert (fault.reason, fault.scan_id, fault.index) == (reason, start.scan_id, 0)
    assert words in str(fault)


def test_one_image_in_three_dimensions(detector: Detector) -> None:
    listener = Listener()
    detector.open()
    source = listen(detector, listener)
    detector.post_value(other_than_an_image(dimension=[{"size": 6}, {"size": 4}, {"size": 1}]))
    (message,) = listener.wait(1)
    source.stop()
    frame = CODECS["pva"]().parse(message, 1)[-1]
    assert isinstance(frame, EncodedFrame)
    assert frame.shape == (4, 6)


def test_what_is_no_variable() -> None:
    for endpoint in ("tcp://127.0.0.1:1", "pva://"):
        with pytest.raises(EndpointError, match="is not a valid process variable. Example: pva://"):
            PvaReceiver("frames", endpoint, Listener())
