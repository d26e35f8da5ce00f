"""Messages to mutate, and what reads them: every wire format of the registry, every kind of position source, the join."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import cbor2
import msgpack
import numpy as np

from streams.codecs import CODECS
from streams.codecs.base import EncodedFrame
from streams.codecs.cbor import SELF_DESCRIBED
from streams.codecs.dectris_v2_arrays import tagged
from streams.compression import encode_bslz4
from streams.errors import CodecError, PositionError
from streams.frame import Frame, Position, PositionM, PositionNews, ScanEnd, ScanStart, StreamGeometry
from streams.position_sources.bluesky import BlueskyReader
from streams.position_sources.panda import DEFAULT_CHANNELS, DEFAULT_TIME_CHANNEL, PandaReader
from streams.position_sources.pandablocks import CaptureReader, CaptureSplitter
from streams.position_sources.positions import encode_positions, parse_positions
from streams.position_sources.samples import SourceOptions
from tests.support.join_tools import NamedJoin
from tests.support.position_tools import (
    PLAIN_HEADER,
    bluesky,
    capture_block,
    capture_header,
    panda_data,
    panda_start,
    panda_stop,
)
from tests.support.recorded import FOLDER as RECORDED
from tests.support.recorded import dectris_v1, dectris_v2
from tests.support.stream_tools import Clock

MAX_FRAME_BYTES = 2**20
ODD_NUMBERS = (
    b"-1",
    b"0",
    b"9223372036854775808",
    b"1e400",
    b"NaN",
    b"true",
    b"null",
    b"[]",
    b'""',
    b"4294967295",
    b"0.5",
)

Message = list[bytes]


@dataclass
class Target:
    """Messages and what makes a fresh reader that understands them."""

    name: str
    corpus: list[Message]
    make: Callable[[], Callable[[Message], list[Any]]]


class Chain:
    """Feeds messages to a reader and what they give to the join, counting refusals by reason."""

    def __init__(self, target: Target) -> None:
        self.clock = Clock()
        self.join = NamedJoin(
            position_timeout_s=5,
            max_wait_s=50,
            max_pending_bytes=2**20,
            max_open_scans=4,
            max_position_bytes=2**20,
            clock=self.clock,
        )
        self.refused: Counter[str] = Counter()
        self.taken = self.understood = 0
        self._read = target.make()

    def feed(self, message: Message) -> None:
        """Give one message; only refusals with a reason may come of it."""
        self.clock.now += 0.01
        try:
            items = self._read(message)
        except CodecError as fault:
            self._refuse(fault)
            return
        except PositionError as fault:
            self.refused["position" if str(fault) else "no words"] += 1
            return
        self.understood += 1
        for item in items:
            self._enter(item)
        if self.taken % 64 == 0:
            self.join.poll()

    def _enter(self, item: Any) -> None:
        self.taken += 1
        if isinstance(item, CodecError):
            self._refuse(item)
        elif isinstance(item, EncodedFrame):
            assert 0 < item.decoded_nbytes <= MAX_FRAME_BYTES
            try:
                frame = item.decode()
            except CodecError as fault:
                self._refuse(fault)
                return
            assert frame.counts.shape == item.shape
            self._add(frame)
        elif isinstance(item, ScanStart):
            self.join.start_scan(item)
        elif isinstance(item, ScanEnd):
            self.join.end_scan(item.scan_id)
        elif isinstance(item, PositionNews):
            self._stitch(self.join.add_news(item))
        else:
            assert isinstance(item, Position)
            self._stitch(self.join.add_positions([item]))

    def _add(self, frame: Frame) -> None:
        self._stitch(self.join.add_frame(frame))

    def _stitch(self, points: list[Any]) -> None:
        for point in points:
            assert point.position_m.is_place
            self.join.mark_stitched(point.scan_id, [point.index])

    def _refuse(self, fault: CodecError) -> None:
        assert fault.reason.isidentifier(), fault.reason
        assert str(fault)
        self.refused[fault.reason] += 1
        if fault.scan_id is not None:
            assert 0 < len(fault.scan_id) <= 64
            self.join.refuse(fault.scan_id, fault.index, fault.reason, received=True)

    def accounts_add_up(self) -> bool:
        """Whether the account of every scan is whole."""
        return all(self.join.account(scan_id).adds_up for scan_id in self.join.known)

    def has_scans(self) -> bool:
        """Whether a scan was opened."""
        return bool(self.join.known)


def targets() -> list[Target]:
    """Return every reader; a new wire format of the registry is among them by itself."""
    codecs = [Target(name, _frames_corpus(name), partial(_codec_reader, name)) for name in CODECS]
    makers = (_native_positions, _panda, _panda_recorded, _bluesky, _bluesky_resumed, _capture, _capture_stream)
    return [*codecs, *(make() for make in makers)]


def _codec_reader(name: str) -> Callable[[Message], list[Any]]:
    codec = CODECS[name](max_frame_bytes=MAX_FRAME_BYTES, check_hash=True)
    return lambda message: list(codec.parse(message, 7))


def _frames_corpus(name: str) -> list[Message]:
    codec = CODECS[name]()
    rng = np.random.default_rng(0)
    shape = (16, 12)
    corpus: list[Message] = []
    geometry = StreamGeometry(
        photon_energy_eV=8800.0,
        detector_distance_m=1.9,
        detector_pixel_size_m=(75e-6, 75e-6),
        beam_center_px=(8.0, 6.0),
        saturation=60000.0,
        mask=np.zeros(shape, bool),
        flatfield=np.ones(shape, np.float32),
    )
    starts = (ScanStart("12", 8), ScanStart("13", 4, {"detector_description": "x"}, geometry))
    corpus += [codec.encode_start(start, shape, np.dtype(np.uint16)) for start in starts]
    for k, dtype in enumerate(("uint8", "uint16", "uint32", "float32")):
        for encoding in ("", "bslz4", "lz4"):
            counts = rng.poisson(2.0, shape).astype(dtype)
            with suppress(CodecError):
                corpus.append(codec.encode_frame(str(12 + k % 3), k, counts, PositionM(1e-6, k * 1e-6), encoding))
                corpus.append(codec.encode_frame(str(12 + k % 3), k + 4, counts, None, encoding))
    end = codec.encode_end("12")
    return [message for message in [*corpus, end, *_recorded(name)] if message]


def _recorded(name: str) -> list[Message]:
    """Return what a real detector sends, with small pixels in place of its own, so that the damage falls on the rest."""
    pixels = np.random.default_rng(0).poisson(2.0, (16, 12)).astype(np.uint16)
    if name == "dectris-v2":
        image = dict(cbor2.loads(dectris_v2("image"))) | {"data": {"threshold_1": tagged(pixels)}}
        kinds = [dectris_v2("start"), SELF_DESCRIBED + cbor2.dumps(image), dectris_v2("end")]
        return [[message] for message in kinds]
    if name != "dectris-v1":
        return []
    header, *images, end = dectris_v1()
    short = [part[:400] if part[:1] != b"{" else part for part in header]
    about = {"htype": "dimage_d-1.0", "shape": [12, 16], "type": "uint16", "encoding": "bs16-lz4<"}
    blob = [json.dumps(about).encode(), encode_bslz4(pixels)]
    return [short, *([parts[0], *blob, *parts[3:]] for parts in images), end]


def _native_positions() -> Target:
    corpus = [
        encode_positions(np.arange(8.0).reshape(4, 2), first=2, scan_id="12"),
        encode_positions(np.ones((3, 2)), indexes=[5, 1, 9]),
        encode_positions(np.full((2, 2), np.nan), scan_id="s"),
    ]
    return Target("native positions", corpus, lambda: lambda message: list(parse_positions(message)))


def _panda() -> Target:
    options = SourceOptions(DEFAULT_CHANNELS, samples_per_frame=3, time_channel=DEFAULT_TIME_CHANNEL)
    corpus = [[panda_data(k, 10 * k, np.full((10, 2), k), [0.1 * k] * 10)] for k in range(4)]
    corpus += [[panda_start()], [panda_stop(4)]]
    columns = {name: [1.0, 2.0, 3.0] for name in (*DEFAULT_CHANNELS, DEFAULT_TIME_CHANNEL)}
    series = [{"message_type": "series-start"}, {"message_type": "data", "frame_number": 3, **columns},
              {"message_type": "series-end"}]  # fmt: skip
    corpus += [[json.dumps({"message_id": k, "version": 1, **each}).encode()] for k, each in enumerate(series)]
    return Target("panda", corpus, lambda: _news_reader(PandaReader(options)))


def _panda_recorded() -> Target:
    """The messages of MAX IV's relay."""
    lines = (RECORDED / "panda-series.jsonl").read_bytes().splitlines()
    names = [name for name, values in json.loads(lines[1]).items() if isinstance(values, list)]
    options = SourceOptions((names[0], names[1]), samples_per_frame=3)
    return Target("panda, recorded", [[line] for line in lines], lambda: _news_reader(PandaReader(options)))


