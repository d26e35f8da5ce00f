"""Messages for viewers as the daemon sends them; :mod:`ptycholive_client.wire` has their form, and reads them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import msgpack
import numpy as np
from numpy.typing import NDArray

from daemon.messages import DeltaFields, Fields, PictureFields, SnapshotFields
from daemon.publish.snapshot import LayerCanvas, LayerUpdate
from ptycholive_client.wire import (
    Message,
    Topic,
    WireError,
    apply_delta,
    decode,
    decode_ws,
    full_header,
    packed,
    read_snapshot,
)

__all__ = [
    "Message",
    "Topic",
    "WireError",
    "apply_delta",
    "decode",
    "decode_ws",
    "delta_messages",
    "encode",
    "encode_ws",
    "full_header",
    "layer_header",
    "plain",
    "read_snapshot",
    "snapshot_message",
]


def encode(topic: Topic, header: Fields, buffers: Sequence[bytes] = ()) -> list[bytes]:
    """Parts of a ZeroMQ message."""
    return [topic.encode(), packed(msgpack.Packer(), plain(header)), *buffers]


def encode_ws(message: Message, sequence: int) -> bytes:
    """One binary WebSocket message."""
    packer = msgpack.Packer()
    head = packer.pack_array_header(2 + len(message.buffers)) or b""
    body = packed(packer, message.topic) + packed(packer, message.numbered(sequence))
    return b"".join((head, body, message.packed_buffers))


def layer_header(source: LayerUpdate | LayerCanvas) -> PictureFields:
    """The header fields of a picture."""
    return {
        "scan_id": source.scan_id,
        "time_ns": int(source.time_ns),
        "layer": source.layer,
        "shape": [int(side) for side in source.shape],
        "dtype": "complex64",
        "origin_px": [int(side) for side in source.origin_px],
        "pixel_size_m": None if source.pixel_size_m is None else float(source.pixel_size_m),
        "frames_stitched": int(source.frames_stitched),
        "frames_received": int(source.frames_received),
        "model_generation": int(source.model_generation),
        "rfactor": None if source.rfactor is None or not math.isfinite(source.rfactor) else float(source.rfactor),
        "complete": bool(source.complete),
    }


def delta_messages(update: LayerUpdate) -> Iterator[Message]:
    """Yield one ``delta`` for each region, or one with an empty region if only the numbers have changed.

    Only the last can be ``complete``: the picture is not complete before it.
    """
    header = layer_header(update)
    for region in update.regions:
        place = [int(region.y), int(region.x), int(region.h), int(region.w)]
        is_complete = header["complete"] and region is update.regions[-1]
        fields: DeltaFields = {**header, "complete": is_complete, "region": place}
        yield Message("delta", fields, _buffers(region.object, region.weight))
    if not update.regions:
        yield Message("delta", {**header, "region": [0, 0, 0, 0]}, (b"", b""))


def snapshot_message(canvas: LayerCanvas) -> Message:
    """The ``snapshot`` of a whole layer."""
    header = cast(SnapshotFields, layer_header(canvas))
    if canvas.generations is not None:
        header["generations"] = canvas.generations.tolist()
    return Message("snapshot", header, _buffers(canvas.object, canvas.weight))


def plain(value: Any) -> Any:
    """Return `value` as plain data for JSON and msgpack: text keys, no numpy, no NaN, no paths."""
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(part) for part in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int | bytes):
        return value
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        return plain(asdict(value))
    return str(value)


def _buffers(pixels: NDArray[np.complex64], weight: NDArray[np.float32]) -> tuple[bytes, bytes]:
    return np.asarray(pixels, dtype="<c8").tobytes(), np.asarray(weight, dtype="<f4").tobytes()
