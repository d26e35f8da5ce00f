"""What ``check`` makes of the messages of a stream."""

from __future__ import annotations

import numpy as np
import pytest

from daemon.attach.listening import CheckResult, FirstMessages, describe_frames, describe_positions
from daemon.config import Config
from streams.codecs import CODECS
from streams.frame import ScanStart
from streams.position_sources.positions import encode_positions

SIDE = 32


def config(**sections: dict[str, object]) -> Config:
    tree: dict[str, dict[str, object]] = {
        "frames": {"endpoint": "tcp://127.0.0.1:9999", "format": "dectris-v2"},
        "detector": {"center_px": [16, 16], "size_px": SIDE},
        "positions": {"source": "native", "endpoint": "tcp://127.0.0.1:9998"},
        "optics": {
            "photon_energy_eV": 8800.0,
            "detector_distance_m": 1.0,
            "detector_pixel_size_m": 75e-6,
            "probe_file": "x",
        },
    }
    for name, changes in sections.items():
        tree[name] |= changes
    return Config.model_validate(tree)


def heard(*messages: list[bytes]) -> FirstMessages:
    found = FirstMessages(100)
    for k, message in enumerate(messages):
        found([memoryview(part) for part in message], 1_000_000 * k)
    return found


def frames(stream_format: str = "dectris-v2", side: int = SIDE, energy_eV: float = 8800.0) -> FirstMessages:
    codec = CODECS[stream_format]()
    counts = np.arange(side * side, dtype=np.uint16).reshape(side, side)
    start = codec.encode_start(ScanStart("a", 3, {"incident_energy": energy_eV}), counts.shape, counts.dtype)
    return heard(start, *(codec.encode_frame("a", k, counts) for k in range(3)))


def test_what_fits_is_ok():
    found = describe_frames(config(), frames())
    assert found.word == "OK"
    assert found.detail.startswith("dectris-v2, 32 x 32 uint16, bslz4, ")
    assert found.detail.endswith(", 1000 frames/s, 8800 eV")
    assert found.seen["rate_hz"] == pytest.approx(1000)


@pytest.mark.parametrize(
    ("sections", "stream", "words"),
    [
        ({"frames": {"format": "native"}}, frames(), "look like dectris-v2, but [frames] format is native"),
        ({}, frames("native"), "look like native, but [frames] format is dectris-v2"),
        ({}, frames(side=16), "too small for [detector] size_px = 32"),
        ({"detector": {"binning": 2}}, frames(), "too small for [detector] size_px = 32"),
        ({}, frames(energy_eV=9000.0), "photon_energy_eV"),
        ({}, heard([b"what is this"]), "none of 1 messages is dectris-v2"),
    ],
)
def test_what_does_not_fit_is_named(sections: dict[str, dict[str, object]], stream: FirstMessages, words: str):
    found = describe_frames(config(**sections), stream)
    assert found.word == "ERROR"
    assert words in found.detail


def test_pixels_that_do_not_unpack_are_an_error():
    codec = CODECS["native"]()
    message = codec.encode_frame("a", 0, np.zeros((SIDE, SIDE), np.uint16))
    found = describe_frames(config(frames={"format": "native"}), heard([*message[:2], message[2][:-1]]))
    assert (found.word, "unpack" in found.detail) == ("ERROR", True)


def test_positions():
    found = describe_positions(config(), heard(encode_positions([[1e-6, -2e-6], [3e-6, 0.0]], scan_id="a")))
    assert found == CheckResult("OK", "native, 2 positions, y 1.000 to 3.000 um, x -2.000 to 0.000 um", found.seen)
    assert describe_positions(config(), heard([b"positions", b"nonsense"])).word == "ERROR"


def test_no_more_is_kept_than_is_needed():
    found = FirstMessages(2)
    found.may_go_on.set()
    for _ in range(5):
        found([memoryview(b"x")], 0)
    assert len(found.messages) == 2
    assert found.is_enough.is_set()
