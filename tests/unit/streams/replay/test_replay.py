"""Scans sent and received over real sockets, with and without faults, and senders that are not ours."""

from __future__ import annotations

import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import bitshuffle
import cbor2
import msgpack
import numpy as np
import pytest
import zmq
from numpy.typing import NDArray

from streams.codecs import CODECS, EncodedFrame
from streams.errors import CodecError, PositionError, StreamError
from streams.frame import ScanEnd, ScanPoint, ScanStart
from streams.join.account import AccountSnapshot
from streams.position_sources.positions import parse_positions, raster_positions
from streams.replay.faults import plan
from streams.replay.sender import Faults, Summary, prepare, replay
from streams.sockets.transport import Receiver, Sender
from tests.support.join_tools import NamedJoin
from tests.support.stream_tools import WAIT_S, Listener, patterns

LOCAL = "tcp://127.0.0.1:0"
ALL_FAULTS = "drop=0.05,duplicate=0.1,reorder=16,corrupt=0.05,late-positions=0.05"
FORMATS = list({type(make()): name for name, make in reversed(CODECS.items())}.values())  # one name of each codec
POSITIONS = raster_positions((10, 10), (1e-6, 2e-6), snake=True)


@dataclass
class Link:
    """A sender and a receiver that listens to it."""

    sender: Sender
    receiver: Receiver
    listener: Listener

    def scan(self, format_name: str, frames: int) -> list[tuple[list[memoryview], int]]:
        """The messages of a scan, of so many frames."""
        count = frames if format_name == "array-1.0" else frames + 2
        assert len(self.listener.wait(count)) == count
        return list(self.listener.messages)


@pytest.fixture
def link() -> Iterator[Callable[[str], Link]]:
    made: list[Link] = []

    def make(kind: str = "push") -> Link:
        sender = Sender(LOCAL, kind)
        listener = Listener()
        receiver = Receiver("frames", sender.bound_endpoint, {"push": "pull", "pub": "sub"}[kind], listener)
        receiver.start()
        made.append(Link(sender, receiver, listener))
        assert sender.wait_for_peer(WAIT_S)
        return made[-1]

    yield make
    for each in made:
        each.sender.close()
        each.receiver.stop()


def join_all(
    format_name: str, frames: list[tuple[list[memoryview], int]], positions: list[tuple[list[memoryview], int]]
) -> tuple[dict[int, ScanPoint], AccountSnapshot]:
    """Take all messages in the order of receipt, as a daemon would; return the points and the account of scan "s"."""
    codec, join = CODECS[format_name](), NamedJoin()
    points: list[ScanPoint] = []
    for stamp, is_position, parts in sorted(
        [(stamp, False, parts) for parts, stamp in frames] + [(stamp, True, parts) for parts, stamp in positions],
        key=lambda message: message[0],
    ):
        if is_position:
            points += join.add_positions(parse_positions(parts))
            continue
        try:
            for item in codec.parse(parts, stamp):
                if isinstance(item, EncodedFrame):
                    points += join.add_frame(item.decode())
                elif isinstance(item, CodecError):
                    raise item
                elif isinstance(item, ScanStart):
                    join.start_scan(item)
                elif isinstance(item, ScanEnd):
                    join.end_scan(item.scan_id)
        except CodecError as fault:
            join.refuse(fault.scan_id or "?", fault.index, fault.reason, received=True)
    join.end_scan("s")
    join.mark_stitched("s", [point.index for point in points])
    assert join.is_finished("s")
    assert join.current_id("?") is None
    return {point.index: point for point in points}, join.account("s")


def check(points: dict[int, ScanPoint], counts: NDArray[Any]) -> None:
    for index, point in points.items():
        assert (point.scan_id, point.index) == ("s", index)
        assert point.counts.dtype == counts.dtype
        assert np.array_equal(point.counts, counts[index])
        assert point.position_m == tuple(POSITIONS[index])


