"""From a configuration to the parts of the daemon; faults of files and optics are found here, before the start."""

from daemon.setup.parts import Setup

__all__ = ["Setup"]
