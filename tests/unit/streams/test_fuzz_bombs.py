"""Small messages that would become huge: refused before memory is taken. Each kind runs in a process of its own."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import resource
from typing import Any

import bitshuffle
import cbor2
import msgpack
import numpy as np
import pytest

from streams.codecs import CODECS
from streams.compression import HEADER
from tests.support.fuzz_tools import Chain, Message, targets

MAX_GROWTH_KB = 96 << 10
SECONDS = 100
SHAPE = (16, 12)
HUGE: tuple[Any, ...] = (2**63, 2**31, -1, 0, 1.5, float("nan"), float("inf"), 1e400, True, "9", None, [], 10**40)


def zeros_bslz4(length: int, announced: int | None = None, block: int = 8192) -> bytes:
    """Return ``length`` zero bytes, bit-shuffled and packed, whose header may announce another length."""
    one = bytes(bitshuffle.compress_lz4(np.zeros(4096, np.uint16), 4096))
    return HEADER.pack(length if announced is None else announced, block) + one * (length // 8192)


def zeros_lz4_block(length: int) -> bytes:
    """Return one bare LZ4 block of about ``length`` zero bytes."""
    return b"\x1f\x00\x01\x00" + b"\xff" * (length // 255) + b"\x00\x50\0\0\0\0\0"


def native(payload: bytes, **changes: Any) -> Message:
    header = {"schema_version": 1, "scan_id": "1", "index": 0, "shape": list(SHAPE), "dtype": "uint16"}
    return [b"frame", msgpack.packb(header | {"encoding": "bslz4"} | changes), payload]


def v1(payload: bytes, encoding: str = "bs16-lz4<", shape: Any = SHAPE[::-1], kind: str = "uint16") -> Message:
    about = {"htype": "dimage_d-1.0", "shape": shape, "type": kind, "encoding": encoding, "size": len(payload)}
    head = {"htype": "dimage-1.0", "series": 1, "frame": 0, "hash": ""}
    return [json.dumps(head).encode(), json.dumps(about).encode(), payload, b'{"htype": "dconfig-1.0"}']


def v2(payload: bytes, algorithm: str = "bslz4", shape: Any = SHAPE, modifier: Any = 2) -> Message:
    packed = cbor2.CBORTag(56500, [algorithm, modifier, payload])
    image = cbor2.CBORTag(40, [shape, cbor2.CBORTag(69, packed)])
    return [
        cbor2.dumps({"type": "image", "series_id": 1, "series_unique_id": "1", "image_id": 0, "data": {"a": image}})
    ]


def array(payload: bytes, shape: Any = SHAPE, encoding: str = "bslz4") -> Message:
    header = {"htype": "array-1.0", "shape": shape, "type": "uint16", "frame": 0, "encoding": encoding}
    return [json.dumps(header).encode(), payload]


def decompression() -> dict[str, list[Message]]:
    size = 2 * SHAPE[0] * SHAPE[1]
    bodies = [
        zeros_bslz4(512 << 20),
        zeros_bslz4(512 << 20, size),
        zeros_bslz4(512 << 20, 2**63 - 1),
        zeros_bslz4(512 << 20, size, 0),
        zeros_bslz4(512 << 20, size, 2**32 - 1),
        HEADER.pack(2**64 - 1, 8192),
        HEADER.pack(size, 8192),
        b"",
    ]
    blocks = [zeros_lz4_block(1 << 30), zeros_lz4_block(size), b"\xff" * 5000]
    big = [16384, 16384]
    return {
        "native": [*map(native, bodies), native(bodies[0], shape=big)],
        "dectris-v1": [*map(v1, bodies), *(v1(b, "lz4<") for b in blocks), v1(bodies[0], shape=big)],
        "dectris-v2": [*map(v2, bodies), *(v2(b, "lz4", modifier=0) for b in bodies), v2(bodies[0], shape=big)],
        "array-1.0": [*map(array, bodies), array(bodies[0], big)],
    }


def shapes() -> dict[str, list[Message]]:
    pixels = bytes(2 * SHAPE[0] * SHAPE[1])
    pairs = [[huge, 12] for huge in HUGE] + [[12, huge] for huge in HUGE] + [[1] * 9, 7, {"0": 1}]
    whole = [pair for pair in pairs if "e400" not in repr(pair)]
    packable = [pair for pair in whole if 10**40 not in (pair if isinstance(pair, list) else ())]
    return {
        "native": [native(pixels, shape=pair, encoding="") for pair in packable],
        "dectris-v1": [v1(pixels, "<", pair) for pair in whole],
        "dectris-v2": [v2(pixels, shape=pair) for pair in whole],
        "array-1.0": [array(pixels, pair, "") for pair in whole],
    }


def depths() -> dict[str, list[Message]]:
    deep = [
        b'{"a":' * 60_000,
        b"[" * 60_000,
        b'{"htype":' + b"[" * 30_000,
        b"\x81" * 60_000,
        b"\x81\xa1a" * 60_000,
        b"\xbf\x61a" * 60_000,
        b"\x9f" * 60_000,
        b"\xc2" * 60_000,
        b"\xd8\x40" * 60_000,
        b"\x9b" + b"\xff" * 8,
        b"\x5b\x7f" + b"\xff" * 7,
        b"\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b'{"htype":"' + b"a" * 300_000 + b'"}',
        b"9" * 100_000,
    ]
    alone = [[part] for part in deep]
    second = [[kind, part] for kind in (b"start", b"positions", b"header", b"data") for part in deep]
    return {target.name: [*alone, *second] for target in targets()}


def pickles() -> dict[str, list[Message]]:
    parts = [pickle.dumps(Trap(), protocol) for protocol in range(6)]
    messages = [[part] for part in parts] + [[b"start", part] for part in parts] + [[b"x start " + p] for p in parts]
    return {target.name: messages for target in targets()}


class Trap:
    """Says so if it is ever loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (_sprung, ())


