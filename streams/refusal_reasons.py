"""Reasons why a message or a frame is refused: all that the account, the metrics, the status and the records name."""

from __future__ import annotations

from streams.sentence_enum import SentenceEnum

__all__ = ["RefusalReason"]


class RefusalReason(SentenceEnum):
    """A reason and its ``sentence``; the value is the word on the wire, in the journal and in metric labels.

    The run book (``deploy/docs/how-to/run-book.md``) has the remedy of each.
    """

    # The message could not be read.
    MALFORMED = "malformed", "The message does not have the structure of the configured format."
    INCOMPLETE = "incomplete", "A part of the message did not arrive."
    CORRUPT = "corrupt", "The compressed pixels cannot be unpacked, or their number is wrong."
    HASH = "hash", "The pixels do not match the sender's hash."
    ENCODING = "encoding", "The compression is not supported."
    SCHEMA_VERSION = "schema_version", "The message uses another version of the native format."
    INDEX = "index", "The frame index is not a whole number in the allowed range."
    DTYPE = "dtype", "The pixel type is not supported."
    SHAPE = "shape", "The frame's shape differs from the announced one, or does not fit the detector size."
    TOO_LARGE = "too_large", "The message is larger than the configured limit."
    CHANNEL = "channel", "The image does not contain the configured channel."
    BAD_FRAME = "bad_frame", "The detector marked the frame as bad."
    POSITION = "position", "The position in the frame's header is not a pair of numbers."
    POSITION_MESSAGE = "position_message", "A message of the position source could not be read."
    METADATA_MESSAGE = "metadata_message", "A message of the control system could not be read."
    DECODE_ERROR = "decode_error", "An internal error occurred while the frame was decoded."
    RECEIVE_ERROR = "receive_error", "An internal error occurred while the message was received."

    # The frame could not be paired with a position.
    AFTER_END = "after_end", "The frame arrived after its scan was finished."
    SCAN_FLOOD = "scan_flood", "Too many scans opened in a short time; all frames of the surplus scans are refused."
    BAD_POSITION = "bad_position", "The position is not finite, or farther away than a stage can move."
    STAGE_MOVING = "stage_moving", "The stage moved farther than [positions] max_motion_m during the frame."
    FAR_FROM_OTHERS = "far_from_others", "The position lies far from all others of the scan."
    PENDING_OVERFLOW = "pending_overflow", "Too many frames waited for their positions; the oldest was dropped."

    # The frame could not be reconstructed.
    OVERLOAD = "overload", "The device is too slow and the journal is off, so the frame could not be kept."
    JOURNAL_UNREADABLE = "journal_unreadable", "The frame could not be read back from the journal."
    OBJECT_PIXEL_UNKNOWN = "object_pixel_unknown", "Energy, distance or detector pixel size is unknown."
    DEVICE_MEMORY = "device_memory", "The device has too little memory for one frame."
    ENGINE_ERROR = "engine_error", "An internal error occurred during the reconstruction."
    NOT_FINITE = "not_finite", "The reconstructed patch contains numbers that are not finite."
    OUTSIDE_MOSAIC = "outside_mosaic", "The frame lies outside the largest allowed mosaic."

    @property
    def words(self) -> str:
        """The reason as words of a sentence."""
        return self.value.replace("_", " ")

    @classmethod
    def of(cls, value: str) -> RefusalReason:
        """Return the reason of a value, such as one of :class:`ptychopinn.mosaic.mosaic.PatchRefusal`."""
        return next(reason for reason in cls if reason.value == value)

    @classmethod
    def of_record(cls, value: object) -> RefusalReason:
        """Return the reason that a stored record names; a record of a damaged journal may name none."""
        return next((reason for reason in cls if reason.value == value), cls.JOURNAL_UNREADABLE)
