"""Exceptions of connections; the streams of the daemon raise them too."""

from __future__ import annotations

__all__ = ["EndpointError", "KeyFileError", "StreamError"]


class StreamError(Exception):
    """Base of all exceptions of a stream."""


class EndpointError(StreamError):
    """An endpoint is malformed, in use, or cannot be reached; the message names it and the remedy."""


class KeyFileError(StreamError):
    """Keys are missing, incomplete or invalid; the message names the file or the configuration keys."""
