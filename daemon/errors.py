"""Faults of the daemon, one tree; each message says what, where, and what to do."""

from __future__ import annotations


class DaemonError(Exception):
    """Root of every fault of this package."""


class ConfigError(DaemonError):
    """The configuration cannot be used."""


class IncompleteScanError(DaemonError):
    """A scan ended without all of its frames."""


class RefusedError(DaemonError):
    """A running daemon does not do now what it was asked for."""


class JournalError(DaemonError):
    """A journal, or a record of it, cannot be read."""


class NotHeldError(DaemonError):
    """A frame, a picture or a probe that a viewer asks for is not held, or not any more."""


class ClusterError(DaemonError):
    """A Ray cluster cannot be reached or used."""
