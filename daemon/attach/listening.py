"""Listens at an endpoint for a short time and describes the messages."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from daemon.config import Config
from daemon.intake.receivers import make_position_reader
from daemon.optics.scan_optics import scan_optics
from streams.codecs import CODECS, EncodedFrame, StreamItem
from streams.errors import CodecError, StreamError
from streams.frame import Position, PositionNews, ScanStart
from streams.sockets.receiver import MessageReceiver, OnMessage

MOST_MESSAGES = 100
"""Messages of a stream that are enough to describe it."""
MOST_BYTES = 64 << 20
"""Size of messages that is enough, bytes."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One line of the report. ``word`` is OK, WARN (it works), SILENT or ERROR; ``seen`` holds the values for JSON."""

    word: str
    detail: str
    seen: dict[str, object] = field(default_factory=dict)


@dataclass(slots=True)
class FirstMessages:
    """The first messages of a stream, copied, with their arrival times, ns.

    ``refused`` holds the errors of messages that the receiver refused.
    """

    most: int
    messages: list[tuple[list[bytes], int]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    nbytes: int = 0
    is_enough: threading.Event = field(default_factory=threading.Event)
    may_go_on: threading.Event = field(default_factory=threading.Event)

    def __call__(self, parts: list[memoryview], received_ns: int) -> None:
        """Take one message (receive thread). When there are enough, hold the stream back until listening ends."""
        if self.is_enough.is_set():
            self.may_go_on.wait()
            return
        self.messages.append(([bytes(part) for part in parts], received_ns))
        self.nbytes += sum(map(len, parts))
        if len(self.messages) >= self.most or self.nbytes > MOST_BYTES:
            self.is_enough.set()

    def refuse(self, fault: CodecError) -> None:
        """Note the error of a message that the receiver refused (receive thread)."""
        if len(self.refused) < self.most:
            self.refused.append(str(fault))
        if len(self.messages) + len(self.refused) >= self.most:
            self.is_enough.set()


def listen(
    make: Callable[[OnMessage], MessageReceiver],
    is_shared: bool,
    wait_s: float,
    describe: Callable[[FirstMessages], CheckResult],
) -> CheckResult:
    """Return the finding of ``describe`` on the messages that arrive at an endpoint within ``wait_s``.

    ``is_shared``: a message received here does not reach other receivers.
    """
    received = FirstMessages(MOST_MESSAGES)
    try:
        receiver = make(received)
        receiver.on_refused = received.refuse
        receiver.start()
    except StreamError as fault:
        return CheckResult("ERROR", str(fault))
    try:
        received.is_enough.wait(wait_s)
        fault_words, is_connected = _without_name(receiver), receiver.connected
    finally:
        received.may_go_on.set()
        receiver.stop()
    place = receiver.bound_endpoint
    if not received.messages:
        if receiver.handshake_failures:
            return CheckResult("ERROR", str(fault_words))
        if received.refused:
            return CheckResult("ERROR", f"{place}: {_refused_words(received)}", {"refused": len(received.refused)})
        if not is_connected:
            return CheckResult("SILENT", fault_words or f"{place}: no sender connected within {wait_s:g} s")
        silence = f"{place}: connected, but no message within {wait_s:g} s; without a scan that is normal"
        return CheckResult("SILENT", silence)
    found = describe(received)
    if received.refused:
        found = CheckResult(
            "ERROR", f"{found.detail}; {_refused_words(received)}", found.seen | {"refused": len(received.refused)}
        )
    share = f"; this test took {len(received.messages)} messages from the stream" if is_shared else ""
    return CheckResult(found.word, f"{place}: {found.detail}{share}", found.seen)


def _refused_words(received: FirstMessages) -> str:
    return f"{len(received.refused)} messages were refused, the first: {received.refused[0]}"


def _without_name(receiver: MessageReceiver) -> str | None:
    return None if receiver.fault is None else receiver.fault.removeprefix(f"{receiver.name} stream ")


def describe_frames(config: Config, received: FirstMessages) -> CheckResult:
    """Describe the messages of a frame stream, or their error."""
    wanted = config.frames.format
    items, faults = parsed(wanted, config, received)
    frames = [item for item in items if isinstance(item, EncodedFrame)]
    starts = [item for item in items if isinstance(item, ScanStart)]
    if not items:
        looks = looks_like(config, received)
        if looks is not None:
            return CheckResult(
                "ERROR", f"the messages look like {looks}, but [frames] format is {wanted}", {"format": looks}
            )
        return CheckResult("ERROR", f"none of {len(received.messages)} messages is {wanted}: {faults[0]}")
    seen: dict[str, object] = {"format": wanted, "messages": len(received.messages)}
    words = [f"{wanted}"]
    if frames:
        form = form_of(frames)
        seen.update(form)
        words.append("{shape[0]} x {shape[1]} {dtype}".format(**form))
        words.append(f"{form['encoding'] or 'not compressed'}, compression ratio {form['compression']:.1f}")
        if form["rate_hz"] is not None:
            words.append(f"{form['rate_hz']:.0f} frames/s")
    for start in starts[-1:]:
        if start.geometry.photon_energy_eV is not None:
            seen["photon_energy_eV"] = start.geometry.photon_energy_eV
            words.append(f"{start.geometry.photon_energy_eV:.0f} eV")
        words += start.notes[:1]
    fault = _fault_of(config, frames, starts, faults)
    if fault is not None:
        return CheckResult("ERROR", f"{', '.join(words)}; {fault}", seen)
    return CheckResult("OK", ", ".join(words), seen)


def describe_positions(config: Config, received: FirstMessages) -> CheckResult:
    """Describe the messages of a position stream, or their error."""
    reader = make_position_reader(config.positions)
    positions: list[Position] = []
    fault: str | None = None
    for parts, _ in received.messages:
        try:
            news = [] if reader is None else reader(parts)
        except StreamError as refused:
            fault = fault or str(refused)
            continue
        if isinstance(news, PositionNews):
            fault = fault or news.fault
            news = news.positions
        positions += news
    source = config.positions.source
    seen: dict[str, object] = {"format": source, "messages": len(received.messages), "positions": len(positions)}
    if fault is not None:
        return CheckResult("ERROR", fault, seen)
    if not positions:
        return CheckResult("OK", f"{source}, no position in {len(received.messages)} messages so far", seen)
    spans = []
    for axis in ("y", "x"):
        values = [getattr(each.position_m, axis) * 1e6 for each in positions]
        spans.append(f"{axis} {min(values):.3f} to {max(values):.3f} um")
    return CheckResult("OK", f"{source}, {len(positions)} positions, {', '.join(spans)}", seen)


def parsed(name: str, config: Config, received: FirstMessages) -> tuple[list[StreamItem], list[str]]:
    """Return the items that a format reads from the messages, and its errors."""
    frames = config.frames
    codec = CODECS[name](channel=frames.channel, max_frame_bytes=frames.max_message_bytes)
    items: list[StreamItem] = []
    faults: list[str] = []
    for parts, received_ns in received.messages:
        try:
            found = codec.parse(parts, received_ns)
        except CodecError as fault:
            faults.append(str(fault))
            continue
        faults += [str(item) for item in found if isinstance(item, CodecError)]
        items += [item for item in found if not isinstance(item, CodecError)]
    return items, faults


def looks_like(config: Config, received: FirstMessages) -> str | None:
    """Return the format that understands the most messages."""
    understood = Counter({name: len(parsed(name, config, received)[0]) for name in CODECS})
    name, count = understood.most_common(1)[0]
    return name if count else None


class FrameForm(TypedDict):
    """Form of the frames of a stream, for JSON."""

    shape: list[int]
    dtype: str
    encoding: str
    compression: float
    """Decoded size over size in the messages."""
    rate_hz: float | None


def form_of(frames: Sequence[EncodedFrame]) -> FrameForm:
    """Return the form of some frames."""
    first, last = frames[0], frames[-1]
    seconds = (last.received_ns - first.received_ns) / 1e9
    return {
        "shape": list(first.shape),
        "dtype": str(first.dtype.newbyteorder("=")),
        "encoding": first.encoding,
        "compression": sum(f.decoded_nbytes for f in frames) / max(1, sum(f.nbytes for f in frames)),
        "rate_hz": (len(frames) - 1) / seconds if seconds > 0 else None,
    }


def _fault_of(
    config: Config, frames: Sequence[EncodedFrame], starts: Sequence[ScanStart], faults: Sequence[str]
) -> str | None:
    detector = config.detector
    side = detector.size_px * detector.binning
    if frames:
        try:
            frames[0].decode()
        except CodecError as fault:
            return str(fault)
        if min(frames[0].shape) < side:
            return f"the frames are too small for [detector] size_px = {detector.size_px}"
    for start in starts[-1:]:
        for note in scan_optics(config.optics, side, None, start.geometry).notes:
            return note
    return f"{len(faults)} messages were refused, the first: {faults[0]}" if faults else None