def expected_account(faults: Faults, seed: int) -> AccountSnapshot:
    """What the plan of a replay of 100 frames must come to."""
    planned = plan(100, faults, seed)
    good = Counter(index for index, is_corrupt in planned.order if not is_corrupt)
    refused = {"corrupt": planned.corrupted} if planned.corrupted else {}
    duplicates = sum(good.values()) - len(good)
    return AccountSnapshot(100, len(planned.order), duplicates, planned.dropped, refused, 0, 0, len(good))


@pytest.mark.parametrize("kind", ["push", "pub"])
@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("faults", [Faults(), Faults.parse(ALL_FAULTS)], ids=["clean", "faults"])
@pytest.mark.parametrize("has_position_stream", [True, False], ids=["apart", "in frames"])
def test_a_scan_comes_through(
    link: Callable[[str], Link], kind: str, format_name: str, faults: Faults, has_position_stream: bool
) -> None:
    counts = patterns(100)
    frames, positions = link(kind), link(kind) if has_position_stream else None
    summary = replay(
        counts,
        POSITIONS,
        CODECS[format_name](),
        frames.sender,
        scan_id="s",
        position_sender=None if positions is None else positions.sender,
        metadata={"sample": "star"},
        faults=faults,
        seed=3,
    )
    if positions is not None:
        assert len(positions.listener.wait(4)) == 4
    points, account = join_all(
        format_name, frames.scan(format_name, summary.sent), [] if positions is None else positions.listener.messages
    )
    check(points, counts)
    assert account == expected_account(faults, 3)
    planned = plan(100, faults, 3)
    assert summary == Summary(account.received, planned.dropped, planned.duplicated, planned.corrupted, summary.seconds)
    if faults != Faults():
        assert min(planned.dropped, planned.duplicated, planned.corrupted, account.duplicate) > 0
        order = [index for index, _ in planned.order]
        assert order != sorted(order)
        assert max(abs(place - index) for place, index in enumerate(order)) < 40
    else:
        assert account.is_complete


@pytest.mark.parametrize("encoding", ["", "bslz4"])
@pytest.mark.parametrize("format_name", FORMATS)
def test_corrupt_frames_never_pass(link: Callable[[str], Link], format_name: str, encoding: str) -> None:
    frames = link("push")
    replay(
        patterns(20),
        None,
        CODECS[format_name](),
        frames.sender,
        scan_id="s",
        faults=Faults(corrupt=1.0),
        encoding=encoding,
    )
    codec = CODECS[format_name]()
    messages = frames.scan(format_name, 20)
    refused = 0
    for parts, stamp in messages:
        try:
            for item in codec.parse(parts, stamp):
                assert not isinstance(item, EncodedFrame) or item.decode() is None
                refused += isinstance(item, CodecError)
        except CodecError:
            refused += 1
    assert refused == 20


class TimedSender(Sender):
    """Notes when it was told to send."""

    def send(self, parts: Any, timeout_s: float | None = None) -> None:
        self.__dict__.setdefault("times", []).append(time.monotonic())
        super().send(parts, timeout_s)


def test_positions_lag_and_the_rate_is_kept() -> None:
    progress: list[tuple[int, int]] = []
    with TimedSender(LOCAL, "pub") as frames, TimedSender(LOCAL, "pub") as positions:
        summary = replay(
            patterns(40, 8),
            POSITIONS[:40],
            CODECS["native"](),
            frames,
            scan_id="s",
            position_sender=positions,
            rate_hz=200.0,
            faults=Faults.parse("late-positions=0.3"),
            on_progress=lambda done, total: progress.append((done, total)),
        )
    start, *frame_times, end = frames.times
    assert progress == [(n, 40) for n in range(1, 41)]
    assert all(at - start >= n / 200 - 1e-3 for n, at in enumerate(frame_times))
    assert len(positions.times) == 2
    assert positions.times[0] >= frame_times[31] + 0.3
    assert positions.times[1] >= frame_times[39] + 0.3
    assert end < positions.times[1]
    assert summary.seconds >= 39 / 200 + 0.3


