"""Headers of the messages for viewers, and a picture's fields, which the history lists too."""

from typing import Literal, NotRequired

from ptycholive_client.messages.scan import ScanEnded, ScanStarted
from ptycholive_client.messages.status import Status
from ptycholive_client.messages.typed import TypedDict

LayerName = Literal["network", "refined"]


class PictureFields(TypedDict):
    """A picture of one layer at one time."""

    scan_id: str
    """Id of the scan."""
    time_ns: int
    """Time of the picture, ns since 1970."""
    layer: LayerName
    """Layer of the picture."""
    shape: list[int]
    """[H, W] of the whole picture, pixels."""
    dtype: Literal["complex64"]
    """Type of the object's pixels."""
    origin_px: list[int]
    """[y, x] of pixel (0, 0) in the object's own frame."""
    pixel_size_m: float | None
    """Side of a pixel, m; null: unknown."""
    frames_stitched: int
    """Frames stitched in the scan."""
    frames_received: int
    """Frame messages received, with duplicates and refused frames."""
    model_generation: int
    """Generation of the newest model that predicted a frame of it."""
    rfactor: float | None
    """R-factor of the layer; null: not yet known."""
    complete: bool
    """True in the last picture of a scan, and in improved ones that follow its end."""


class SnapshotFields(PictureFields):
    """A whole picture."""

    generations: NotRequired[list[list[int]]]
    """Rows: generation of the model that last changed each tile of 32 x 32 pixels."""
    stride: NotRequired[int]
    """Each pixel here stands for stride x stride pixels (earlier pictures of large scans)."""


class DeltaFields(PictureFields):
    """The part of a picture that changed."""

    region: list[int]
    """[y, x, h, w] of the part in the whole picture, pixels."""


class Numbered(TypedDict):
    """The fields that every header has, besides ``scan_id`` and ``time_ns``."""

    schema_version: int
    """Version of the messages."""
    sequence: int
    """Number of the message on this socket."""


class Timed(Numbered):
    """The fields that every header of words has, besides ``scan_id``."""

    time_ns: int
    """Time of the message, ns since 1970."""


class StatusHeader(Status, Timed):
    """Header of a ``status`` message; ``scan_id`` is empty before the first scan."""


class ScanStartedHeader(ScanStarted, Timed):
    """Header of a ``scan`` message at the start of a scan."""


class ScanEndedHeader(ScanEnded, Timed):
    """Header of a ``scan`` message at the end of a scan."""


class SnapshotHeader(SnapshotFields, Numbered):
    """Header of a ``snapshot`` message."""


class DeltaHeader(DeltaFields, Numbered):
    """Header of a ``delta`` message."""


ScanNews = ScanStarted | ScanEnded
ScanHeader = ScanStartedHeader | ScanEndedHeader
PictureHeader = SnapshotHeader | DeltaHeader
Fields = Status | ScanNews | SnapshotFields | DeltaFields
"""A header before it has its number on a socket."""
Header = StatusHeader | ScanHeader | PictureHeader
