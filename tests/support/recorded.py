"""Messages of real detectors, recorded by others; where they come from: ``tests/data/recorded/DECTRIS.md``."""

from __future__ import annotations

import bz2
import io
from functools import cache
from pathlib import Path

import cbor2

FOLDER = Path(__file__).parents[1] / "data" / "recorded"
SHAPE = (4362, 4148)
"""Of the V2 image and of the V1 pixels."""


def dectris_v2(kind: str) -> bytes:
    """Return the start, image or end of a V2 series."""
    return _bytes(f"dectris-v2-{kind}.cbor")


def dectris_v1_pixels() -> bytes:
    """Return the pixels of a V1 image, uint16, ``bs16-lz4<``."""
    return _bytes("dectris-v1-blob")


@cache
def dectris_v1() -> list[list[bytes]]:
    """Return a V1 series: header, three images whose pixels are cut short, end."""
    file = io.BytesIO(_bytes("dectris-v1.cbors"))
    messages = []
    while file.tell() < len(file.getbuffer()):
        messages.append([bytes(part) for part in cbor2.load(file)])
    return messages


def _bytes(name: str) -> bytes:
    packed = FOLDER / f"{name}.bz2"
    return bz2.decompress(packed.read_bytes()) if packed.exists() else (FOLDER / name).read_bytes()
