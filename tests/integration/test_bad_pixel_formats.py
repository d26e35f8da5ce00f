"""One bad pixel in frames of every wire format, through a real daemon: it costs itself alone, and is named."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Semaphore
from typing import Any

import numpy as np
import pytest
from numpy.typing import DTypeLike, NDArray

from daemon.app import Daemon
from daemon.client import Viewer
from daemon.files import ScanFile, read_product
from ptychopinn.diagnosis.plausibility import SUMMARY_BEGINNINGS
from streams.codecs import CODECS
from streams.codecs.base import Codec
from streams.frame import ScanStart
from streams.replay.sender import replay
from streams.sockets.transport import Sender
from tests.support.daemon_tools import PATIENCE_S, adds_up, follow, real_scan, running_daemon
from tests.support.merlin_tools import DataPort, header, image, message
from tests.support.pva_tools import NAME, Detector

FRAMES = 24
PLACE = (10, 14)
Scans = Sequence[NDArray[Any]]
Kinds = Mapping[str, Sequence[float]]
"""Bad values by the type of the frames."""


class _OtherStart:
    """A codec that begins a scan as a detector does whose ``header_detail`` is none, or not at all."""

    def __init__(self, codec: Codec, *, without_details: bool) -> None:
        self._codec, self._without_details = codec, without_details

    def encode_start(self, start: ScanStart, shape: tuple[int, int], dtype: DTypeLike) -> list[bytes]:
        del shape, dtype
        head = {"htype": "dheader-1.0", "series": int(start.scan_id), "header_detail": "none"}
        return [json.dumps(head).encode()] if self._without_details else []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codec, name)


@pytest.fixture(scope="module")
def scan() -> ScanFile:
    return real_scan()


@pytest.fixture(scope="module")
def from_file(scan: ScanFile, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the settings for positions that come in no stream."""
    path = tmp_path_factory.mktemp("positions") / "positions.npz"
    np.savez(path, position_m=scan.positions_m[:FRAMES])
    return ['positions.source="file"', f"positions.file={json.dumps(str(path))}"]


def spoilt_scans(scan: ScanFile, kinds: Kinds) -> Scans:
    """Return the frames in each type: as they are, then with one pixel at each of the values."""
    return [_spoilt(scan, dtype, value) for dtype, values in kinds.items() for value in (None, *values)]


def _spoilt(scan: ScanFile, dtype: str, value: float | None) -> NDArray[Any]:
    counts = (scan.counts[:FRAMES] // (4 if dtype == "uint8" else 1)).astype(dtype)  # fits into 8 bits
    if value is not None:
        counts[:, *PLACE] = value
    return counts


def doubts(ended: dict[str, Any]) -> list[str]:
    return [note for note in ended["notes"] if note.startswith(SUMMARY_BEGINNINGS)]


def check(ended: dict[str, Any], good: dict[str, Any], value: float) -> None:
    """Assert that a scan is as good as the one without the bad pixel, which its notes name."""
    product = read_product(ended["product"])
    assert np.isfinite(product.object).all()
    assert adds_up(ended["verdict"])
    assert ended["verdict"]["stitched"] == FRAMES
    assert ended["result"] == good["result"] == "complete"
    assert ended["rfactors"]["network"] == pytest.approx(good["rfactors"]["network"], rel=0.05)
    place = f"row {PLACE[0]}, column {PLACE[1]}"
    named = [note for note in ended["notes"] if place in note and f"{value:.10g}" in note]
    assert len(named) == 1, ended["notes"]
    assert doubts(ended) == doubts(good)


def run(daemon: Daemon, scan: ScanFile, kinds: Kinds, send: Callable[[int, NDArray[Any]], None]) -> None:
    """Send a good scan and its bad ones of each type, one after the other, and check what becomes of them."""
    asked = [value for values in kinds.values() for value in (None, *values)]
    good: dict[str, Any] = {}
    with Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        next(topic for topic, _, _ in viewer.events() if topic == "status")
        for number, (value, counts) in enumerate(zip(asked, spoilt_scans(scan, kinds), strict=True)):
            send(number, counts)
            ended, _ = follow(viewer)
            if value is None:
                good = ended
            else:
                check(ended, good, value)
    assert daemon._engine.failure is None


@pytest.mark.parametrize(
    ("stream_format", "start", "kinds"),
    [
        ("dectris-v1", "without details", {"uint32": (2**32 - 2, 10**6)}),
        ("dectris-v1", "lost", {"uint32": (2**32 - 2, 2**31)}),
        ("dectris-v2", "whole", {"uint32": (2**32 - 2, 10**6)}),
        ("array-1.0", "whole", {"uint32": (2**32 - 2, 10**6)}),
        (
            "native",
            "whole",
            {
                "uint8": (254, 250),
                "uint64": (2**64 - 2, 10**12),
                "float32": (np.inf, 2.0**32, 1e6),
            },
        ),
    ],
)
def test_over_zeromq(scan: ScanFile, tmp_path: Path, stream_format: str, start: str, kinds: Kinds) -> None:
    made: Codec = CODECS[stream_format]()
    codec = made if start == "whole" else _OtherStart(made, without_details=start == "without details")
    with running_daemon(tmp_path, f'frames.format="{stream_format}"') as daemon:

        def send(number: int, counts: NDArray[Any]) -> None:
            with Sender(">" + daemon.addresses()["streams"]["frames"]) as sender:
                replay(counts, scan.positions_m[:FRAMES], codec, sender, scan_id=str(100 + number))

        run(daemon, scan, kinds, send)


@pytest.mark.parametrize("kinds", [{"uint16": (65534, 4095)}, {"uint32": (2**32 - 2, 2**24 - 2, 10**6)}])
def test_from_a_merlin(scan: ScanFile, from_file: list[str], tmp_path: Path, kinds: Kinds) -> None:
    """12 bits come in words of 16, 24 bits in words of 32."""
    pace = Semaphore(0)
    port = DataPort(list(map(_acquisition, spoilt_scans(scan, kinds))), pace)
    settings = [f'frames.endpoint="{port.endpoint}"', 'frames.format="merlin"', *from_file]
    with running_daemon(tmp_path, *settings) as daemon:
        run(daemon, scan, kinds, lambda _number, _counts: pace.release())
    port.close()


def _acquisition(counts: NDArray[Any]) -> bytes:
    return b"".join(map(message, [header(len(counts)), *(image(k + 1, frame) for k, frame in enumerate(counts))]))


def test_over_pvaccess(scan: ScanFile, from_file: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {"uint32": (2**32 - 2,), "uint16": (40_000,), "float32": (1e6,)}
    detector = Detector(monkeypatch)
    detector.open(516)
    settings = [
        f'frames.endpoint="pva://{NAME}"',
        'frames.format="pva"',
        "frames.first_number=1",
        f"frames.expected_frames={FRAMES}",
        *from_file,
    ]

    def send(_number: int, counts: NDArray[Any]) -> None:
        for k, frame in enumerate(counts):
            detector.post(frame, 1 + k)

    with running_daemon(tmp_path, *settings) as daemon:
        with Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
            next(told for topic, told, _ in viewer.events() if topic == "status" and told["streams"][0]["connected"])
        run(daemon, scan, kinds, send)
    detector.server.stop()
