"""Sockets of ``replay``, for a data file and for a recording."""

from __future__ import annotations

from streams.errors import EndpointError
from streams.sockets.keys import KeyFiles, read_keys
from streams.sockets.transport import Sender


def open_sender(endpoint: str, socket: str, keys: KeyFiles) -> Sender:
    """Return a sender that binds or, after a leading ``>``, connects; with CURVE keys if given."""
    return Sender(endpoint, socket, curve=read_keys(keys, not endpoint.startswith(">"), "replay"))


def wait_for_receiver(sender: Sender, wait_s: float) -> None:
    """Wait until a receiver is connected. Raises :class:`EndpointError` if none is within ``wait_s`` seconds."""
    if not sender.wait_for_peer(wait_s):
        silent = f"no receiver connected to {sender.endpoint} within {wait_s:g} s; start the daemon"
        raise EndpointError(sender.handshake_fault or silent)
