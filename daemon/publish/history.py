"""Earlier pictures of recent scans: reduced copies of each layer at growing intervals, in bounded memory.

A picture is kept whole up to 640 px, of a larger one every ``stride``-th pixel, in half precision. The copies of a layer take at
most 32 MB: of large pictures fewer moments are kept.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from daemon.messages import PictureFields, SnapshotFields
from daemon.publish.hub import UpdateHub
from daemon.publish.snapshot import LayerCanvas
from daemon.publish.wire import Message, layer_header

SIDE_PX = 640
"""Side up to which a picture is kept whole: usual scans have 300 to 600 px, and a copy of this side takes 2.5 MB."""
MOST_LOOKS = 48
MOST_BYTES = 32 << 20
"""Memory of the copies of one layer of one scan; four scans of two layers take at most 256 MB."""
FIRST_PAUSE_S = 0.5
LAYERS = ("network", "refined")


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One layer at one time: ``values`` (3, h, w) float16, real and imaginary part and weight over its greatest."""

    header: PictureFields
    stride: int
    values: NDArray[np.float16]
    weight_scale: float


@dataclass(slots=True)
class _Layer:
    looks: list[Look] = field(default_factory=list)
    pause_s: float = FIRST_PAUSE_S
    next_at: float = 0.0
    version: int = 0


class History:
    """Keeps a picture of the newest scan each time ``look`` is called and a pause is over; safe from any thread.

    A scan has earlier pictures for as long as the hub has its picture.
    """

    def __init__(self, hub: UpdateHub) -> None:
        self._hub = hub
        self._scans: dict[str, dict[str, _Layer]] = {}

    def look(self) -> None:
        """Keep a copy of each layer of the newest scan that has changed and whose pause is over."""
        scan_id = self._hub.latest_scan_id
        if scan_id is None:
            return
        for gone in self._scans.keys() - set(self._hub.scan_ids()):
            del self._scans[gone]
        for name in self._hub.layers(scan_id):
            layer = self._scans.setdefault(scan_id, {}).setdefault(name, _Layer())
            version = self._hub.layer_version(scan_id, name)
            if version == layer.version or (time.monotonic() < layer.next_at and not self._hub.is_final(scan_id, name)):
                continue
            canvas = self._hub.reduced(scan_id, name, SIDE_PX)
            if canvas is not None:
                layer.version = version
                _keep(layer, _look(*canvas))

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
        layers = self._scans.get(scan_id, {})
        kept = layers.get(layer) or next(iter(layers.values()), None)
        return [] if kept is None or layer not in LAYERS else list(kept.looks)


def _keep(layer: _Layer, look: Look) -> None:
    layer.looks = [*layer.looks, look]
    if len(layer.looks) > MOST_LOOKS or sum(look.values.nbytes for look in layer.looks) > MOST_BYTES:
        layer.looks = [*layer.looks[:-1:2], layer.looks[-1]]
        layer.pause_s *= 2
    layer.next_at = time.monotonic() + layer.pause_s


def _look(canvas: LayerCanvas, stride: int) -> Look:
    scale = float(canvas.weight.max(initial=0)) or 1.0
    limit = np.float32(6e4)
    parts = [canvas.object.real.clip(-limit, limit), canvas.object.imag.clip(-limit, limit), canvas.weight / scale]
    plain = replace(canvas, object=canvas.object[:0], weight=canvas.weight[:0])
    return Look(layer_header(plain), stride, np.stack(parts).astype(np.float16), scale)