def _bluesky() -> Target:
    options = SourceOptions(("y", "x"), samples_per_frame=2)
    event = {"descriptor": "d", "seq_num": 3, "time": 1.5, "data": {"y": 1.0, "x": 2, "T": 4}, "timestamps": {}}
    page = event | {"seq_num": [4, 5], "data": {"y": [1.0, 2.0], "x": [2, 3]}}
    lists = event | {"data": {"y": [1.0, 2.0, 3.0], "x": [2, 3, 4]}}
    known = {"uid": "d", "name": "primary", "run_start": "u", "data_keys": {"y": {"shape": []}, "x": {"shape": []}}}
    in_file = known | {"uid": "f", "data_keys": {key: {"external": "STREAM:", "shape": [2]} for key in "yx"}}
    resource = {"uid": "r", "data_key": "y", "mimetype": "application/x-hdf5", "uri": "file://localhost/a.h5",
                "parameters": {"dataset": "/y"}, "run_start": "u"}  # fmt: skip
    datum = {"stream_resource": "r", "descriptor": "f", "indices": {"start": 0, "stop": 4},
             "seq_nums": {"start": 1, "stop": 5}}  # fmt: skip
    documents = [("start", {"uid": "u", "scan_id": 3, "energy": 8.8}), ("descriptor", known), ("event", event)]
    documents += [("event_page", page), ("event", lists), ("descriptor", in_file), ("stream_resource", resource)]
    documents += [("stream_datum", datum), ("stop", {"run_start": "u", "exit_status": "abort", "reason": "x"})]
    corpus = [[bluesky(name, document)] for name, document in documents]
    corpus += [[b"p " + name.encode() + b" " + msgpack.packb(document)] for name, document in documents]
    return Target("bluesky", corpus, lambda: _news_reader(BlueskyReader(options)))


