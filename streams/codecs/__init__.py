"""Wire formats by name. Each entry makes a codec for one stream; all take ``channel`` and ``max_frame_bytes``."""

from __future__ import annotations

from collections.abc import Callable

from streams.codecs.base import Codec, EncodedFrame, sanitise_scan_id
from streams.codecs.dectris_v2 import DectrisV2Codec
from streams.codecs.native import NativeCodec

__all__ = ["CODECS", "Codec", "EncodedFrame", "sanitise_scan_id"]

CODECS: dict[str, Callable[..., Codec]] = {"native": NativeCodec, "dectris-v2": DectrisV2Codec}
