"""Troubles that take a living network or a hostile sender: named within seconds, and the next scan is perfect."""

from __future__ import annotations

import json
import pickle
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgpack
import numpy as np
import pytest

from daemon.status.status_warnings import StatusWarning
from streams.join.scan_warnings import ScanWarning
from streams.sockets.transport import Sender
from tests.support.daemon_tools import PATIENCE_S
from tests.support.position_tools import panda_data, panda_run, panda_start, sampled
from tests.support.stream_rig import (
    CODEC,
    COUNTS,
    PER_FRAME,
    PLACES_UM,
    Rig,
    end,
    images,
    run,
    running_rig,
    start,
    whole,
)

SOON_S = 5.0
FAR = np.array([[1e12, 0.0]])


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with running_rig(tmp_path_factory.mktemp("troubles")) as made:
        yield made


def said_soon(rig: Rig, words: str) -> None:
    """See that the status says some words soon; a machine that is busy with other things gets more time."""
    begun = time.monotonic()
    rig.says(words)
    assert time.monotonic() - begun < 6 * SOON_S


def refused(rig: Rig, reason: str) -> float:
    with urllib.request.urlopen(rig.daemon.addresses()["http"] + "/metrics") as answer:
        text = answer.read().decode()
    lines = [line for line in text.splitlines() if f'frames_refused_total{{reason="{reason}"}}' in line]
    return float(lines[0].split()[-1]) if lines else 0.0


def test_a_detector_restarted_in_mid_scan(rig: Rig) -> None:
    old, new = rig.next_series(), rig.next_series()
    rig.send([start(old), *images(old, 10)], run()[:4])
    rig.stitched(old, 10)
    rig.frames.close()
    rig.frames = Sender(">" + rig.endpoints["frames"])
    rig.send(whole(new), run())
    assert rig.ended(str(new))["result"] == "complete"
    said_soon(rig, f"scan {old}: a new scan began before its end: the detector was restarted")
    assert rig.ended(str(old))["verdict"]["stitched"] == 10
    assert rig.ended(str(old))["result"] == "incomplete"
    rig.clean_scan()


def test_a_detector_that_goes_silent_and_then_starts_anew(rig: Rig) -> None:
    old = rig.next_series()
    rig.send([start(old), *images(old, 10)], run()[:4])
    rig.stitched(old, 10)
    said_soon(rig, StatusWarning.NO_FRAMES.sentence.partition("{")[0])
    rig.clean_scan()
    assert rig.ended(str(old))["result"] == "incomplete"


