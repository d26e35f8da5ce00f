"""All sinks of a daemon."""

from __future__ import annotations

from collections.abc import Sequence

from daemon.config import SinkOptions
from daemon.messages import SinkStatus
from daemon.publish.hub import UpdateHub
from daemon.sinks.base import Sink
from daemon.sinks.delivery import Count, Delivery

STOP_S = 10.0
"""Longest wait for each sink at the daemon's end; service managers wait longer."""


class Sinks:
    """Starts and stops all sinks, and returns their status."""

    def __init__(self, hub: UpdateHub, sinks: Sequence[Sink], options: Sequence[SinkOptions], count: Count) -> None:
        pairs = zip(sinks, options, strict=True)
        self._deliveries = [Delivery(hub, sink, how, count) for sink, how in pairs]

    def start(self) -> None:
        """Start the thread of each sink."""
        for delivery in self._deliveries:
            delivery.start()

    def stop(self) -> None:
        """Let each sink deliver its queued events, for a bounded time."""
        for delivery in self._deliveries:
            delivery.stop(STOP_S)

    def status(self) -> list[SinkStatus]:
        """Return the status of each sink."""
        return [delivery.status() for delivery in self._deliveries]

    def troubles(self) -> list[str]:
        """Return a sentence for each sink with a fault."""
        return [delivery.trouble for delivery in self._deliveries if delivery.trouble is not None]
