"""Exceptions of the streams; all derive from ``StreamError``."""

from __future__ import annotations

from streams.refusal_reasons import RefusalReason


class StreamError(Exception):
    """Base of all exceptions of a stream."""


class EndpointError(StreamError):
    """An endpoint is malformed, in use, or cannot be reached; the message names it and the remedy."""


class PositionError(StreamError):
    """A position message or file is invalid."""


class CodecError(StreamError):
    """One message cannot be read. Scan and index say which frame, if known."""

    def __init__(
        self, reason: RefusalReason, message: str, scan_id: str | None = None, index: int | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.scan_id = scan_id
        self.index = index


class KeyFileError(StreamError):
    """Keys are missing, incomplete or invalid; the message names the file or the configuration keys."""


class RecordingError(StreamError):
    """A recording cannot be read or written; the message names the file and the remedy."""


class LogError(StreamError):
    """An entry of an append-only log is too long, missing or damaged."""
