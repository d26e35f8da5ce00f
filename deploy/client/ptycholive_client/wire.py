"""Messages for viewers, over ZeroMQ and WebSocket: what a viewer reads. The daemon's half is ``daemon.publish.wire``.

A message is a topic (``scan``, ``status``, ``snapshot``, ``delta``), a header map and buffers. Over ZeroMQ each is a
part: topic, msgpack header, buffers. Over WebSocket the message is one msgpack array [topic, header, buffer, ...].
Buffers of pictures: the object (little-endian complex64), then the weight (float32), both row by row.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, cast

import msgpack
import numpy as np
from numpy.typing import NDArray

from ptycholive_client.messages import DeltaFields, Fields, Header, PictureFields, SnapshotFields
from ptycholive_client.pictures import LayerUpdate, Picture, Region, apply_update, copied

__all__ = [
    "SCHEMA_VERSION",
    "TOPICS",
    "Message",
    "Topic",
    "WireError",
    "apply_delta",
    "decode",
    "decode_ws",
    "full_header",
    "packed",
    "read_snapshot",
]

SCHEMA_VERSION = 1
Topic = Literal["scan", "status", "snapshot", "delta"]
TOPICS: tuple[Topic, ...] = ("scan", "status", "snapshot", "delta")


class WireError(ValueError):
    """A message does not have the documented form."""


@dataclass(frozen=True, eq=False)
class Message:
    """One message; only the header of a received one has a sequence number."""

    topic: Topic
    header: Fields
    buffers: tuple[bytes, ...] = ()

    @cached_property
    def packed_buffers(self) -> bytes:
        """The buffers as the tail of a WebSocket message; made once for all viewers."""
        packer = msgpack.Packer()
        return b"".join(packed(packer, buffer) for buffer in self.buffers)

    @property
    def full_header(self) -> Header:
        """The header of a message that was received."""
        return cast(Header, self.header)

    def numbered(self, sequence: int) -> Header:
        """The header with the fields that every header has."""
        return full_header(self.header, sequence)


def full_header(header: Fields, sequence: int) -> Header:
    """`header` with schema version, scan, sequence and time, which every message has."""
    defaults = {"scan_id": "", "time_ns": time.time_ns()}
    return cast(Header, {**defaults, **header, "schema_version": SCHEMA_VERSION, "sequence": sequence})


def decode(parts: Sequence[bytes]) -> Message:
    """The message in the parts of a ZeroMQ message; the header has its sequence."""
    if len(parts) < 2:
        raise WireError(f"a message needs a topic and a header; this one has {len(parts)} part(s)")
    try:
        header = msgpack.unpackb(parts[1])
    except (ValueError, msgpack.UnpackException) as fault:
        raise WireError(f"the header of a {parts[0]!r} message is not msgpack: {fault}") from fault
    return _checked(parts[0].decode(errors="replace"), header, tuple(parts[2:]))


def decode_ws(data: bytes) -> Message:
    """The message in one binary WebSocket message."""
    try:
        content = msgpack.unpackb(data, max_bin_len=len(data))
    except (ValueError, msgpack.UnpackException) as fault:
        raise WireError(f"not a msgpack array: {fault}") from fault
    if not isinstance(content, list) or len(content) < 2:
        raise WireError("the message is not an array of topic, header and buffers")
    return _checked(str(content[0]), content[1], tuple(content[2:]))


def read_snapshot(header: SnapshotFields, buffers: Sequence[bytes]) -> Picture:
    """The canvas in a ``snapshot``; its arrays can be written to."""
    height, width = (int(side) for side in header["shape"])
    canvas = apply_update(None, _read_update(header, [0, 0, height, width], buffers))
    return replace(canvas, generations=_read_generations(header.get("generations"), canvas))


def apply_delta(
    state: Picture | None, header: DeltaFields, buffers: Sequence[bytes], *, in_place: bool = False
) -> Picture:
    """The canvas after a ``delta``: grown with zeros to the delta's shape and origin, then the region replaced.

    Parameters
    ----------
    state
        Canvas before; None is an empty one.
    in_place
        Reuse the arrays of `state` if they fit; otherwise `state` does not change.
    """
    if state is not None and not in_place:
        state = copied(state)
    return apply_update(state, _read_update(header, header["region"], buffers))


def packed(packer: msgpack.Packer, value: Any) -> bytes:
    """A value as msgpack."""
    content: bytes = packer.pack(value)
    return content


def _read_update(header: PictureFields, place: Sequence[int], buffers: Sequence[bytes]) -> LayerUpdate:
    if len(buffers) != 2:
        raise WireError(f"a picture needs two buffers, object and weight; this one has {len(buffers)}")
    y, x, h, w = (int(part) for part in place)
    height, width = (int(side) for side in header["shape"])
    if min(y, x, h, w) < 0 or y + h > height or x + w > width:
        raise WireError(f"region {list(place)} lies outside the canvas {[height, width]}")
    if len(buffers[0]) != 8 * h * w or len(buffers[1]) != 4 * h * w:
        raise WireError(f"buffers of {len(buffers[0])} and {len(buffers[1])} bytes do not fill a region of {h} x {w}")
    pixels = np.frombuffer(buffers[0], dtype="<c8").reshape(h, w)
    weight = np.frombuffer(buffers[1], dtype="<f4").reshape(h, w)
    return LayerUpdate(
        scan_id=header["scan_id"],
        layer=header["layer"],
        shape=(height, width),
        origin_px=(int(header["origin_px"][0]), int(header["origin_px"][1])),
        pixel_size_m=header.get("pixel_size_m"),
        frames_stitched=header["frames_stitched"],
        frames_received=header["frames_received"],
        model_generation=header["model_generation"],
        rfactor=header.get("rfactor"),
        complete=header["complete"],
        regions=(Region(y=y, x=x, h=h, w=w, object=pixels, weight=weight),),
        time_ns=header["time_ns"],
    )


def _read_generations(rows: Any, canvas: Picture) -> NDArray[np.uint16] | None:
    if rows is None or canvas.generations is None:
        return None
    try:
        tiles = np.array(rows, dtype=np.uint16)
    except (ValueError, TypeError, OverflowError) as fault:
        raise WireError(f"the generations of a picture are not rows of numbers: {fault}") from fault
    if tiles.size == canvas.generations.size == 0:  # an empty picture has no rows
        return canvas.generations
    if tiles.shape != canvas.generations.shape:
        raise WireError(f"{tiles.shape} generations do not fill a picture of {list(canvas.shape)}")
    return tiles


def _checked(name: str, header: Any, buffers: tuple[bytes, ...]) -> Message:
    topic = next((known for known in TOPICS if known == name), None)
    if topic is None:
        raise WireError(f"topic {name!r} is not one of {', '.join(TOPICS)}")
    if not isinstance(header, dict) or header.get("schema_version") != SCHEMA_VERSION:
        raise WireError(f"the header of a {topic!r} message is not a map of schema_version {SCHEMA_VERSION}")
    return Message(topic, cast(Header, header), buffers)