def _bluesky_resumed() -> Target:
    """The runs of bluesky's own RunEngine, each message read by two: one that is now and then given what the other keeps."""
    runs = json.loads((RECORDED.parent / "bluesky_runs.json").read_text())["runs"]
    corpus = [[bluesky(name, document)] for run in runs.values() for name, document in run]
    return Target("bluesky, over restarts", corpus, _resumed_reader)


def _resumed_reader() -> Callable[[Message], list[Any]]:
    options, number = SourceOptions(("ssy", "ssx")), 0
    kept: dict[str, dict[str, Any]] = {}
    reader = BlueskyReader(options)

    def read(message: Message) -> list[Any]:
        nonlocal reader, number
        number += 1
        found = []
        if number % 97 == 0:
            reader = BlueskyReader(options, may_resume=True)
        if number % 97 == 13 and number > 97:
            found = reader.resume(msgpack.unpackb(msgpack.packb(list(kept.values()))))
        news = reader.parse(message)
        if news.run_id is not None and news.to_keep is not None:
            kept[news.run_id] = {"run_id": news.run_id, "to_keep": news.to_keep, "frames": number % 5}
            kept.pop(next(iter(kept))) if len(kept) > 8 else None
        return [*found, news]

    return read


def _capture() -> Target:
    options = SourceOptions(("INENC2.VAL", "INENC1.VAL"), samples_per_frame=2, time_channel="PCAP.TS_TRIG")
    samples = np.arange(20.0).reshape(10, 2)
    corpus = [[b"header", capture_header()], [b"header", PLAIN_HEADER], [b"header", capture_header(7)]]
    corpus += [[b"data", capture_block(samples)[8:]]] * 4 + [[b"end", b"END 10 Ok"], [b"end", b"END 3 Data overrun"]]
    for name in ("slow", "fast"):
        splitter = CaptureSplitter()
        corpus += [[bytes(part) for part in parts] for parts in splitter.feed(_capture_recorded(name))]
    return Target("capture messages", corpus, lambda: _news_reader(CaptureReader(options)))


