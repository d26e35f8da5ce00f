"""Streams as others send them, and headers that hold what nothing can store: every scan ends and the viewers live on."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cbor2
import msgpack
import numpy as np
import pytest

from daemon.app import Daemon
from daemon.client import Viewer
from streams.codecs import CODECS
from streams.frame import PositionM, ScanStart
from streams.position_sources.positions import encode_positions
from streams.sockets.transport import Sender
from tests.support.daemon_tools import PATIENCE_S, adds_up, follow, running_daemon
from tests.support.recorded import SHAPE, dectris_v1, dectris_v1_pixels, dectris_v2

FRAMES = 4
COUNTS = np.random.default_rng(0).poisson(3.0, (FRAMES, 128, 128)).astype(np.uint16)
SURROGATE = "lone \ud800 here"
HUGE = {"expected_frames": 10**30, "scan_id": SURROGATE, "source": SURROGATE, "energy": 10**4000, "tags": "x" * 10_000}
USER_DATA: dict[str, Any] = {
    "big": -(2**64), "bignum": 2**90, "nul": "a\0b", "long": list(range(10**5)), "nan": float("nan"), 7: 8,
    "deep": [[[[[[[[[[1]]]]]]]]]],
}  # fmt: skip
ABSURD = {"incident_energy": 1e300, "detector_translation": [0.0, 0.0, 1e300], "pixel_size_x": -1.0, "pixel_size_y": 1e-300,
          "beam_center_x": float("nan"), "beam_center_y": 1e9, "saturation_value": -(2**64), "image_size_x": 128,
          "image_size_y": 128, "number_of_images": 2**63, "frame_time": float("inf")}  # fmt: skip
PLACES = ('positions.source="raster"', "positions.shape=[2, 2]", "positions.step_m=[1e-6, 1e-6]")
CENTRE = f"detector.center_px=[{SHAPE[0] // 2}, {SHAPE[1] // 2}]"


def array1() -> Iterator[list[bytes]]:
    for index in range(FRAMES):
        head, pixels = CODECS["array-1.0"]().encode_frame("x", index, COUNTS[index], PositionM(0, index * 1e-6))
        yield [json.dumps(json.loads(head) | HUGE).encode(), pixels]


def v1() -> Iterator[list[bytes]]:
    codec = CODECS["dectris-v1"]()
    head, configuration, _ = codec.encode_start(ScanStart("7", FRAMES), (128, 128), "uint16")
    configuration = json.dumps(json.loads(configuration) | HUGE | {"ntrigger": 10**30, "photon_energy": 1e300}).encode()
    yield [head, configuration, json.dumps({"scan_id": SURROGATE}).encode()]
    for index in range(FRAMES):
        yield codec.encode_frame("7", index, COUNTS[index], PositionM(0, index * 1e-6))
    yield [json.dumps({"htype": "dimage-1.0", "series": 7, "frame": SURROGATE}).encode(), b"{}", b"x", b"{}"]
    yield codec.encode_end("7")


def v2() -> Iterator[list[bytes]]:
    codec = CODECS["dectris-v2"]()
    start = dict(cbor2.loads(codec.encode_start(ScanStart("v2", FRAMES), (128, 128), "uint16")[0]))
    yield [cbor2.dumps(start | ABSURD | {"user_data": USER_DATA, "new_key": cbor2.CBORTag(4, [1, 2])})]
    for index in range(FRAMES):
        yield codec.encode_frame("v2", index, COUNTS[index], PositionM(0, index * 1e-6))
    yield codec.encode_end("v2")


def native() -> Iterator[list[bytes]]:
    codec = CODECS["native"]()
    metadata = {"t": msgpack.Timestamp(5), "nul": "a\0b", "deep": USER_DATA["deep"], "photon_energy_eV": -1.0, 5: 6}
    header = {"schema_version": 1, "scan_id": "nul \0 here", "expected_frames": 2**63, "metadata": metadata, "new": 1}
    yield [b"start", msgpack.packb(header)]
    for index in range(FRAMES):
        yield codec.encode_frame("nul \0 here", index, COUNTS[index], PositionM(0, index * 1e-6))
    yield codec.encode_end("nul \0 here")


def get(daemon: Daemon, path: str) -> Any:
    with urllib.request.urlopen(daemon.addresses()["http"] + path) as answer:
        return json.loads(answer.read())


@pytest.mark.parametrize("has_journal", [True, False])
@pytest.mark.parametrize("messages", [array1, v1, v2, native], ids=lambda made: made.__name__)
def test_what_nothing_can_store_is_left_out_and_said(tmp_path: Path, messages: Any, has_journal: bool) -> None:
    formats = {array1: "array-1.0", v1: "dectris-v1", v2: "dectris-v2", native: "native"}
    options = [f'frames.format="{formats[messages]}"', "frames.scan_timeout_s=2.0"]
    if not has_journal:
        options.append('output.journal="off"')
    with (
        running_daemon(tmp_path, *options) as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
        Sender(">" + daemon.addresses()["streams"]["frames"]) as sender,
    ):
        for message in messages():
            sender.send(message)
        ended, _ = follow(viewer)
        verdict = ended["verdict"]
        assert adds_up(verdict)
        assert (verdict["stitched"], verdict["expected"]) == (FRAMES, None)
        assert any("number of frames" in note for note in ended["notes"])
        assert ended["product"] is not None
        json.dumps(get(daemon, "/api/v1/status"), ensure_ascii=False).encode()
        (scan,) = get(daemon, "/api/v1/scans")
        assert scan["notes"] == ended["notes"]


def test_position_messages_with_text_that_utf8_cannot_hold(tmp_path: Path) -> None:
    options = ('positions.source="panda"', 'positions.endpoint="@tcp://127.0.0.1:0"', 'positions.socket="pull"')
    with (
        running_daemon(tmp_path, *options) as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
        Sender(">" + daemon.addresses()["streams"]["positions"]) as sender,
    ):
        sender.send([json.dumps({"msg_type": SURROGATE}).encode()])
        sentences = (header["sentence"] for topic, header, _ in viewer.events() if topic == "status")
        assert "lone \ufffd here" in next(sentence for sentence in sentences if "lone" in sentence)


def recorded_v2() -> Iterator[list[bytes]]:
    yield from ([dectris_v2(kind)] for kind in ("start", "image", "end"))


def recorded_v1() -> Iterator[list[bytes]]:
    blob = dectris_v1_pixels()
    about = {
        "htype": "dimage_d-1.0",
        "shape": SHAPE[::-1],
        "type": "uint16",
        "encoding": "bs16-lz4<",
        "size": len(blob),
    }
    yield [b'{"header_detail":"none","htype":"dheader-1.0","series":5}']
    yield [b'{"frame":0,"hash":"","htype":"dimage-1.0","series":5}', json.dumps(about).encode(), blob, b"{}"]
    yield [b'{"htype":"dseries_end-1.0","series":5}']


@pytest.mark.parametrize(
    ("name", "made", "scan_id"),
    [("dectris-v2", recorded_v2, "01HBV3JPF9T4ZDPADX6EMK6XMZ"), ("dectris-v1", recorded_v1, "5")],
)
def test_a_recorded_image_is_stitched(tmp_path: Path, name: str, made: Any, scan_id: str) -> None:
    with (
        running_daemon(tmp_path, f'frames.format="{name}"', CENTRE, *PLACES) as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
        Sender(">" + daemon.addresses()["streams"]["frames"]) as sender,
    ):
        for message in made():
            sender.send(message)
        ended, _ = follow(viewer)
        assert ended["scan_id"] == scan_id
        assert (ended["verdict"]["received"], ended["verdict"]["stitched"]) == (1, 1)


def test_a_recorded_v1_series_whose_images_were_cut_is_refused_frame_by_frame(tmp_path: Path) -> None:
    with (
        running_daemon(tmp_path, 'frames.format="dectris-v1"', CENTRE, *PLACES) as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
        Sender(">" + daemon.addresses()["streams"]["frames"]) as sender,
    ):
        for message in dectris_v1():
            sender.send(message)
        ended, _ = follow(viewer)
        assert (ended["scan_id"], ended["verdict"]["refused"], ended["verdict"]["expected"]) == ("6", {"corrupt": 3}, 3)
        assert len([note for note in ended["notes"] if "does not match its description" in note]) == 2


def test_native_positions_of_an_odd_scan(tmp_path: Path) -> None:
    options = ('positions.source="native"', 'positions.endpoint="@tcp://127.0.0.1:0"', 'positions.socket="pull"')
    name = "odd \0 name"
    codec = CODECS["native"]()
    with (
        running_daemon(tmp_path, *options) as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
        Sender(">" + daemon.addresses()["streams"]["frames"]) as frames,
        Sender(">" + daemon.addresses()["streams"]["positions"]) as positions,
    ):
        positions.send(encode_positions(np.zeros((2, 2)), scan_id=name))
        frames.send(codec.encode_start(ScanStart(name, 2), (128, 128), "uint16"))
        for index in range(2):
            frames.send(codec.encode_frame(name, index, COUNTS[index]))
        frames.send(codec.encode_end(name))
        ended, _ = follow(viewer)
        assert (ended["result"], ended["verdict"]["stitched"]) == ("complete", 2)
