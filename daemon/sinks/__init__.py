"""Sinks: optional plug-ins that receive pictures and results. Each has its own thread and cannot delay the scan."""

from daemon.sinks.base import Sink
from daemon.sinks.delivery import Delivery
from daemon.sinks.group import Sinks
from daemon.sinks.plugins import open_sinks

__all__ = ["Delivery", "Sink", "Sinks", "open_sinks"]
