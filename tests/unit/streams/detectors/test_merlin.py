"""A Merlin's data port over a real TCP connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from streams.codecs import CODECS, Codec
from streams.codecs.base import EncodedFrame, StreamItem
from streams.detectors.merlin import MerlinReceiver
from streams.errors import CodecError, EndpointError
from streams.frame import ScanEnd, ScanStart
from streams.sockets.receiver import OnRefused
from tests.support.merlin_tools import DataPort, header, image, message
from tests.support.stream_tools import WAIT_S, Listener, patterns

Serve = Callable[..., MerlinReceiver]


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def serve(listener: Listener) -> Iterator[Serve]:
    """Makes sources that are connected to a port that sends some streams, one a connection."""
    opened: list[MerlinReceiver | DataPort] = []

    def make(*streams: bytes, on_refused: OnRefused = lambda _fault: None, **options: int) -> MerlinReceiver:
        port = DataPort(streams)
        source = MerlinReceiver("frames", port.endpoint, listener, **options)
        source.on_refused = on_refused
        source.start()
        opened.extend((source, port))
        return source

    yield make
    for each in opened:
        each.stop() if isinstance(each, MerlinReceiver) else each.close()


def acquisition(counts: np.ndarray, is_announced: bool = True) -> bytes:
    messages = [header(len(counts))] * is_announced + [image(1 + k, frame) for k, frame in enumerate(counts)]
    return b"".join(map(message, messages))


def items_of(codec: Codec, parts: list[bytes]) -> list[StreamItem]:
    try:
        return codec.parse(parts, 1)
    except CodecError as fault:
        return [fault]


def read(messages: list[list[bytes]]) -> list[StreamItem]:
    codec = CODECS["merlin"]()
    return [item for parts in messages for item in codec.parse(parts, 1)]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
def test_pixels_arrive_as_they_are(serve: Serve, listener: Listener, dtype: str) -> None:
    counts = patterns(4, 36, dtype=dtype)[:, :, :20]
    source = serve(acquisition(counts))
    items = read(listener.wait(4))
    assert source.connected
    assert isinstance(items[0], ScanStart)
    assert items[0].expected_frames == 4
    frames = [item.decode() for item in items if isinstance(item, EncodedFrame)]
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    for frame, expected in zip(frames, counts, strict=True):
        np.testing.assert_array_equal(frame.counts, expected)
    assert isinstance(items[-1], ScanEnd)


def test_each_acquisition_is_a_scan_announced_or_not(serve: Serve, listener: Listener) -> None:
    counts = patterns(3, 16)
    serve(acquisition(counts) + acquisition(counts) + acquisition(counts, is_announced=False))
    items = read(listener.wait(9))
    starts = [item for item in items if isinstance(item, ScanStart)]
    assert len({start.scan_id for start in starts}) == 3
    assert [item.index for item in items if isinstance(item, EncodedFrame)] == [0, 1, 2] * 3


def test_it_comes_back_after_a_lost_connection_and_after_nonsense(serve: Serve, listener: Listener) -> None:
    counts = patterns(3, 16)
    whole = acquisition(counts)
    source = serve(whole[:-100], b"GARBAGE" * 9, message(image(1, counts[0]))[:9] + b"9" * 6 + b",", whole)
    messages = listener.wait(5)
    indexes = [item.index for item in read(messages) if isinstance(item, EncodedFrame)]
    assert indexes == [0, 1, 0, 1, 2]
    assert source.refused == 2
    assert source.fault is None


@pytest.mark.parametrize(
    "bad",
    [
        image(1, patterns(1, 16)[0]).replace(b"MQ1,000001", b"MQ1,what??"),
        b"MQ1,000001",
        b"WHAT" * 20,
    ],
)
def test_a_frame_that_makes_no_sense_costs_itself_alone(serve: Serve, listener: Listener, bad: bytes) -> None:
    counts = patterns(2, 16)
    source = serve(message(header(3)) + message(bad) + acquisition(counts, is_announced=False))
    items = read(listener.wait(2))
    assert [item.index for item in items if isinstance(item, EncodedFrame)] == [0, 1]
    assert source.refused == 1


def test_raw_counters_are_refused_by_name_with_scan_and_frame(serve: Serve, listener: Listener) -> None:
    frames = [image(1 + k, counts).replace(b"U16", b"R64") for k, counts in enumerate(patterns(3, 16))]
    serve(b"".join(map(message, [header(3), *frames])))
    codec = CODECS["merlin"]()
    start, *refused = [item for parts in listener.wait(3) for item in items_of(codec, parts)]
    assert isinstance(start, ScanStart)
    assert start.expected_frames == 3
    faults = [item for item in refused if isinstance(item, CodecError)]
    assert [(fault.reason, fault.scan_id, fault.index) for fault in faults] == [
        ("dtype", start.scan_id, k) for k in range(3)
    ]
    assert "the pixels' type 'R64' is a Merlin's raw counters; switch off its raw mode" in str(faults[0])


def test_what_cannot_be_handed_on_is_told(serve: Serve, listener: Listener) -> None:
    told: list[CodecError] = []
    counts = patterns(2, 16)
    streams = acquisition(counts) + message(b"WHAT" * 20) + message(image(3, counts[0])) + b"GARBAGE" * 9
    source = serve(streams, on_refused=told.append)
    source.wait_for(lambda: len(told) == 2, WAIT_S)
    assert [fault.reason for fault in told] == ["malformed", "malformed"]
    assert "neither HDR nor a frame: b'WHATWHAT" in str(told[0])
    assert str(told[0].scan_id).startswith("merlin-")


def test_a_message_over_the_limit_ends_the_connection(serve: Serve, listener: Listener) -> None:
    counts = patterns(1, 64)
    source = serve(acquisition(counts), acquisition(counts[:, :8, :8]), max_message_bytes=2000)
    assert len(read(listener.wait(1))) == 3
    assert source.refused == 1


def test_nobody_there(listener: Listener) -> None:
    port = DataPort([])
    port.close()
    source = MerlinReceiver("frames", port.endpoint, listener)
    source.start()
    assert source.wait_for(lambda: "Connection refused; still trying" in str(source.fault), WAIT_S)
    assert not source.connected
    source.stop()
    source.stop()


@pytest.mark.parametrize("endpoint", ["@tcp://127.0.0.1:1", "tcp://host", "ipc://x", "tcp://host:0"])
def test_what_is_no_endpoint(endpoint: str, listener: Listener) -> None:
    with pytest.raises(EndpointError, match="is not a valid endpoint. Example: tcp://merlin:6342"):
        MerlinReceiver("frames", endpoint, listener)
