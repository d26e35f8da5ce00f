"""Exceptions of the streams; all derive from ``StreamError``."""

from __future__ import annotations

from ptycholive_client.errors import EndpointError, KeyFileError, StreamError
from streams.refusal_reasons import RefusalReason

__all__ = [
    "CodecError",
    "EndpointError",
    "KeyFileError",
    "LogError",
    "PositionError",
    "RecordingError",
    "StreamError",
]


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


class RecordingError(StreamError):
    """A recording cannot be read or written; the message names the file and the remedy."""


class LogError(StreamError):
    """An entry of an append-only log is too long, missing or damaged."""
