"""A thread that follows a daemon and gives the newest picture to a window or a notebook."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

from ptycholive_client.errors import StreamError
from ptycholive_client.messages import LayerName
from ptycholive_client.pictures import Picture
from ptycholive_client.viewer import Viewer

ShownLayer = LayerName | Literal["best"]
"""``best``: the refined layer as soon as a scan has one, the network layer before."""
WAIT_S = 0.5
"""Longest wait for a message before the thread looks whether it shall end, s."""
PERIOD_S = 0.25
"""Shortest time between two pictures, s: windows and notebooks draw slowly."""


class Follower:
    """Gives pictures of a layer, cropped copies, to ``on_picture``, and a fault to ``on_fault``, until it is stopped."""

    def __init__(
        self,
        endpoint: str,
        layer: ShownLayer,
        on_picture: Callable[[Picture], None],
        on_fault: Callable[[str], None],
        *,
        token: str | None = None,
        period_s: float = PERIOD_S,
    ) -> None:
        self._viewer = Viewer(endpoint, WAIT_S, token=token)
        self._chosen = _Chosen(layer)
        self._on_picture, self._on_fault = on_picture, on_fault
        self._period_s = period_s
        self._next_s = 0.0
        self._waiting: Picture | None = None
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ptycholive-follower", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and the connection."""
        self._leaving.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        with self._viewer as viewer:
            while not self._leaving.is_set():
                try:
                    self._follow(viewer)
                except TimeoutError:
                    self._give()
                except StreamError as fault:
                    self._on_fault(str(fault))
                    return

    def _follow(self, viewer: Viewer) -> None:
        for event in viewer.events():
            if self._leaving.is_set():
                return
            if event.picture is not None and self._chosen.take(event.picture):
                self._waiting = event.picture
            if event.topic == "scan" or time.monotonic() >= self._next_s:
                self._give()

    def _give(self) -> None:
        if self._waiting is not None:
            self._on_picture(self._waiting.cropped())
            self._waiting, self._next_s = None, time.monotonic() + self._period_s


class _Chosen:
    """Chooses the pictures of a layer."""

    def __init__(self, layer: ShownLayer) -> None:
        self._layer = layer
        self._refined_scan: str | None = None

    def take(self, picture: Picture) -> bool:
        """Whether a picture shall be shown."""
        if picture.layer == "refined":
            self._refined_scan = picture.scan_id
        if self._layer == "best":
            return picture.layer == "refined" or picture.scan_id != self._refined_scan
        return picture.layer == self._layer