@pytest.mark.parametrize("format_name", FORMATS)
def test_prepared_frames_and_the_same_seed_give_the_same_bytes(link: Callable[[str], Link], format_name: str) -> None:
    counts, faults = patterns(100, 16), Faults.parse(ALL_FAULTS)
    codec = CODECS[format_name]()
    prepared = prepare(counts, POSITIONS, codec, "s")
    sent = []
    for seed, messages in ((5, None), (5, prepared), (6, prepared)):
        frames = link("push")
        summary = replay(
            counts, POSITIONS, codec, frames.sender, scan_id="s", faults=faults, seed=seed, prepared=messages
        )
        sent.append([[bytes(part) for part in parts] for parts, _ in frames.scan(format_name, summary.sent)])
    assert sent[0] == sent[1]
    assert sent[0] != sent[2]


def test_a_plain_socket_reads_the_native_stream_as_it_is_written_down() -> None:
    counts = patterns(3, 8)
    with zmq.Context() as context, context.socket(zmq.PULL) as socket, Sender(LOCAL) as sender:
        socket.connect(sender.bound_endpoint)
        replay(counts, POSITIONS[:3], CODECS["native"](), sender, scan_id="s", encoding="", metadata={"a": 1})
        messages = [socket.recv_multipart() for _ in range(5)]
    assert messages[0][0] == b"start"
    start = {"schema_version": 1, "scan_id": "s", "expected_frames": 3, "metadata": {"a": 1}}
    assert start.items() <= msgpack.unpackb(messages[0][1]).items()
    for index, (kind, header, pixels) in enumerate(messages[1:4]):
        assert kind == b"frame"
        assert msgpack.unpackb(header) == {
            "schema_version": 1, "scan_id": "s", "index": index, "shape": [8, 8], "dtype": "uint16", "encoding": "",
            "position_m": list(POSITIONS[index]),
        }  # fmt: skip
        assert np.array_equal(np.frombuffer(pixels, "<u2").reshape(8, 8), counts[index])
    assert messages[4][0] == b"end"
    assert msgpack.unpackb(messages[4][1]) == {"schema_version": 1, "scan_id": "s"}


def detector_message(kind: str, **more: Any) -> bytes:
    return cbor2.dumps({"type": kind, "series_id": 42, "series_unique_id": "s", **more})


def detector_image(index: int, pixels: Any, tag: int, shape: tuple[int, int], order: int = 40) -> bytes:
    clock = [index * 1000, 50_000_000]
    array = cbor2.CBORTag(order, [list(shape), cbor2.CBORTag(tag, pixels)])
    return detector_message(
        "image", image_id=index, series_date=cbor2.CBORTag(0, "2026-01-02T03:04:05Z"), start_time=clock,
        stop_time=clock, real_time=clock, data={"threshold_1": array}, user_data=None,
    )  # fmt: skip


def packed(pixels: NDArray[Any]) -> cbor2.CBORTag:
    blob = struct.pack(">QI", pixels.nbytes, 8192) + bytes(bitshuffle.compress_lz4(pixels.reshape(-1), 4096))
    return cbor2.CBORTag(56500, ["bslz4", 2, blob])


def stored(pixels: NDArray[Any]) -> cbor2.CBORTag:
    data = pixels.tobytes()
    blob = struct.pack(">QII", len(data), len(data), len(data)) + data
    return cbor2.CBORTag(56500, ["lz4", 0, blob])


Write = Callable[[NDArray[Any]], Any]


