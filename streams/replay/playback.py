"""Plays a recording: the same bytes in the same order, at the recorded or a given rate."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from streams.replay.recording import Recording
from streams.sockets.transport import Sender

__all__ = ["Played", "play"]


@dataclass(frozen=True, slots=True)
class Played:
    """Messages sent by stream, and the parts of the recording that could not be read."""

    sent: dict[str, int]
    seconds: float
    cut_bytes: int
    damaged: int


def play(
    recording: Recording,
    senders: Mapping[str, Sender],
    *,
    rate_hz: float | None = None,
    on_sent: Callable[[str], None] | None = None,
) -> Played:
    """Send all messages of the streams that have a sender; waits while no receiver takes one.

    Parameters
    ----------
    senders
        By the stream's name; ``rate_hz`` applies to the first one.
    rate_hz
        Messages per second of the first sender's stream; ``None`` keeps the recorded times.
    on_sent
        Called with the stream's name after each message.
    """
    sent = dict.fromkeys(senders, 0)
    paced = next(iter(senders))
    begun = time.monotonic()
    first_ns: int | None = None
    for message in recording:
        sender = senders.get(message.stream)
        if sender is None:
            continue
        first_ns = message.time_ns if first_ns is None else first_ns
        due_s = (message.time_ns - first_ns) / 1e9 if rate_hz is None else sent[paced] / rate_hz
        time.sleep(max(0.0, begun + due_s - time.monotonic()))
        sender.send(message.parts)
        sent[message.stream] += 1
        if on_sent is not None:
            on_sent(message.stream)
    return Played(sent, time.monotonic() - begun, recording.cut_bytes, recording.damaged)
