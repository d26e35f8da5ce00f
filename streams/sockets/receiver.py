"""Base of every receiver: it counts the messages of one stream and delivers them from its own thread."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

from streams.errors import CodecError
from streams.refusal_reasons import RefusalReason

__all__ = ["OnMessage", "OnRefused", "MessageReceiver"]

log = logging.getLogger(__name__)

_MOST_PARTS = 64
"""Parts of one message; the longest known format has nine."""
OnMessage = Callable[[list[memoryview], int], None]
OnRefused = Callable[[CodecError], None]


class MessageReceiver(ABC):
    """Receives one stream.

    ``on_message(parts, received_ns)`` gets views into the message, not copies, and ``time.monotonic_ns``. It may block;
    the sender then has to wait if its protocol allows that. Its exceptions are logged and counted.

    Parameters
    ----------
    name
        The stream's name in faults.
    max_message_bytes
        A larger message, all its parts together, is refused and counted.

    ``on_refused`` is called for each message that cannot be delivered; set it before the start.
    """

    def __init__(self, name: str, endpoint: str, on_message: OnMessage, max_message_bytes: int) -> None:
        self.name = name
        self.endpoint = endpoint
        self.bound_endpoint = endpoint
        self.messages = self.bytes = self.refused = self.failed = 0
        self.last_message: float | None = None
        self.first_refusal: str | None = None
        self.max_message_bytes = max_message_bytes
        self.on_refused: OnRefused = lambda _fault: None
        self._on_message = on_message
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"receive-{name}", daemon=True)

    @property
    @abstractmethod
    def connected(self) -> bool:
        """Whether a peer is connected and its handshake is done."""

    @property
    @abstractmethod
    def fault(self) -> str | None:
        """The fault of the connection, as a sentence; ``None`` while it is good or has just been opened."""

    @property
    def handshake_failures(self) -> int:
        """Handshakes that failed so far: wrong keys, or encryption at one end only."""
        return 0

    @property
    def is_alive(self) -> bool:
        """Whether the thread is running, connected or not."""
        return self._thread.is_alive()

    @abstractmethod
    def start(self) -> None:
        """Open the endpoint and start the thread. Raises :class:`streams.errors.EndpointError`."""

    @abstractmethod
    def stop(self) -> None:
        """End the thread after a running ``on_message`` returns, and free the endpoint."""

    def wait_for(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until a condition holds; it is checked when the connection changes and when the first message arrives."""
        with self._changed:
            return self._changed.wait_for(condition, timeout_s)

    @abstractmethod
    def _run(self) -> None:
        """Receive until :meth:`stop` is called."""

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _deliver(self, parts: list[memoryview], size: int, received_ns: int) -> None:
        self.last_message = received_ns / 1e9
        self.messages += 1
        self.bytes += size
        if self.messages == 1:
            self._tell()
        if size > self.max_message_bytes or len(parts) > _MOST_PARTS:
            limit = f"{self.max_message_bytes} bytes or {_MOST_PARTS} parts"
            self._refuse(
                CodecError(RefusalReason.TOO_LARGE, f"a message of {len(parts)} parts, {size} bytes exceeds {limit}")
            )
            return
        try:
            self._on_message(parts, received_ns)
        except Exception as fault:
            if self.failed == 0:
                log.exception("%s stream: a message was lost", self.name)
            self.failed += 1
            self.on_refused(
                CodecError(RefusalReason.RECEIVE_ERROR, f"a message was lost because of an internal error: {fault}")
            )

    def _refuse(self, fault: CodecError) -> None:
        """Count a message as refused and report it."""
        self.refused += 1
        self.first_refusal = self.first_refusal or str(fault)
        self.on_refused(fault)
