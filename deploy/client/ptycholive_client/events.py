"""Events of a viewer: the status, the start or end of a scan, a picture."""

from __future__ import annotations

from typing import Literal, NamedTuple

from ptycholive_client.messages import PictureHeader, ScanHeader, StatusHeader
from ptycholive_client.pictures import Picture


class StatusEvent(NamedTuple):
    """The status of the daemon."""

    topic: Literal["status"]
    header: StatusHeader
    picture: None


class ScanEvent(NamedTuple):
    """The start or the end of a scan."""

    topic: Literal["scan"]
    header: ScanHeader
    picture: None


class PictureEvent(NamedTuple):
    """A layer after a snapshot or a delta."""

    topic: Literal["snapshot", "delta"]
    header: PictureHeader
    picture: Picture


ViewerEvent = StatusEvent | ScanEvent | PictureEvent
"""One message: topic, header and picture. Its type tells the topic, and ``event.picture is not None`` a picture."""