_SPRUNG: list[int] = []


def _sprung() -> None:
    _SPRUNG.append(1)


def _feed(name: str, messages: list[Message], answer: Any) -> None:
    (target,) = (target for target in targets() if target.name == name)
    chain = Chain(target)
    chain.feed(target.corpus[0])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = []
    for message in messages:
        count = sum(chain.refused.values())
        chain.feed(message)
        refused.append(sum(chain.refused.values()) - count)
    answer.put((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, refused, list(chain.refused), _SPRUNG))


def outcome(name: str, messages: list[Message]) -> tuple[int, list[int], list[str]]:
    """Feed messages in a fresh process; return its growth at its greatest, kB, and what was refused of each message."""
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    child = context.Process(target=_feed, args=(name, messages, answer))
    child.start()
    growth, refused, reasons, sprung = answer.get(timeout=SECONDS)
    child.join()
    assert child.exitcode == 0
    assert not sprung
    return growth, refused, reasons


@pytest.mark.parametrize("name", ["native", "dectris-v1", "dectris-v2", "array-1.0"])
def test_decompression_bombs_and_shapes(name: str) -> None:
    messages = [*decompression()[name], *shapes()[name]]
    growth, refused, reasons = outcome(name, messages)
    assert growth < MAX_GROWTH_KB
    assert set(reasons) <= {"corrupt", "too_large", "shape", "malformed"}
    taken = [k for k, count in enumerate(refused) if count == 0]
    assert taken == [], [messages[k][:2] for k in taken]


@pytest.mark.parametrize("bombs", [depths, pickles])
def test_depth_and_pickles(bombs: Any) -> None:
    """One process for all readers: what is deep is cut off, what is pickled is never loaded."""
    for name, messages in bombs().items():
        (target,) = (target for target in targets() if target.name == name)
        chain = Chain(target)
        for message in messages:
            chain.feed(message)
        assert sum(chain.refused.values()) > len(messages) / 4, name
    assert not _SPRUNG


def test_every_format_is_here() -> None:
    assert set(decompression()) == set(shapes()) <= set(CODECS)
