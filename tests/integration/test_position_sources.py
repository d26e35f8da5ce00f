"""Every source of positions through a real daemon: the same picture from each, on the shipped scan's first frames."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import msgpack
import numpy as np
import pytest

from daemon.client import Viewer
from daemon.publish.snapshot import LayerCanvas
from streams.codecs import CODECS
from streams.frame import PositionM, ScanStart
from streams.sockets.transport import Sender
from tests.support.daemon_tools import PATIENCE_S, follow, on_common_ground, running_daemon
from tests.support.position_tools import CapturePort, bluesky, capture_block, capture_header, panda_run, sampled
from tests.support.stream_rig import COUNTS, SCAN

FRAMES, PER_FRAME = 60, 4
PLACES_UM = SCAN.positions_m[:FRAMES] * 1e6

SendPositions = Callable[[dict[str, Any]], None]


def send_frames(daemon: Any, stream_format: str, carried: bool = False, counts: np.ndarray = COUNTS) -> None:
    codec = CODECS[stream_format]()
    with Sender(">" + daemon.addresses()["streams"]["frames"]) as sender:
        sender.send(codec.encode_start(ScanStart("1", FRAMES), counts.shape[1:], counts.dtype))
        for k in range(FRAMES):
            place = PositionM(*SCAN.positions_m[k].tolist()) if carried else None
            sender.send(codec.encode_frame("1", k, counts[k], place))
        sender.send(codec.encode_end("1"))


def scan(
    folder: Path, settings: tuple[str, ...], send_positions: SendPositions | None, **frames: Any
) -> tuple[dict[str, Any], LayerCanvas]:
    """Return the end of a scan and its picture; positions are sent while the frames are."""
    folder.mkdir(exist_ok=True)
    settings = ("positions.timeout_s=60", *settings)
    with running_daemon(folder, *settings) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        sending = (
            threading.Thread(target=send_positions, args=(daemon.addresses()["streams"],)) if send_positions else None
        )
        if sending is not None:
            sending.start()
        send_frames(daemon, **({"stream_format": "native"} | frames))
        ended, pictures = follow(viewer)
        with urllib.request.urlopen(daemon.addresses()["http"] + "/api/v1/scans/1") as answer:
            ended["record"] = json.loads(answer.read())
    if sending is not None:
        sending.join()
    assert ended["verdict"]["stitched"] == FRAMES, ended
    assert ended["result"] == "complete"
    return ended, pictures["network"]


@pytest.fixture(scope="module")
def carried(tmp_path_factory: pytest.TempPathFactory) -> LayerCanvas:
    """The picture with the positions that the frames carry."""
    return scan(tmp_path_factory.mktemp("carried"), (), None, carried=True)[1]


def is_same(ours: LayerCanvas, theirs: LayerCanvas) -> bool:
    a, b = on_common_ground(ours, theirs)
    return bool(np.abs(b).max() > 0.5) and np.allclose(a, b, atol=2e-2)


@contextmanager
def publisher(streams: dict[str, Any], name: str = "positions") -> Iterator[Sender]:
    with Sender(">" + streams[name], "pub") as sender:
        assert sender.wait_for_peer(PATIENCE_S)
        yield sender


def test_panda_counts_with_scale_and_flips(tmp_path: Path, carried: LayerCanvas) -> None:
    def send(streams: dict[str, Any]) -> None:
        with publisher(streams) as sender:
            for message in panda_run(sampled(PLACES_UM * [-500, 250], PER_FRAME, 3.0)):
                sender.send([message])

    settings = (
        'positions.source="panda"',
        'positions.endpoint="@tcp://127.0.0.1:0"',
        'positions.unit="nm"',
        "positions.scale=[2.0, 4.0]",
        'positions.flips=["y"]',
        f"positions.samples_per_frame={PER_FRAME}",
    )
    ended, picture = scan(tmp_path / "panda", settings, send)
    assert ended["notes"] == []
    assert is_same(picture, carried)


def test_pandablocks_capture_port(tmp_path: Path, carried: LayerCanvas) -> None:
    port = CapturePort()
    samples = sampled(PLACES_UM / 1000, PER_FRAME)

    def send(_: dict[str, Any]) -> None:
        with port.client() as connection:
            half = len(samples) // 2 + 1
            connection.sendall(capture_header() + capture_block(samples[:half]))
        with port.client() as connection:  # the network broke, and nothing was lost
            connection.sendall(capture_header(missed=half) + capture_block(samples[half:], half))
            connection.sendall(b"END %d Ok\n" % len(samples))
            assert connection.recv(1) == b""  # until the daemon ends

    settings = (
        'positions.source="pandablocks"',
        f'positions.endpoint="{port.endpoint}"',
        'positions.channels=["INENC2.VAL", "INENC1.VAL"]',
        'positions.unit="mm"',
        f"positions.samples_per_frame={PER_FRAME}",
    )
    ended, picture = scan(tmp_path / "blocks", settings, send)
    port.close()
    assert ended["notes"] == []
    assert is_same(picture, carried)


@pytest.mark.parametrize("packing", ["json", "msgpack"])
def test_bluesky_events(tmp_path: Path, carried: LayerCanvas, packing: str) -> None:
    def event(number: int, y: Any, x: Any) -> dict[str, Any]:
        return {"descriptor": "d", "seq_num": number, "time": 0.0, "data": {"ssy": y, "ssx": x}, "timestamps": {}}

    start = {"uid": "u-7", "scan_id": 4711, "plan_name": "fly", "energy": 8.8}
    keys = {"ssy": {"dtype": "number", "shape": []}, "ssx": {"dtype": "number", "shape": []}}
    documents: list[tuple[str, dict[str, Any]]] = [("start", start)]
    for uid, name in (("b", "baseline"), ("d", "primary")):
        documents.append(("descriptor", {"uid": uid, "name": name, "run_start": "u-7", "data_keys": keys}))
        documents += [("event", event(1, 5e3, 5e3) | {"descriptor": uid})] * (name == "baseline")
    documents += [("event", event(k + 1, *PLACES_UM[k].tolist())) for k in range(20)]
    page = event(0, PLACES_UM[20:, 0].tolist(), PLACES_UM[20:, 1].tolist()) | {"seq_num": list(range(21, FRAMES + 1))}
    documents += [("event", event(2, 5e3, 5e3) | {"descriptor": "b"})]
    documents += [("event_page", page), ("stop", {"run_start": "u-7", "exit_status": "success"})]

    def send(streams: dict[str, Any]) -> None:
        with publisher(streams) as sender:
            for name, document in documents:
                packed = b"p " + name.encode() + b" " + msgpack.packb(document)
                sender.send([packed if packing == "msgpack" else bluesky(name, document)])

    settings = (
        'positions.source="bluesky"',
        'positions.endpoint="@tcp://127.0.0.1:0"',
        'positions.channels=["ssy", "ssx"]',
        'positions.unit="um"',
        'metadata.energy_key="energy"',
    )
    ended, picture = scan(tmp_path / "bluesky", settings, send)
    assert ended["notes"] == []
    assert ended["record"]["run"] == start
    assert is_same(picture, carried)


def test_positions_that_a_bluesky_run_leaves_in_a_file(tmp_path: Path, carried: LayerCanvas) -> None:
    """The documents of bluesky's own RunEngine; the file grows while the run goes on."""
    made = json.loads((Path(__file__).parents[1] / "data" / "bluesky_runs.json").read_text())
    path = tmp_path / "panda.h5"
    documents = json.loads(json.dumps(made["runs"]["files"]).replace("/FOLDER/panda.h5", str(path)))
    rows = len(made["places"])  # as many for each event as make the scan whole
    assert rows * 5 == FRAMES
    for name, each in documents:
        if name == "descriptor":
            for key in each["data_keys"].values():
                key["shape"] = [5]

    def send(streams: dict[str, Any]) -> None:
        with h5py.File(path, "w", libver="latest") as file, publisher(streams) as sender:
            group = file.create_group("entry")
            sets = [group.create_dataset(name, (0,), "f8", maxshape=(None,), chunks=(64,)) for name in ("ssy", "ssx")]
            file.swmr_mode = True
            for name, each in documents:
                if name == "stop":
                    for axis, dataset in enumerate(sets):
                        dataset.resize(FRAMES, axis=0)
                        dataset[:] = PLACES_UM[:, axis]
                        dataset.flush()
                sender.send([bluesky(name, each)])

    settings = (
        'positions.source="bluesky"',
        'positions.endpoint="@tcp://127.0.0.1:0"',
        'positions.channels=["ssy", "ssx"]',
        'positions.unit="um"',
        f"positions.resource_folders=[{json.dumps(str(tmp_path))}]",
    )
    ended, picture = scan(tmp_path / "bluesky", settings, send)
    assert ended["notes"] == []
    assert is_same(picture, carried)


