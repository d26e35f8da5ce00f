"""Senders that others wrote, and a relay: pixel by pixel, and through a live reconstruction of the real scan."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
import zmq
from numpy.typing import NDArray
from typer.testing import CliRunner

from daemon.app import Daemon
from daemon.cli.main import app
from daemon.cli.processes import free_port
from daemon.client import Viewer
from daemon.config import load_config
from streams.codecs import CODECS, EncodedFrame, StreamItem
from streams.detectors.merlin import MerlinReceiver
from streams.frame import ScanEnd, ScanStart
from streams.replay.sender import replay
from streams.sockets.transport import Receiver, Sender
from tests.support import SUPPORT
from tests.support.daemon_tools import PROBE, adds_up, follow, real_scan, running_daemon
from tests.support.merlin_tools import image
from tests.support.position_tools import Gate
from tests.support.sender_tools import PATIENCE_S, make_environment, process, put, write_dump, write_master

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]  # the first one installs the senders

Armed = tuple[str, Callable[[], None]]


@pytest.fixture(scope="session")
def programs() -> Path:
    return make_environment()


@contextmanager
def libertem(programs: Path, folder: Path, counts: NDArray[np.uint16]) -> Iterator[Armed]:
    """Yield the stream's address of libertem-live's simulator, and what arms it."""
    port = free_port()
    dump = write_dump(folder / "dump.bin", counts)
    command = [str(programs / "libertem-live-dectris-sim"), str(dump), "--port", str(port)]
    with process([*command, "--zmqport", "0", "--dwelltime", "500"], folder) as running:
        address = running.wait_for(r"RustedReplay listening on (tcp://\S+)")
        yield address, lambda: put(f"http://localhost:{port}/detector/api/1.8.0/command/arm")


@contextmanager
def eiger(programs: Path, folder: Path, counts: NDArray[np.uint16]) -> Iterator[Armed]:
    """Yield the stream's address of eiger-simulator, and what arms and triggers it."""
    port, stream = free_port(), f"tcp://127.0.0.1:{free_port()}"
    master = write_master(folder / "X_master.h5", counts)
    command = [str(programs / "eiger-simulator"), "--host", "127.0.0.1", "--port", str(port), "--zmq", stream]
    with process([*command, "--dataset", str(master), "--default-compression", "lz4"], folder):
        url = f"http://127.0.0.1:{port}/detector/api/1.6.0"
        settings = {"nimages": len(counts), "count_time": 0.0005, "x_pixels_in_detector": counts.shape[2],
                    "y_pixels_in_detector": counts.shape[1]}  # fmt: skip
        for name, value in settings.items():
            put(f"{url}/config/{name}", value)
        put(f"{url}/command/initialize")

        def arm() -> None:
            put(f"{url}/command/arm")
            put(f"{url}/command/trigger")

        yield stream, arm


@contextmanager
def mocked(programs: Path, folder: Path, frames: int) -> Iterator[Armed]:
    """Yield the stream's address of libertem's made-up detector, and what starts it."""
    command = [str(programs / "python"), str(SUPPORT / "mocked_sender.py"), str(frames)]
    with process(command, folder) as running:
        yield running.wait_for(r"at (tcp://\S+)"), lambda: running.tell("go")


class Reader:
    """A receiver and a codec that note what a series makes known."""

    def __init__(self, address: str, socket: str = "pull") -> None:
        self.items: list[StreamItem] = []
        self._codec = CODECS["dectris-v1"]()
        self._has_ended = threading.Event()
        self.receiver = Receiver("frames", address, socket, self._take)
        self.receiver.start()

    def _take(self, parts: list[memoryview], received_ns: int) -> None:
        self.items += self._codec.parse(parts, received_ns)
        if self.items and isinstance(self.items[-1], ScanEnd):
            self._has_ended.set()

    def wait(self) -> tuple[ScanStart, NDArray[np.uint16]]:
        """Return the start and the frames in order, after the end."""
        assert self.receiver.wait_for(lambda: self.receiver.connected, PATIENCE_S)
        assert self._has_ended.wait(PATIENCE_S), len(self.items)
        self.receiver.stop()
        start, *images, _ = self.items
        assert isinstance(start, ScanStart)
        frames = [item.decode() for item in images if isinstance(item, EncodedFrame)]
        assert [frame.index for frame in frames] == list(range(len(images)))
        return start, np.stack([frame.counts for frame in frames])


