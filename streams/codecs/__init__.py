"""Wire formats by name, one file each; how to add one: ``deploy/docs/how-to/detectors.md``.

An entry makes a codec for one stream from the fields of :class:`CodecOptions`: ``CODECS["native"](check_hash=True)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streams.codecs.array1 import Array1Codec
from streams.codecs.base import Codec, CodecOptions, EncodedFrame, StreamItem, sanitise_scan_id
from streams.codecs.dectris_v1 import DectrisV1Codec
from streams.codecs.dectris_v2 import DectrisV2Codec
from streams.codecs.native import NativeCodec

__all__ = ["CODECS", "OTHER_TRANSPORTS", "Codec", "CodecOptions", "EncodedFrame", "StreamItem", "sanitise_scan_id"]


def _maker(codec: Callable[[CodecOptions], Codec]) -> Callable[..., Codec]:
    def make(**options: Any) -> Codec:
        return codec(CodecOptions(**options))

    return make


CODECS: dict[str, Callable[..., Codec]] = {
    "native": _maker(NativeCodec),
    "dectris-v1": _maker(DectrisV1Codec),
    "dectris-v2": _maker(DectrisV2Codec),
    "array-1.0": _maker(Array1Codec),
    "pva": _maker(Array1Codec),  # streams.detectors.pva turns updates into such messages
    "merlin": _maker(Array1Codec),  # so does streams.detectors.merlin
}
OTHER_TRANSPORTS = frozenset({"pva", "merlin"})
"""Formats that do not come over ZeroMQ; each has its own receiver."""
