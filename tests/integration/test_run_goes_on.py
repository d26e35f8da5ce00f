"""A run of the control system goes on while the daemon is killed and started again: its positions are still its own."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np

from daemon.client import Viewer
from daemon.files import read_product
from streams.codecs import CODECS
from streams.frame import ScanStart
from streams.sockets.transport import Sender
from tests.support.daemon_tools import PATIENCE_S, follow
from tests.support.kill_tools import asked, serving, wait_until_it_goes_on
from tests.support.position_tools import bluesky
from tests.support.stream_rig import COUNTS, SCAN

FRAMES, BEFORE = 24, 10
START = {"uid": "u-9", "scan_id": 4712, "plan_name": "fly", "energy": 8.8}
KEYS = {"ssy": {"dtype": "number", "shape": []}, "ssx": {"dtype": "number", "shape": []}}
SETTINGS = (
    'positions.source="bluesky"',
    'positions.endpoint="@tcp://127.0.0.1:0"',
    'positions.channels=["ssy", "ssx"]',
    "positions.timeout_s=60",
    'metadata.endpoint="@tcp://127.0.0.1:0"',
)
CODEC = CODECS["native"]()

Documents = list[tuple[str, dict[str, Any]]]


def events(first: int, stop: int) -> Documents:
    """Return the events of some frames, each beside one of a monitor of the same motors, elsewhere."""
    found: Documents = []
    for k in range(first, stop):
        y, x = SCAN.positions_m[k].tolist()
        for uid, shift in (("d", 0.0), ("m", 3e-6)):
            data = {"ssy": y + shift, "ssx": x - shift}
            found.append(("event", {"descriptor": uid, "seq_num": k + 1, "data": data, "timestamps": {}}))
    return found


def beginning() -> Documents:
    streams = [("d", "primary"), ("m", "ssy_monitor")]
    return [
        ("start", START),
        *(("descriptor", {"uid": uid, "name": name, "run_start": "u-9", "data_keys": KEYS}) for uid, name in streams),
    ]


def send(streams: dict[str, str], documents: Documents, frames: list[list[bytes]]) -> None:
    """Send frames and the run's documents, as both streams that take them hear them."""
    with Sender(">" + streams["frames"]) as detector:
        for name in ("positions", "metadata"):
            with Sender(">" + streams[name], "pub") as sender:
                assert sender.wait_for_peer(PATIENCE_S)
                for kind, document in documents:
                    sender.send([bluesky(kind, document)])
        for message in frames:
            detector.send(message)


def images(first: int, stop: int) -> list[list[bytes]]:
    return [CODEC.encode_frame("9", k, COUNTS[k]) for k in range(first, stop)]


def test_the_events_after_a_kill_are_positions_of_their_run(tmp_path: Path) -> None:
    opened = CODEC.encode_start(ScanStart("9"), COUNTS.shape[1:], COUNTS.dtype)
    with serving(tmp_path, *SETTINGS) as (process, addresses), Viewer(addresses["updates"], PATIENCE_S) as viewer:
        send(addresses["streams"], beginning() + events(0, BEFORE), [opened, *images(0, BEFORE)])
        for topic, header, _ in viewer.events():
            if topic == "status" and header["frames_stitched"] == BEFORE:
                break
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)
    with serving(tmp_path, *SETTINGS) as (_, addresses), Viewer(addresses["updates"], PATIENCE_S) as viewer:
        stop = ("stop", {"run_start": "u-9", "exit_status": "success"})
        send(addresses["streams"], [*events(BEFORE, FRAMES), stop], images(BEFORE, FRAMES))
        wait_until_it_goes_on(viewer, "9", FRAMES)
        send(addresses["streams"], [], [CODEC.encode_end("9")])
        follow(viewer, "9")
        record = asked(addresses, "/api/v1/scans/9")
    verdict = record["verdict"]
    assert verdict["stitched"] == verdict["received"] == FRAMES, record
    assert record["notes"] == []
    assert record["run"] == START
    product = read_product(Path(record["product"]))
    np.testing.assert_array_equal(product.indexes, range(FRAMES))
    np.testing.assert_allclose(product.positions_m, SCAN.positions_m[:FRAMES], atol=1e-12)