@pytest.mark.parametrize("sender", [libertem, eiger])
def test_pixel_by_pixel(sender: Callable[..., AbstractContextManager[Armed]], programs: Path, tmp_path: Path) -> None:
    counts = np.random.default_rng(1).poisson(2.0, (50, 128, 96)).astype(np.uint16)
    counts[:, 3, 5] = 65535
    with sender(programs, tmp_path, counts) as (address, arm):
        reader = Reader(address)
        arm()
        start, found = reader.wait()
    assert start.expected_frames == 50
    assert start.geometry.frame_shape == (128, 96)
    np.testing.assert_array_equal(found, counts)


def test_made_up_frames_behind_a_header_of_zeros(programs: Path, tmp_path: Path) -> None:
    with mocked(programs, tmp_path, 20) as (address, arm):
        reader = Reader(address)
        arm()
        start, found = reader.wait()
    assert start.expected_frames == 20
    assert found.shape == (20, 512, 512)
    assert np.array_equal(found, np.broadcast_to(np.arange(20, dtype=np.uint16)[:, None, None], found.shape))


@contextmanager
def live_daemon(folder: Path, address: str, *settings: str) -> Iterator[Daemon]:
    """Yield a daemon that is attached to a stream; positions come from a file."""
    scan = real_scan()
    np.savez(folder / "positions.npz", position_m=scan.positions_m)
    known = [f'frames.endpoint="{address}"', 'frames.format="dectris-v1"', 'positions.source="file"',
             f'positions.file="{folder / "positions.npz"}"', *settings]  # fmt: skip
    with running_daemon(folder, *known) as daemon:
        (receiver,) = daemon._receivers
        assert receiver.wait_for(lambda: receiver.connected, PATIENCE_S)
        yield daemon


def watch_to_the_end(daemon: Daemon, begin: Callable[[], None]) -> float:
    """Follow the real scan through a daemon; return R of its picture."""
    with Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        begin()
        ended, pictures = follow(viewer)
    assert (ended["result"], ended["verdict"]["stitched"]) == ("complete", 516)
    assert adds_up(ended["verdict"])
    assert pictures["network"].object.any()
    return float(ended["rfactors"]["network"])


@pytest.mark.parametrize("sender", [libertem, eiger])
def test_a_live_reconstruction(
    sender: Callable[..., AbstractContextManager[Armed]], programs: Path, tmp_path: Path
) -> None:
    with (
        sender(programs, tmp_path, real_scan().counts.astype(np.uint16)) as (address, arm),
        live_daemon(tmp_path, address) as daemon,
    ):
        assert watch_to_the_end(daemon, arm) < 0.2


@pytest.mark.parametrize("sender", [libertem, eiger])
def test_init_finds_a_foreign_stream(
    sender: Callable[..., AbstractContextManager[Armed]], programs: Path, tmp_path: Path
) -> None:
    """The senders wait for a receiver, so the detector is armed once ``init`` listens."""
    path = tmp_path / "found.toml"
    words = [
        "--energy",
        "8.8 keV",
        "--distance",
        "1.92 m",
        "--pixel",
        "75",
        "--probe",
        str(PROBE),
        "--positions",
        "raster",
    ]
    words += ["--shape", "10x10", "--step", "0.5", "--yes", "--wait", str(PATIENCE_S)]
    with sender(programs, tmp_path, real_scan().counts[:100].astype(np.uint16)) as (address, arm):
        arming = threading.Thread(target=arm)
        arming.start()
        done = CliRunner().invoke(app, ["init", str(path), "--endpoint", address, *words])
        arming.join()
    assert done.exit_code == 0, done.output
    config = load_config(path)
    assert (config.frames.format, config.frames.socket) == ("dectris-v1", "pull")
    assert config.detector.orientation == "identity"
    np.testing.assert_allclose(config.detector.center_px, [64, 64], atol=1)


