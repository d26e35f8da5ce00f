"""Faults that a replay puts into a stream, and the resulting order of messages."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from streams.compression import HEADER
from streams.errors import StreamError

__all__ = ["Faults", "Planned", "corrupt", "plan"]

_RATIOS = ("drop", "duplicate", "corrupt")


@dataclass(frozen=True, slots=True)
class Faults:
    """Ratios of frames that are dropped, repeated or corrupted; window of disorder in frames; delay of positions in seconds."""

    drop: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    reorder: int = 0
    late_positions_s: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Faults:
        """Read ``drop=0.05,duplicate=0.05,reorder=16,corrupt=0.01,late-positions=2.0``, or any of these.

        Raises :class:`StreamError` naming the invalid part.
        """
        values: dict[str, float] = {}
        for part in filter(None, (piece.strip() for piece in text.split(","))):
            name, _, number = part.partition("=")
            if name not in (*_RATIOS, "reorder", "late-positions"):
                raise StreamError(
                    f"{part!r} is not a valid fault. Faults: drop, duplicate, reorder, corrupt, late-positions"
                )
            values[name] = _number(part, name, number)
        return cls(
            **{name: values[name] for name in _RATIOS if name in values},
            reorder=int(values.get("reorder", 0)),
            late_positions_s=values.get("late-positions", 0.0),
        )


@dataclass(frozen=True, slots=True)
class Planned:
    """Frame messages in sending order, ``order`` (frame index, whether corrupt), and the number of each fault."""

    order: list[tuple[int, bool]]
    dropped: int
    duplicated: int
    corrupted: int


def plan(count: int, faults: Faults, seed: int) -> Planned:
    """Plan a scan of ``count`` frames; the same seed gives the same faults."""
    rng = np.random.default_rng(seed)
    is_dropped = rng.random(count) < faults.drop
    is_doubled = (rng.random(count) < faults.duplicate) & ~is_dropped
    copies = np.where(is_dropped, 0, 1 + is_doubled)
    indexes = np.repeat(np.arange(count), copies)
    is_corrupt = rng.random(len(indexes)) < faults.corrupt
    places = indexes + rng.uniform(0, faults.reorder + 1, len(indexes)) if faults.reorder else indexes
    order = np.argsort(places, kind="stable")
    messages = list(zip(indexes[order].tolist(), is_corrupt[order].tolist(), strict=True))
    return Planned(messages, int(is_dropped.sum()), int(is_doubled.sum()), int(is_corrupt.sum()))


def corrupt(parts: list[bytes], frame_nbytes: int) -> list[bytes]:
    """Return a frame message that every decoder must refuse.

    Compressed pixels get a wrong length, so that scan and index stay readable; others lose their last byte.
    """
    head = HEADER.pack(frame_nbytes, 8192)
    number = next((n for n, part in enumerate(parts) if head in part), None)
    if number is None:
        number = max(range(len(parts)), key=lambda n: len(parts[n]))
        damaged = parts[number][:-1]
    else:
        place = parts[number].index(head) + 7
        damaged = parts[number][:place] + bytes([parts[number][place] ^ 0x55]) + parts[number][place + 1 :]
    return [*parts[:number], damaged, *parts[number + 1 :]]


def _number(part: str, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    is_whole = name != "reorder" or value == round(value) if math.isfinite(value) else False
    if not is_whole or value < 0 or (name in _RATIOS and value > 1):
        wanted = {"reorder": "a number of frames", "late-positions": "seconds"}.get(name, "a ratio from 0 to 1")
        raise StreamError(f"{part!r} is not a valid fault: give {wanted} after '='")
    return value
