"""Shared by the stream tests: small frames, a clock that is set by hand, and a listener that can be waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from streams.frame import Frame, Position, PositionM

WAIT_S = 60.0


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Listener:
    """Keeps the messages that a receiver delivers."""

    def __init__(self) -> None:
        self.messages: list[tuple[list[memoryview], int]] = []
        self._changed = threading.Condition()

    def __call__(self, parts: list[memoryview], received_ns: int) -> None:
        with self._changed:
            self.messages.append((parts, received_ns))
            self._changed.notify_all()

    def wait(self, count: int) -> list[list[bytes]]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.messages) >= count, WAIT_S), len(self.messages)
            return [[bytes(part) for part in parts] for parts, _ in self.messages]

    def wait_until(self, is_last: Callable[[list[memoryview]], bool]) -> list[tuple[list[memoryview], int]]:
        def has_come() -> bool:
            return bool(self.messages) and is_last(self.messages[-1][0])

        with self._changed:
            assert self._changed.wait_for(has_come, WAIT_S), len(self.messages)
            return list(self.messages)


def frame(index: int, position: tuple[float, float] | None = None, scan_id: str = "a", value: int = 0) -> Frame:
    counts = np.full((2, 2), value or index, np.uint16)
    return Frame(scan_id, index, counts, 7, None if position is None else PositionM(*position))


def place(index: int, y: float | None = None, scan_id: str | None = "a") -> Position:
    return Position(scan_id, index, PositionM(float(index) if y is None else y, 0.5))


def patterns(count: int, side: int = 64, seed: int = 0, dtype: str = "uint16") -> NDArray[np.generic]:
    rng = np.random.default_rng(seed)
    return rng.poisson(3.0, (count, side, side)).astype(dtype)
