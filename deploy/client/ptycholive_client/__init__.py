"""Follows a Ptycholive daemon: ``with Viewer("tcp://host:5556") as viewer: for picture in viewer.snapshots(): …``."""

from ptycholive_client.async_viewer import AsyncViewer
from ptycholive_client.errors import EndpointError, KeyFileError, StreamError
from ptycholive_client.events import PictureEvent, ScanEvent, StatusEvent, ViewerEvent
from ptycholive_client.keys import CurveKeys, KeyFiles, read_keys
from ptycholive_client.pictures import Picture
from ptycholive_client.viewer import Viewer

__all__ = [
    "AsyncViewer",
    "CurveKeys",
    "EndpointError",
    "KeyFileError",
    "KeyFiles",
    "Picture",
    "PictureEvent",
    "ScanEvent",
    "StatusEvent",
    "StreamError",
    "Viewer",
    "ViewerEvent",
    "read_keys",
]
