"""Ctrl-C ends a training after its next step, with a checkpoint; a second Ctrl-C acts at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stopped_by(numbers: Sequence[signal.Signals]) -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether one of the signals was received; a second one acts as before.

    In another thread than the main one signals cannot be handled; the function then returns False.
    """
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.getsignal(number) for number in numbers}

    def take(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, take)
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