class Cable:
    """A relay of one TCP port that can be cut."""

    def __init__(self, target: str) -> None:
        host, port = target.removeprefix("tcp://").split(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._ends: list[socket.socket] = []
        self._is_cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self._is_cut:
                    near.close()
                    continue
                far = socket.create_connection(self._target)
                self._ends += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        self._is_cut = True
        for each in self._ends:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._is_cut = False

    def close(self) -> None:
        self.cut()
        for each in (*self._ends, self._listener):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def test_a_cable_pulled_and_back(rig: Rig) -> None:
    series = rig.next_series()
    cable = Cable(rig.endpoints["frames"])
    rig.frames.close()
    rig.status(lambda status: not status["streams"][0]["connected"])
    rig.frames = Sender(">" + cable.endpoint)
    rig.send([start(series), *images(series, 10)], run())
    rig.stitched(series, 10)
    cable.cut()
    said_soon(rig, "the frames stream")
    cable.mend()
    rig.send([*images(series)[10:], end(series)])
    header = rig.ended(str(series))
    assert header["verdict"]["stitched"] + header["verdict"]["missing"] == 24
    rig.clean_scan()
    cable.close()
    rig.frames.close(0)
    rig.frames = Sender(">" + rig.endpoints["frames"])


def test_a_second_publisher_of_positions(rig: Rig) -> None:
    series = rig.next_series()
    ours, others = run(), run(shift=50.0)[1:-1]
    with Sender(">" + rig.endpoints["positions"], "pub") as other:
        assert other.wait_for_peer(PATIENCE_S)
        rig.send([start(series), *images(series, 10)], ours[:4])
        rig.stitched(series, 10)
        for message in others[:3]:
            other.send([message])
        said_soon(rig, "a second source sends too")
        rig.send([*images(series)[10:], end(series)], ours[4:])
        header = rig.ended(str(series))
    assert header["result"] == "complete"
    assert "a second source sends too" in header["notes"][0]
    rig.clean_scan()


@pytest.mark.parametrize(("sent", "outcome"), [(5, "complete"), (1, "incomplete")])
def test_wrong_samples_per_frame(rig: Rig, sent: int, outcome: str) -> None:
    series = rig.next_series()
    rig.send([], panda_run(sampled(PLACES_UM[:24], sent), 10))
    rig.send(whole(series))
    header = rig.ended(str(series))
    words = ScanWarning.WRONG_SAMPLES_PER_FRAME.text(samples=24 * sent, frames=24, found=sent, configured=2)
    assert words in header["notes"]
    assert header["result"] == outcome
    said_soon(rig, words)
    record = json.loads((rig.daemon.scans.records.folder(str(series)) / "scan.json").read_text())
    assert words in record["notes"]
    rig.clean_scan()


def test_lost_triggers_are_seen_by_the_clocks(rig: Rig) -> None:
    series, count = rig.next_series(), 160
    frames = [start(series, count)]
    for k in range(count):
        head, about, blob, config = CODEC.encode_frame(str(series), k, COUNTS[k])
        exposed_ns = round(1e7 * (k + 3 * (k >= 80)))
        config = json.dumps({"htype": "dconfig-1.0", "start_time": exposed_ns, "stop_time": exposed_ns + 1}).encode()
        frames.append([head, about, blob, config])
    rig.send([*frames, end(series)], panda_run(sampled(PLACES_UM[:count], PER_FRAME), 40, period_s=0.005))
    (note,) = rig.ended(str(series))["notes"]
    assert note == ScanWarning.LOST_TRIGGERS.text(index=80, frames=3)
    rig.clean_scan()


def test_positions_that_are_no_places(rig: Rig) -> None:
    series = rig.next_series()
    samples = sampled(PLACES_UM[:24], PER_FRAME)
    samples[4, 0], samples[9, 1], samples[12:14] = np.nan, -np.inf, FAR
    rig.send(whole(series), panda_run(samples, 10))
    header = rig.ended(str(series))
    assert header["verdict"]["refused"] == {"bad_position": 3}
    assert header["notes"][0] == ScanWarning.BAD_POSITIONS.text(count=3)
    assert header["verdict"]["stitched"] == 21
    rig.clean_scan()


@pytest.mark.parametrize(
    "message",
    [
        b"[" * 100_000,
        b'{"msg_type":' * 10_000,
        b"x" * (5 << 20),
        pickle.dumps({"msg_type": "start"}),
        panda_data(0, 2**62, np.ones((2, 2))),
        b"\xff" * 100,
    ],
    ids=["deep list", "deep map", "long", "pickle", "sample 2^62", "bytes"],
)
def test_hostile_position_messages_are_counted_and_change_nothing(rig: Rig, message: bytes) -> None:
    before = refused(rig, "position_message")
    series = rig.next_series()
    positions = run()
    rig.send(whole(series), [*positions[:3], message, *positions[3:]])
    header = rig.ended(str(series))
    assert header["result"] == "complete", str(header["verdict"])
    notes = [note for note in header["notes"] if not note.startswith("1 position messages were refused; the first: ")]
    assert notes == []  # the message may have come before the scan was open
    assert refused(rig, "position_message") == before + 1
    rig.clean_scan()


def test_a_flood_of_series_is_one_refused_scan(tmp_path: Path) -> None:
    with running_rig(tmp_path) as rig:
        for series in range(1000, 1400):
            rig.send([images(series, 1)[0]] if series % 2 else [start(series)])
        said_soon(rig, ScanWarning.TOO_MANY_SCANS.text())
        names = [record["id"] for record in rig.daemon.scans.listing()]
        assert "too-many-scans" in names
        assert len(names) < 200
        rig.status(lambda status: len(rig.daemon.scans.listing()) >= 65)


def test_a_flood_of_names_and_of_starts_leaves_the_position_stream_good(rig: Rig) -> None:
    for _ in range(300):
        rig.send([], [panda_start()])
    rig.clean_scan()


def test_a_flood_of_named_native_positions(tmp_path: Path) -> None:
    native = ('positions.source="native"', 'positions.socket="sub"', "positions.timeout_s=20")
    with running_rig(tmp_path, *native) as rig:
        for k in range(2000):
            header = {"schema_version": 1, "scan_id": f"name-{k}", "first": 0, "position_m": [[0, 0]]}
            rig.positions.send([b"positions", msgpack.packb(header)])
        series = rig.next_series()
        header = {"schema_version": 1, "scan_id": str(series), "first": 0, "position_m": PLACES_UM[:24].tolist()}
        rig.positions.send([b"positions", msgpack.packb(header)])
        rig.send(whole(series))
        assert rig.ended(str(series))["verdict"]["stitched"] == 24
