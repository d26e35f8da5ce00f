"""After many short scans the daemon holds the working parts of none of them, and their records alone."""

from __future__ import annotations

import gc
from collections import Counter
from pathlib import Path

from daemon.client import Viewer
from daemon.intake.preprocess import Preprocess
from streams.codecs import CODECS
from streams.frame import PositionM, ScanStart
from streams.sockets.transport import Sender
from tests.support.daemon_tools import PATIENCE_S, real_scan, running_daemon

SCANS, FRAMES = 100, 2
MOST_PICTURES = 4
"""Scans whose pictures late viewers are shown."""
MOST_ACCOUNTS = 64
"""Accounts that the join keeps of closed scans, for frames that come late."""


def held_objects() -> Counter[str]:
    gc.collect()
    return Counter(type(each).__name__ for each in gc.get_objects())


def test_a_hundred_short_scans_leave_their_records_alone(tmp_path: Path) -> None:
    counts, positions_m = real_scan().counts[:FRAMES], real_scan().positions_m[:FRAMES]
    codec, results = CODECS["native"](), dict[str, str]()
    before = held_objects()
    with running_daemon(tmp_path) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        with Sender(">" + daemon.addresses()["streams"]["frames"]) as sender:
            for number in range(SCANS):
                name = f"s{number}"
                sender.send(codec.encode_start(ScanStart(name, FRAMES), counts.shape[1:], counts.dtype))
                for i in range(FRAMES):
                    sender.send(codec.encode_frame(name, i, counts[i], PositionM(*positions_m[i])))
                sender.send(codec.encode_end(name))
            for topic, header, _ in viewer.events():
                if topic == "scan" and header["state"] == "ended":
                    results[header["scan_id"]] = header["result"]
                    if len(results) == SCANS:
                        break
        next(header for topic, header, _ in viewer.events() if topic == "status" and header["phase"] == "idle")
        held = held_objects() - before
        assert set(results.values()) == {"complete"}
        assert daemon.scans.running() == []
    assert len(daemon.scans.listing()) == SCANS
    assert held["Scan"] <= SCANS  # fewer where those of a test before were let go meanwhile
    assert held["ScanRecord"] <= SCANS
    assert held["ScanWork"] <= 1  # the last one may be improved still
    assert held["Examination"] <= 1
    assert held["EngineScan"] == held["Waiting"] == 0
    assert held["ScanPictures"] <= MOST_PICTURES
    assert held[Preprocess.__name__] <= 1
    assert held["ScanPreprocess"] == 0
    assert held["ScanLog"] <= 1  # of positions without a scan
    assert held["ScanAccount"] <= MOST_ACCOUNTS
    assert held["LayerCanvas"] <= 2 * MOST_PICTURES  # the viewer of this test has as many
