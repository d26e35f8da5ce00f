"""A client that follows the daemon: :mod:`ptycholive_client`, which can be installed without the rest."""

from ptycholive_client.async_viewer import AsyncViewer
from ptycholive_client.events import PictureEvent, ScanEvent, StatusEvent, ViewerEvent
from ptycholive_client.viewer import Viewer

__all__ = ["AsyncViewer", "PictureEvent", "ScanEvent", "StatusEvent", "Viewer", "ViewerEvent"]
