"""A queue bounded in bytes, for one consumer that takes whatever is there."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class ByteQueue(Generic[T]):
    """First in, first out; ``put`` blocks while more than ``limit_bytes`` wait (one item always fits, and one of no size)."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._items: deque[tuple[T, int]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T, size_bytes: int) -> bool:
        """Add an item, waiting for room; False once the queue is closed."""
        with self._changed:
            while size_bytes and self._items and self.bytes + size_bytes > self._limit_bytes and not self._closed:
                self._changed.wait()
            if self._closed:
                return False
            self._items.append((item, size_bytes))
            self.bytes += size_bytes
            self._changed.notify_all()
            return True

    def take(self, most: int, wait_s: float) -> list[T]:
        """Return what is there, at most ``most`` items; wait up to ``wait_s`` for the first."""
        end = time.monotonic() + wait_s
        with self._changed:
            while not self._items and not self._closed:
                left = end - time.monotonic()
                if left <= 0:
                    return []
                self._changed.wait(left)
            taken = [self._items.popleft() for _ in range(min(most, len(self._items)))]
            self.bytes -= sum(size for _, size in taken)
            self._changed.notify_all()
            return [item for item, _ in taken]

    def close(self) -> None:
        """Refuse further items and release whoever waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
