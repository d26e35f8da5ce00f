"""Senders of images over pvAccess and of Bluesky documents that others wrote, each in its own process."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from streams.codecs import CODECS, EncodedFrame
from streams.detectors.pva import PvaReceiver
from streams.errors import CodecError, PositionError
from streams.frame import PositionNews
from streams.position_sources.bluesky import BlueskyReader
from streams.position_sources.samples import SourceOptions
from streams.sockets.transport import Receiver
from tests.support import SUPPORT
from tests.support.position_tools import Gate
from tests.support.sender_tools import PATIENCE_S, make_environment, process

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

RUNS = Path(__file__).parents[1] / "data" / "bluesky_runs.json"


@pytest.fixture(scope="session")
def programs() -> Path:
    return make_environment()


def ports() -> tuple[int, int]:
    """Return a free TCP and a free UDP port."""
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        udp.bind(("127.0.0.1", 0))
        return tcp.getsockname()[1], udp.getsockname()[1]


@contextmanager
def pvapy(programs: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> Iterator[Gate]:
    """Yield what hears the messages of pvapy's simulated area detector."""
    tcp, udp = map(str, ports())
    for key, value in {
        "EPICS_PVAS_INTF_ADDR_LIST": "127.0.0.1", "EPICS_PVAS_SERVER_PORT": tcp, "EPICS_PVAS_BROADCAST_PORT": udp,
        "EPICS_PVA_AUTO_ADDR_LIST": "NO", "EPICS_PVA_ADDR_LIST": f"127.0.0.1:{udp}",
    }.items():  # fmt: skip
        monkeypatch.setenv(key, value)
    command = [str(programs / "pvapy-ad-sim-server"), "-cn", "SIM:Image", "-fps", "20", "-rt", "100", "-dc", *options]
    with process(command, folder):
        gate = Gate()
        source = PvaReceiver("frames", "pva://SIM:Image", lambda parts, _: gate([bytes(part) for part in parts]))
        source.start()
        try:
            yield gate
        finally:
            source.stop()


def test_images_of_pvapys_simulated_area_detector(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = np.random.default_rng(1).poisson(3, (20, 64, 48)).astype(np.uint16)
    np.save(tmp_path / "frames.npy", counts)
    with pvapy(programs, tmp_path, monkeypatch, "-if", str(tmp_path / "frames.npy")) as gate:
        codec = CODECS["pva"]()
        items = [item for parts in gate.wait(5) for item in codec.parse(parts, 1)]
    frames = [item.decode() for item in items if isinstance(item, EncodedFrame)]
    assert len(frames) >= 5
    shown = [next(k for k in range(20) if np.array_equal(counts[k], frame.counts)) for frame in frames]
    steps = [(later - first) % 20 for first, later in zip(shown, shown[1:], strict=False)]
    assert steps == [later.index - first.index for first, later in zip(frames, frames[1:], strict=False)]


def test_colour_images_of_pvapy_are_refused_by_name(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pvapy(programs, tmp_path, monkeypatch, "-cm", "2", "-nx", "16", "-ny", "8", "-nf", "10") as gate:
        items = CODECS["pva"]().parse(gate.wait(1)[0], 1)
    fault = items[-1]
    assert isinstance(fault, CodecError)
    assert (fault.reason, fault.index) == ("shape", 0)
    assert "is not [rows, columns] of one grey image" in str(fault)


@pytest.mark.parametrize("packing", ["json", "msgpack", "pickle"])
def test_documents_through_blueskys_publisher_and_proxy(programs: Path, tmp_path: Path, packing: str) -> None:
    made = json.loads(RUNS.read_text())
    wanted = [name for name, _ in made["runs"]["other streams"]]
    command = [str(programs / "python"), str(SUPPORT / "bluesky_side.py"), str(RUNS), "other streams", packing]
    with process(command, tmp_path) as side:
        gate = Gate()
        receiver = Receiver(
            "positions", side.wait_for(r"at (tcp://\S+)"), "sub", lambda parts, _: gate(bytes(parts[0]))
        )
        receiver.start()
        assert receiver.wait_for(lambda: receiver.connected, PATIENCE_S)
        while not receiver.messages:  # a publisher drops what it sends before it knows of its subscriber
            side.tell("go")
            receiver.wait_for(lambda: receiver.messages > 0, 1.0)
        messages = gate.wait(len(wanted))
        receiver.stop()
    first = next(k for k, message in enumerate(messages) if b" start " in message[:40])
    reader = BlueskyReader(SourceOptions(("ssy", "ssx")))
    if packing == "pickle":
        with pytest.raises(PositionError, match="pickled; pickles are never loaded"):
            reader.parse([messages[first]])
        return
    news: list[PositionNews] = [reader.parse([message]) for message in messages[first : first + len(wanted)]]
    assert [list(p.position_m) for each in news for p in each.positions] == made["places"]
