"""From a configuration to the parts of the daemon; everything that can be wrong with files and optics is found here."""

from daemon.setup.parts import Setup

__all__ = ["Setup"]
