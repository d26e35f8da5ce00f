"""Faults of streams, one tree under ``StreamError``."""

from __future__ import annotations

from streams.refusal_reasons import RefusalReason


class StreamError(Exception):
    """Root of every fault that a stream can have."""


class EndpointError(StreamError):
    """An endpoint is malformed, in use, or cannot be reached; the message says which and what to do."""


class PositionError(StreamError):
    """A position message or file is not what it says."""


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
    """Keys are missing, incomplete, or no keys; the message names the file or the keys of the configuration."""


class RecordingError(StreamError):
    """A recording cannot be read or written; the message names the file and what to do."""


class LogError(StreamError):
    """An entry of an append-only log is too long, missing or damaged."""