class Relay:
    """Forwards a stream part by part, each as a message of its own, and knows nothing of it."""

    def __init__(self, source: str) -> None:
        self._context = zmq.Context()
        self._in = self._context.socket(zmq.PULL)
        self._in.connect(source)
        self._out = self._context.socket(zmq.XPUB)
        self._out.setsockopt(zmq.XPUB_NODROP, 1)
        self.address = f"tcp://127.0.0.1:{self._out.bind_to_random_port('tcp://127.0.0.1')}"
        self._stopper = self._context.socket(zmq.PAIR)
        self._stopped = self._context.socket(zmq.PAIR)
        self._stopper.bind("inproc://stop")
        self._stopped.connect("inproc://stop")
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self._out.recv()  # there is a subscriber
        poller = zmq.Poller()
        poller.register(self._in, zmq.POLLIN)
        poller.register(self._stopped, zmq.POLLIN)
        while self._stopped not in dict(poller.poll()):
            self._out.send(self._in.recv())

    def stop(self) -> None:
        self._stopper.send(b"")
        self._thread.join()
        self._context.destroy(0)


def test_a_subscriber_behind_a_relay_that_flattens_parts(tmp_path: Path) -> None:
    scan = real_scan()
    with Sender("tcp://127.0.0.1:0") as detector:
        relay = Relay(detector.bound_endpoint)
        try:
            with live_daemon(tmp_path, relay.address, 'frames.socket="sub"', 'positions.source="frame"') as daemon:
                send = threading.Thread(
                    target=replay,
                    args=(scan.counts, scan.positions_m, CODECS["dectris-v1"](), detector),
                    kwargs={"scan_id": "star", "encoding": "lz4"},
                )
                rfactor = watch_to_the_end(daemon, send.start)
                send.join()
                assert daemon.scans.get("star") is not None
        finally:
            relay.stop()
    assert rfactor < 0.2


@contextmanager
def merlin(programs: Path, folder: Path, counts: NDArray[np.unsignedinteger]) -> Iterator[str]:
    """Yield the data port of libertem-live's simulator of a Merlin, which reads an MIB file and cuts messages from it."""
    path = folder / "frames.mib"
    path.write_bytes(b"".join(image(k + 1, each) for k, each in enumerate(counts)))
    data, control, trigger = free_port(), free_port(), free_port()
    command = [str(programs / "libertem-live-mib-sim"), str(path), "--nav-shape", "4", str(len(counts) // 4),
               "--host", "127.0.0.1", "--data-port", str(data), "--control-port", str(control),
               "--trigger-port", str(trigger), "--dwelltime", "500"]  # fmt: skip
    with process(command, folder) as running:
        running.wait_for(r"(DataSocketServer listening)")
        yield f"tcp://127.0.0.1:{data}"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_a_merlins_acquisitions_pixel_by_pixel(programs: Path, tmp_path: Path, dtype: type) -> None:
    """The simulator sends one acquisition after another, each with its header."""
    counts = np.random.default_rng(1).poisson(2.0, (12, 64, 96)).astype(dtype)
    counts[:, 3, 5] = np.iinfo(dtype).max
    gate, codec = Gate(), CODECS["array-1.0"]()
    with merlin(programs, tmp_path, counts) as address:
        source = MerlinReceiver("frames", address, lambda parts, _: gate([bytes(part) for part in parts]))
        source.start()
        try:
            items = [item for parts in gate.wait(30)[:30] for item in codec.parse(parts, 1)]
        finally:
            source.stop()
    starts = [item for item in items if isinstance(item, ScanStart)]
    frames = [item.decode() for item in items if isinstance(item, EncodedFrame)]
    assert [start.expected_frames for start in starts] == [12, 12, 12]
    assert len({start.scan_id for start in starts}) == 3
    assert [(frame.scan_id, frame.index) for frame in frames] == [(starts[k // 12].scan_id, k % 12) for k in range(30)]
    np.testing.assert_array_equal([frame.counts for frame in frames], [counts[k % 12] for k in range(30)])
    assert source.refused == 0
