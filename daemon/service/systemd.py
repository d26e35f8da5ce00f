"""Notifies systemd (``Type=notify``) over the datagram socket that it names; without a socket nothing is sent."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


class Systemd:
    """Sends the daemon's state: ready, alive, stopping."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        for_another = os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid())
        self.watchdog_s = 0.0 if for_another else int(os.environ.get("WATCHDOG_USEC") or 0) / 1e6

    def notify(self, *assignments: str) -> None:
        """Send assignments such as ``READY=1``; a missing socket is ignored."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.connect(address)
            sender.sendall("\n".join(assignments).encode())
