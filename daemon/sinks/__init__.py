"""Optional further places for pictures and results: plug-ins, each in its own thread, none of which can hold the scan."""

from daemon.sinks.base import Sink
from daemon.sinks.delivery import Delivery
from daemon.sinks.group import Sinks
from daemon.sinks.plugins import open_sinks

__all__ = ["Delivery", "Sink", "Sinks", "open_sinks"]
