"""The capture port of a PandA: its byte stream, its headers, its end, and a client that comes back."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.errors import EndpointError, PositionError
from streams.position_sources.pandablocks import CaptureReader, CaptureSplitter
from streams.position_sources.pandablocks_client import CaptureReceiver
from streams.position_sources.samples import SourceOptions
from tests.support.position_tools import PLAIN_HEADER, CapturePort, Gate, capture_block, capture_header, sampled

OPTIONS = SourceOptions(("INENC2.VAL", "INENC1.VAL.Mean"), (1e-3, 1e-3), time_channel="PCAP.TS_TRIG")
PLACES = np.arange(20.0).reshape(10, 2)
STREAM = b"OK\n" + capture_header() + capture_block(PLACES[:4]) + capture_block(PLACES[4:], 4) + b"END 10 Ok\n"


def messages(stream: bytes, chunk: int) -> list[list[memoryview]]:
    splitter = CaptureSplitter()
    return [m for k in range(0, len(stream), chunk) for m in splitter.feed(stream[k : k + chunk])]


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 2000), st.booleans())
def test_a_capture_in_chunks_of_any_size(chunk: int, is_plain: bool) -> None:
    stream = STREAM.replace(capture_header(), PLAIN_HEADER) if is_plain else STREAM
    reader = CaptureReader(OPTIONS)
    news = [reader.parse(message) for message in messages(stream + stream[3:], chunk)]
    assert [item.begins for item in news] == [True, False, False, False] * 2
    assert [item.ends for item in news] == [False, False, False, True] * 2
    places = [tuple(p.position_m) for item in news for p in item.positions]
    assert np.allclose(places, np.concatenate([PLACES, PLACES]) * 1e-3)
    assert news[2].positions[0].time_s == pytest.approx(4e-3)
    assert news[3].samples == 10


def test_samples_that_a_block_cuts_in_two_and_frames_of_several() -> None:
    body = capture_block(sampled(PLACES, 5, 0.2))[8:]
    reader = CaptureReader(SourceOptions(OPTIONS.channels, samples_per_frame=5))
    reader.parse([b"header", capture_header()])
    found = []
    for k in range(0, len(body), 61):
        found += reader.parse([b"data", body[k : k + 61]]).positions
    assert np.allclose([p.position_m for p in found], PLACES)


@pytest.mark.parametrize(("reason", "is_named"), [("Ok", False), ("Disarmed", False), ("Data overrun", True)])
def test_reasons_of_the_end(reason: str, is_named: bool) -> None:
    news = CaptureReader(OPTIONS).parse([b"end", f"END 7 {reason}".encode()])
    assert news.ends
    assert (news.fault == f"the PandA ended its capture: {reason}; samples may be missing") == is_named
    assert (news.fault is None) != is_named


def test_a_late_connection_knows_its_place() -> None:
    reader = CaptureReader(OPTIONS)
    assert reader.parse([b"header", capture_header(missed=100)]).begins
    (position, *_) = reader.parse([b"data", capture_block(PLACES)[8:]]).positions
    assert position.index == 100
    again = reader.parse([b"header", capture_header(missed=120)])
    assert not again.begins
    assert reader.parse([b"data", capture_block(PLACES)[8:]]).samples_lost == 110
    assert reader.parse([b"header", capture_header(missed=200, armed=b"later")]).begins
    assert reader.parse([b"header", capture_header(missed=5, armed=b"later")]).begins


BOMB = b'<!DOCTYPE a [<!ENTITY b "cccc"><!ENTITY d "&b;&b;&b;">]><header>&d;</header>'


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b"", "not Framed"),
        (b"<header>", "is not XML"),
        (b"<a>" * 10_000, "is not XML"),
        (BOMB, "declares XML entities"),
        (b"<" * 70_000, "exceeds"),
        (capture_header().replace(b"Framed", b"ASCII"), "'ASCII', not Framed"),
        (capture_header().replace(b'"28"', b'"29"'), "take 28 bytes, but 29 are announced"),
        (capture_header().replace(b'"28"', b'"-1"'), "sample_bytes is '-1', not a number"),
        (capture_header().replace(b'missed="0"', b'missed="9999999999999999"'), "missed is"),
        (capture_header().replace(b"uint32", b"object"), "unknown types \\['object'\\]"),
        (capture_header().replace(b"INENC2", b"INENC1"), "repeated names"),
        (
            capture_header().replace(b"INENC2", b"INENC4"),
            "not capture exactly one INENC2.VAL; set .* PCAP.BITS0.Value, INENC1",
        ),
        (b'<header><data format="Framed"/><fields></fields></header>', "has 0 fields"),
    ],
)
def test_headers_that_are_refused(header: bytes, words: str) -> None:
    reader = CaptureReader(OPTIONS)
    with pytest.raises(PositionError, match=words):
        reader.parse([b"header", header])
    with pytest.raises(PositionError, match="data without a header"):
        reader.parse([b"data", b"123"])


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (b"ERR what?\n", "answered b'ERR what\\?'"),
        (b"HTTP/1.1 400 Bad Request\r\n", "answered"),
        (b"x" * 2000, "a line of more than"),
        (b"OK\n" + b"x" * 70_000, "a header of more than"),
        (b"OK\n" + capture_header() + b"BIN " + struct.pack("<I", 2**31), "announced a block of 2147483648 bytes"),
        (b"OK\n" + capture_header() + b"BIN " + struct.pack("<I", 7), "announced a block of 7 bytes"),
        (b"OK\n" + capture_header() + b"BOO\n", "instead of a block or END"),
        (b"OK\n" + capture_header() + b"E" * 2000, "a line of more than"),
    ],
)
def test_streams_that_are_refused(stream: bytes, words: str) -> None:
    with pytest.raises(PositionError, match=words):
        messages(stream, 999)


@pytest.mark.parametrize("parts", [[], [b"header"], [b"boo", b""], [b"end", b"END x"], [b"end", b"END 1 \xff"]])
def test_messages_that_are_none(parts: list[bytes]) -> None:
    with pytest.raises(PositionError):
        CaptureReader(OPTIONS).parse(parts)


@pytest.mark.parametrize("endpoint", ["panda", "http://panda:8889", "tcp://panda", "tcp://panda:0", "tcp://p:99999"])
def test_endpoints_that_are_none(endpoint: str) -> None:
    with pytest.raises(EndpointError, match="tcp://panda:8889"):
        CaptureReceiver("positions", endpoint, lambda _parts, _ns: None)


def test_the_client_comes_back_for_ever() -> None:
    port, heard = CapturePort(), Gate()
    receiver = CaptureReceiver("positions", port.endpoint, lambda parts, _ns: heard([bytes(p) for p in parts]))
    receiver.start()
    try:
        with port.client() as connection:
            connection.sendall(capture_header() + capture_block(PLACES))
            assert heard.wait(2)[1][0] == b"data"
            assert receiver.connected
        with port.client(b"ERR busy\n") as connection:
            assert connection.recv(1) == b""  # hung up on
        with port.client() as connection:
            connection.sendall(capture_header() + b"BIN \0\0\0\0")
            assert connection.recv(1) == b""
        assert receiver.wait_for(lambda: "announced a block of 0 bytes" in str(receiver.fault), 60)
        assert receiver.refused == 2
        with port.client() as connection:
            connection.sendall(capture_header() + b"EN")
            assert len(heard.wait(3)) == 3
            connection.sendall(b"D 0 Ok\n")
            assert heard.wait(4)[-1] == [b"end", b"END 0 Ok"]
            assert receiver.fault is None
        assert port.options == [b"XML FRAMED SCALED\n"] * 4
    finally:
        receiver.stop()
        port.close()
    assert not receiver.is_alive


def test_nobody_listens_and_stop_returns() -> None:
    port = CapturePort()
    port.close()
    receiver = CaptureReceiver("positions", port.endpoint, lambda _parts, _ns: None)
    receiver.start()
    assert receiver.is_alive
    receiver.stop()
    assert not receiver.is_alive
    assert not receiver.connected


def test_a_fault_of_the_listener_costs_one_message() -> None:
    port, heard = CapturePort(), Gate()

    def listen(parts: list[memoryview], _ns: int) -> None:
        heard(bytes(parts[0]))
        if len(heard.heard) == 1:
            raise ValueError("boo")

    receiver = CaptureReceiver("positions", port.endpoint, listen)
    receiver.start()
    try:
        with port.client() as connection:
            connection.sendall(STREAM[3:])
            assert heard.wait(4) == [b"header", b"data", b"data", b"end"]
        assert receiver.failed == 1
    finally:
        receiver.stop()
        port.close()


RECORDED = Path(__file__).parents[3] / "data" / "recorded"
"""What PandAs sent, recorded by others; see PANDA.md there."""


@pytest.mark.parametrize(("name", "samples", "period_s"), [("slow", 5, 1.0), ("fast", 58, 0.01)])
def test_recorded_captures_through_a_socket(name: str, samples: int, period_s: float) -> None:
    """Counters that gain 1 and 2 with each sample."""
    reader = CaptureReader(SourceOptions(("COUNTER2.OUT", "COUNTER1.OUT.Mean"), time_channel="PCAP.TS_START"))
    port, heard = CapturePort(), Gate()
    receiver = CaptureReceiver("positions", port.endpoint, lambda parts, _ns: heard(reader.parse(parts)))
    receiver.start()
    try:
        with port.client((RECORDED / f"pandablocks-{name}.bin").read_bytes()):
            count = 2
            while not (news := heard.wait(count))[-1].ends:
                count += 1
    finally:
        receiver.stop()
        port.close()
    assert (news[0].begins, news[-1].fault, receiver.refused) == (True, None, 0)
    places = [position for item in news for position in item.positions]
    number = np.arange(1, samples + 1)
    assert [position.index for position in places] == list(range(samples))
    assert np.allclose([position.position_m for position in places], np.stack([2 * number, number], axis=-1))
    assert np.allclose([position.time_s for position in places], 5.6e-8 + (number - 1) * period_s)


def test_a_recorded_capture_that_is_not_scaled_is_refused() -> None:
    stream = (RECORDED / "pandablocks-slow.bin").read_bytes().replace(b'process="Scaled"', b'process="Raw"')
    header = messages(stream, 4096)[0]
    with pytest.raises(PositionError, match="the capture is Raw, not Scaled"):
        CaptureReader(OPTIONS).parse(header)
