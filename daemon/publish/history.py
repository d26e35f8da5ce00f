"""Earlier pictures of recent scans: reduced copies of each layer at growing intervals, in bounded memory.

A picture is kept whole up to 640 px, of a larger one every ``stride``-th pixel, in half precision. The copies of a layer take at
most 32 MB: of large pictures fewer moments are kept.
"""

from __future__ import annotations

import time
from typing import cast

import numpy as np

from daemon.messages import PictureFields, SnapshotFields
from daemon.publish.earlier_pictures import EarlierPictures, Look, look_at
from daemon.publish.hub import UpdateHub
from daemon.publish.wire import Message

SIDE_PX = 640
"""Side up to which a picture is kept whole: usual scans have 300 to 600 px, and a copy of this side takes 2.5 MB."""
LAYERS = ("network", "refined")


class History:
    """Keeps a picture of the newest scan each time ``look`` is called and a pause is over; safe from any thread.

    A scan has earlier pictures for as long as the hub has its picture.
    """

    def __init__(self, hub: UpdateHub) -> None:
        self._hub = hub

    def look(self) -> None:
        """Keep a copy of each layer of the newest scan that has changed and whose pause is over."""
        scan_id = self._hub.latest_scan_id
        pictures = None if scan_id is None else self._hub.pictures(scan_id)
        if scan_id is None or pictures is None:
            return
        for name in self._hub.layers(scan_id):
            layer = pictures.earlier.setdefault(name, EarlierPictures())
            version = self._hub.layer_version(scan_id, name)
            if version == layer.version or (time.monotonic() < layer.next_at and not self._hub.is_final(scan_id, name)):
                continue
            canvas = self._hub.reduced(scan_id, name, SIDE_PX)
            if canvas is not None:
                layer.version = version
                layer.keep(look_at(*canvas))

    def listing(self, scan_id: str, layer: str) -> list[PictureFields]:
        """Return the headers of the kept pictures, oldest first; of the other layer if only that exists."""
        return [look.header for look in self._looks(scan_id, layer)]

    def message(self, scan_id: str, layer: str, number: int) -> Message | None:
        """Return the ``snapshot`` of one kept picture, its header with ``stride``; None if the number is unknown."""
        looks = self._looks(scan_id, layer)
        if not 0 <= number < len(looks):
            return None
        look = looks[number]
        real, imaginary, weight = look.values.astype(np.float32)
        pixels = (real + 1j * imaginary).astype("<c8")
        header = cast(SnapshotFields, {**look.header, "shape": list(weight.shape), "stride": look.stride})
        return Message("snapshot", header, (pixels.tobytes(), (weight * look.weight_scale).astype("<f4").tobytes()))

    def _looks(self, scan_id: str, layer: str) -> list[Look]:
        pictures = self._hub.pictures(scan_id)
        earlier = {} if pictures is None else pictures.earlier
        kept = earlier.get(layer) or next(iter(earlier.copy().values()), None)
        return [] if kept is None or layer not in LAYERS else list(kept.looks)