def _capture_recorded(name: str) -> bytes:
    return (RECORDED / f"pandablocks-{name}.bin").read_bytes()


def _news_reader(reader: PandaReader | BlueskyReader | CaptureReader) -> Callable[[Message], list[Any]]:
    return lambda message: [reader.parse(message)]


def _capture_stream() -> Target:
    samples = np.arange(20.0).reshape(10, 2)
    corpus = [[b"OK\n"], [capture_header()], [capture_block(samples)], [b"END 10 Ok\n"]]
    whole = b"OK\n" + capture_header() + capture_block(samples) + b"END 10 Ok\n"
    recorded = [[_capture_recorded("slow")], [_capture_recorded("fast")]]
    return Target("capture stream", [*corpus, [whole], [whole[:200]], [whole[200:]], *recorded], _stream_reader)


def _stream_reader() -> Callable[[Message], list[Any]]:
    """Read the byte stream of the port; after a fault the client connects anew."""
    splitter = CaptureSplitter()

    def read(message: Message) -> list[Any]:
        nonlocal splitter
        try:
            found = splitter.feed(b"".join(message))
        except PositionError:
            splitter = CaptureSplitter()
            raise
        assert len(splitter._kept) <= 17 * 2**20
        assert all(len(part) == 2 for part in found)
        return []

    return read


def mutations(corpus: list[Message], seed: int) -> Iterator[Message]:
    """Yield messages for ever, most of them damaged in one to four places, some whole."""
    rng = random.Random(seed)
    while True:
        message = list(rng.choice(corpus))
        for _ in range(rng.choice((0, 1, 1, 1, 2, 4))):
            _damage(message, corpus, rng)
        yield message


def _damage(message: Message, corpus: list[Message], rng: random.Random) -> None:
    kind = rng.randrange(10)
    if kind == 0 and len(message) > 1:
        del message[rng.randrange(len(message))]
    elif kind == 1:
        message.insert(rng.randrange(len(message) + 1), rng.choice(rng.choice(corpus)))
    elif message:
        place = rng.randrange(len(message))
        message[place] = _damaged(message[place], kind, corpus, rng)


def _damaged(part: bytes, kind: int, corpus: list[Message], rng: random.Random) -> bytes:
    if not part:
        return bytes([rng.randrange(256)])
    start = rng.randrange(len(part))
    stop = min(len(part), start + rng.choice((1, 2, 4, 16, 100)))
    if kind in (2, 3, 4):
        return part[:start] + bytes([part[start] ^ 1 << rng.randrange(8)]) + part[start + 1 :]
    if kind == 5:
        return part[:start]
    if kind == 6:
        return part[:start] + part[stop:]
    if kind == 7:
        return part[:stop] + part[start:stop] * rng.choice((1, 3, 20)) + part[stop:]
    if kind == 8:
        return part[:start] + rng.choice(ODD_NUMBERS) + part[stop:]
    other = rng.choice(rng.choice(corpus))
    return part[:start] + other[rng.randrange(len(other) + 1) :]


def structure(part: bytes) -> tuple[Any, Callable[[Any], bytes]] | None:
    """Return what a part holds and how to write it back, if it is JSON, msgpack or CBOR with a map."""
    for load, dump in (
        (json.loads, lambda value: json.dumps(value).encode()),
        (msgpack.unpackb, msgpack.packb),
        (cbor2.loads, cbor2.dumps),
    ):
        try:
            value = load(part)
        except Exception:
            continue
        if isinstance(value, dict) and value:
            return value, dump
    return None