@pytest.mark.parametrize(
    ("write", "tag", "order"),
    [
        pytest.param(packed, 69, 40, id="bslz4"),
        pytest.param(stored, 69, 40, id="lz4"),
        pytest.param(lambda pixels: pixels.tobytes(), 69, 40, id="plain"),
        pytest.param(lambda pixels: pixels.astype(">u2").tobytes(), 65, 40, id="big-endian"),
        pytest.param(lambda pixels: packed(np.ascontiguousarray(pixels.T)), 69, 1040, id="columns first"),
    ],
)
def test_a_detector_that_is_not_ours(write: Write, tag: int, order: int) -> None:
    counts = patterns(20, 128)
    counts[:, 5, 7] = 65535
    listener = Listener()
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        receiver = Receiver("frames", f"tcp://127.0.0.1:{port}", "pull", listener)
        receiver.start()
        socket.send(detector_message("start", channels=["threshold_1"], image_size_x=128, image_size_y=128,
                                     image_dtype="uint16", number_of_images=20, flatfield={}, goniometer={},
                                     pixel_mask={"threshold_1": cbor2.CBORTag(40, [[1, 1], cbor2.CBORTag(70, bytes(4))])},
                                     countrate_correction_lookup_table=cbor2.CBORTag(70, packed(counts[0])),
                                     arm_date=cbor2.CBORTag(0, "2026-01-02T03:04:05Z"), user_data="x"))  # fmt: skip
        for index, pixels in enumerate(counts):
            socket.send(detector_image(index, write(pixels), tag, pixels.shape, order))
        socket.send(detector_message("end"))
        messages = listener.wait_until(lambda parts: cbor2.loads(bytes(parts[0]))["type"] == "end")
        receiver.stop()
    codec = CODECS["dectris-v2"]()
    items = [item for parts, stamp in messages for item in codec.parse(parts, stamp)]
    assert isinstance(items[0], ScanStart)
    assert (items[0].scan_id, items[0].expected_frames, items[0].metadata["user_data"]) == ("s", 20, "x")
    assert items[-1] == ScanEnd("s")
    found = [item.decode() for item in items if isinstance(item, EncodedFrame)]
    assert [frame.index for frame in found] == list(range(20))
    assert all(frame.counts.dtype == np.dtype("uint16") for frame in found)
    assert np.array_equal([frame.counts for frame in found], counts)


def test_positions_that_do_not_fit_are_refused_before_anything_is_sent() -> None:
    with Sender(LOCAL) as sender, pytest.raises(PositionError, match=r"\(99, 2\) do not fit 100 frames"):
        replay(patterns(100, 8), POSITIONS[:99], CODECS["native"](), sender, scan_id="s")


def test_faults_as_text() -> None:
    assert Faults.parse("") == Faults()
    assert Faults.parse(ALL_FAULTS) == Faults(0.05, 0.1, 0.05, 16, 0.05)
    assert Faults.parse(" drop=1 , reorder=3.0,") == Faults(drop=1.0, reorder=3)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("lose=0.1", "'lose=0.1' is not a valid fault. Faults: drop, duplicate, reorder, corrupt, late-positions"),
        ("drop", "'drop' is not a valid fault: give a ratio from 0 to 1 after '='"),
        ("drop=1.1", "a ratio from 0 to 1"),
        ("corrupt=-0.1", "a ratio from 0 to 1"),
        ("duplicate=nan", "a ratio from 0 to 1"),
        ("reorder=1.5", "'reorder=1.5' is not a valid fault: give a number of frames after '='"),
        ("reorder=inf", "a number of frames"),
        ("late-positions=soon", "'late-positions=soon' is not a valid fault: give seconds after '='"),
    ],
)
def test_faults_that_cannot_be_read(text: str, sentence: str) -> None:
    with pytest.raises(StreamError, match=sentence):
        Faults.parse(text)


def test_plans_have_the_faults_asked_for() -> None:
    planned = plan(20_000, Faults(drop=0.1, duplicate=0.2, corrupt=0.05, reorder=4), 1)
    assert planned.dropped == pytest.approx(2000, abs=200)
    assert planned.duplicated == pytest.approx(3600, abs=300)
    assert planned.corrupted == pytest.approx(0.05 * len(planned.order), abs=200)
    assert len(planned.order) == 20_000 - planned.dropped + planned.duplicated
    assert plan(3, Faults(), 0).order == [(0, False), (1, False), (2, False)]
