"""Sends a scan like a detector and a position source, with faults if wanted."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.codecs.base import Codec
from streams.errors import PositionError
from streams.frame import NO_GEOMETRY, PositionM, ScanStart, StreamGeometry
from streams.position_sources.positions import encode_positions
from streams.replay.faults import Faults, corrupt, plan
from streams.sockets.transport import Sender

__all__ = ["Faults", "PositionMessages", "Summary", "native_positions", "prepare", "replay"]

POSITIONS_A_MESSAGE = 32
"""Positions in a message, as position sources send them in batches."""
_NO_FAULTS = Faults()

Message = list[bytes]
PositionMessages = Callable[[NDArray[np.float64], str], Iterable[tuple[int, Message]]]


@dataclass(frozen=True, slots=True)
class Summary:
    """Numbers of frame messages: ``sent`` includes repeated and corrupt ones; ``seconds`` is the duration."""

    sent: int
    dropped: int
    duplicated: int
    corrupted: int
    seconds: float


def prepare(
    counts: NDArray[Any],
    positions_m: NDArray[np.float64] | None,
    codec: Codec,
    scan_id: str,
    encoding: str = "bslz4",
) -> list[Message]:
    """Encode all frames ``(n, H, W)`` in advance, with positions ``(n, 2)`` if given, for a fast replay."""
    codec.encode_start(
        ScanStart(scan_id, len(counts)), counts.shape[1:], counts.dtype
    )  # frames of some formats need it
    frames = _FrameEncoder(counts, positions_m, codec, scan_id, encoding)
    return [frames[index] for index in range(len(counts))]


def native_positions(positions_m: NDArray[np.float64], scan_id: str) -> Iterator[tuple[int, Message]]:
    """Yield (index of the last frame of the message, message) of the native position stream, 32 positions a message."""
    for first in range(0, len(positions_m), POSITIONS_A_MESSAGE):
        some = positions_m[first : first + POSITIONS_A_MESSAGE]
        yield first + len(some) - 1, encode_positions(some, first=first, scan_id=scan_id)


def replay(
    counts: NDArray[Any],
    positions_m: NDArray[np.float64] | None,
    codec: Codec,
    sender: Sender,
    *,
    scan_id: str,
    position_sender: Sender | None = None,
    position_messages: PositionMessages = native_positions,
    metadata: dict[str, object] | None = None,
    geometry: StreamGeometry = NO_GEOMETRY,
    rate_hz: float | None = None,
    faults: Faults = _NO_FAULTS,
    seed: int = 0,
    encoding: str = "bslz4",
    prepared: Sequence[Message] | None = None,
    is_flat: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Send a scan's start, frames, positions and end.

    Parameters
    ----------
    counts
        ``(n, H, W)``, photons; any object with ``shape`` and ``dtype`` whose ``counts[k]`` is frame k.
    positions_m
        ``(n, 2)``, metres, [y, x]. With ``position_sender`` they are sent there, as ``position_messages`` encodes them; else
        in the frame messages.
    metadata, geometry
        Content of the scan's start message.
    rate_hz
        Frames per second, on an absolute schedule; ``None`` sends as fast as receivers take them.
    prepared
        The frames' messages from :func:`prepare`, made with the same positions.
    is_flat
        Whether each part is sent as a separate message, as some relays do.
    on_progress
        Called with (messages sent, messages in all) after each frame.

    Raises :class:`PositionError` unless there is a position for each frame, :class:`CodecError` for frames that the
    format cannot hold. Waits while no receiver takes a message.
    """
    count = len(counts)
    if positions_m is not None and np.shape(positions_m) != (count, 2):
        raise PositionError(
            f"scan {scan_id}: positions of shape {np.shape(positions_m)} do not fit {count} frames; give one [y, x] each"
        )
    in_frames = positions_m if position_sender is None else None
    coming = position_messages(positions_m, scan_id) if position_sender is not None and positions_m is not None else ()
    positions = _Positions(coming, position_sender, faults)
    frames = _FrameEncoder(counts, in_frames, codec, scan_id, encoding) if prepared is None else prepared
    planned = plan(count, faults, seed)
    begun = time.monotonic()
    start = ScanStart(scan_id, count, metadata or {}, geometry)
    _send(sender, codec.encode_start(start, counts.shape[1:], counts.dtype), is_flat)
    positions.frame_sent(-1)
    for done, (index, is_corrupt) in enumerate(planned.order):
        message = frames[index]
        if rate_hz is not None:
            positions.send_until(begun + done / rate_hz)
        _send(sender, corrupt(message, _frame_bytes(counts)) if is_corrupt else message, is_flat)
        positions.frame_sent(index)
        if on_progress is not None:
            on_progress(done + 1, len(planned.order))
    _send(sender, codec.encode_end(scan_id), is_flat)
    positions.send_all()
    seconds = time.monotonic() - begun
    return Summary(len(planned.order), planned.dropped, planned.duplicated, planned.corrupted, seconds)


@dataclass(frozen=True, slots=True, eq=False)
class _FrameEncoder:
    """The frame messages of a scan by frame index, encoded on demand; ``positions_m`` is None if frames carry none."""

    counts: NDArray[Any]
    positions_m: NDArray[np.float64] | None
    codec: Codec
    scan_id: str
    encoding: str

    def __getitem__(self, index: int) -> Message:
        where = None if self.positions_m is None else PositionM(*map(float, self.positions_m[index]))
        return self.codec.encode_frame(self.scan_id, index, np.asarray(self.counts[index]), where, self.encoding)


def _frame_bytes(counts: NDArray[Any]) -> int:
    return int(np.prod(counts.shape[1:])) * counts.dtype.itemsize


class _Positions:
    """The position stream: each message is due some time after its last frame was sent."""

    def __init__(self, coming: Iterable[tuple[int, Message]], sender: Sender | None, faults: Faults) -> None:
        self._sender = sender
        self._lag_s = faults.late_positions_s
        self._coming = deque(coming)
        self._due: deque[tuple[float, Message]] = deque()

    def frame_sent(self, index: int) -> None:
        """Schedule the messages that end at this frame or earlier, and send those that are due."""
        now = time.monotonic()
        while self._coming and self._coming[0][0] <= index:
            self._due.append((now + self._lag_s, self._coming.popleft()[1]))
        self._send_due(now)

    def send_until(self, moment: float) -> None:
        """Sleep until a moment, and send the messages that become due."""
        while (now := time.monotonic()) < moment:
            wake = min(moment, self._due[0][0]) if self._due else moment
            time.sleep(max(0.0, wake - now))
            self._send_due(time.monotonic())

    def send_all(self) -> None:
        """Send all remaining messages, each when it is due."""
        now = time.monotonic()
        self._due.extend((now + self._lag_s, message) for _, message in self._coming)
        self._coming.clear()
        while self._due:
            time.sleep(max(0.0, self._due[0][0] - time.monotonic()))
            self._send_due(time.monotonic())

    def _send_due(self, now: float) -> None:
        while self._due and self._due[0][0] <= now and self._sender is not None:
            self._sender.send(self._due.popleft()[1])


def _send(sender: Sender, message: Message, is_flat: bool) -> None:
    for parts in [[part] for part in message] if is_flat else filter(None, [message]):
        sender.send(parts)
