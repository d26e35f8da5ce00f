"""All sinks of a daemon."""

from __future__ import annotations

from collections.abc import Sequence

from daemon.config import SinkOptions
from daemon.messages import SinkStatus
from daemon.publish.hub import UpdateHub
from daemon.sinks.base import Sink
from daemon.sinks.delivery import Count, Delivery

STOP_S = 10.0


class Sinks:
    """Starts and stops them, and says how they are."""

    def __init__(self, hub: UpdateHub, sinks: Sequence[Sink], options: Sequence[SinkOptions], count: Count) -> None:
        pairs = zip(sinks, options, strict=True)
        self._deliveries = [Delivery(hub, sink, how, count) for sink, how in pairs]

    def start(self) -> None:
        """Start the thread of each."""
        for delivery in self._deliveries:
            delivery.start()

    def stop(self) -> None:
        """Let each deliver what it has, for a bounded time."""
        for delivery in self._deliveries:
            delivery.stop(STOP_S)

    def status(self) -> list[SinkStatus]:
        """Return what each has done."""
        return [delivery.status() for delivery in self._deliveries]

    def troubles(self) -> list[str]:
        """Return what is wrong, in words."""
        return [delivery.trouble for delivery in self._deliveries if delivery.trouble is not None]