def test_run_metadata_beside_another_source(tmp_path: Path) -> None:
    """The run's energy is compared; its stop closes a scan whose end message was lost."""
    settings = ('metadata.endpoint="@tcp://127.0.0.1:0"', 'metadata.energy_key="energy"', "positions.timeout_s=1")
    codec = CODECS["native"]()
    with (
        running_daemon(tmp_path, *settings) as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
        publisher(daemon.addresses()["streams"], "metadata") as documents,
        Sender(">" + daemon.addresses()["streams"]["frames"]) as sender,
    ):
        documents.send([bluesky("start", {"uid": "u", "scan_id": 12, "energy": 9.3})])
        sender.send(codec.encode_start(ScanStart("1"), COUNTS.shape[1:], COUNTS.dtype))
        for k in range(10):
            sender.send(codec.encode_frame("1", k, COUNTS[k], PositionM(*SCAN.positions_m[k].tolist())))
        for topic, header, _ in viewer.events():
            if topic == "status" and header["frames_stitched"] == 10:
                break
        documents.send([bluesky("stop", {"run_start": "u", "exit_status": "abort", "reason": "shutter"})])
        ended, _ = follow(viewer)
        record = json.loads((daemon.scans.records.folder("1") / "scan.json").read_text())
    assert record["run"] == {"uid": "u", "scan_id": 12, "energy": 9.3}
    assert ended["result"] == "complete"
    notes = " | ".join(ended["notes"])
    assert "the Bluesky run ended with abort: shutter" in notes
    assert "the detector's end message was lost" in notes
    assert "the run's energy is 9300.0 eV but 8800.0 eV is used" in notes


def test_spiral_is_computed(tmp_path: Path) -> None:
    settings = ('positions.source="spiral"', f"positions.count={FRAMES}", "positions.step_m=[4e-7, 4e-7]")
    ended, picture = scan(tmp_path / "spiral", settings, None)
    assert ended["notes"] == []
    assert picture.shape[0] > 128


@pytest.mark.parametrize("stream_format", ["dectris-v1", "dectris-v2"])
def test_positions_in_what_users_may_add_to_a_detector_frame(
    tmp_path: Path, carried: LayerCanvas, stream_format: str
) -> None:
    """The image appendix of V1, the user data of V2."""
    _, picture = scan(
        tmp_path / "appendix", (f'frames.format="{stream_format}"',), None, stream_format=stream_format, carried=True
    )
    assert is_same(picture, carried)
