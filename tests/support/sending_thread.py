"""A detector that goes on with its messages, whoever takes them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from streams.errors import EndpointError
from streams.sockets.transport import Sender

RETRY_S = 0.2
"""A message that no peer takes is tried again after this time."""


@contextmanager
def sending(messages: Iterable[list[bytes]], socket: str = "push", pause_s: float = 0.0) -> Iterator[str]:
    """Send messages from a thread, with a pause after each, until the block ends; yield the address."""
    stop = threading.Event()
    with Sender("tcp://127.0.0.1:0", socket) as sender:

        def send() -> None:
            if socket == "pub":  # a pushed message waits by itself
                while not stop.is_set() and not sender.wait_for_peer(RETRY_S):
                    pass
            for message in messages:
                while not stop.wait(pause_s):
                    try:
                        sender.send(message, RETRY_S)
                        break
                    except EndpointError:  # nobody takes it, or the peer's socket was of the other kind
                        continue
                else:  # told to stop
                    return

        thread = threading.Thread(target=send)
        thread.start()
        try:
            yield sender.bound_endpoint
        finally:
            stop.set()
            thread.join()
            sender.close(0)
