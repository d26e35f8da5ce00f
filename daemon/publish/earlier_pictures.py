"""Earlier pictures of one layer of one scan: reduced copies at growing intervals, in bounded memory."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from daemon.messages import PictureFields
from daemon.publish.snapshot import LayerCanvas
from daemon.publish.wire import layer_header

MOST_LOOKS = 48
MOST_BYTES = 32 << 20
"""Memory of the copies of one layer of one scan; four scans of two layers take at most 256 MB."""
FIRST_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One layer at one time: ``values`` (3, h, w) float16, real and imaginary part and weight over its greatest."""

    header: PictureFields
    stride: int
    values: NDArray[np.float16]
    weight_scale: float


@dataclass(slots=True)
class EarlierPictures:
    """The kept pictures of a layer, the oldest first."""

    looks: list[Look] = field(default_factory=list)
    pause_s: float = FIRST_PAUSE_S
    next_at: float = 0.0
    version: int = 0

    def keep(self, look: Look) -> None:
        """Keep a picture; beyond the bound every second earlier one goes, and the pause is doubled."""
        self.looks = [*self.looks, look]
        if len(self.looks) > MOST_LOOKS or sum(look.values.nbytes for look in self.looks) > MOST_BYTES:
            self.looks = [*self.looks[:-1:2], self.looks[-1]]
            self.pause_s *= 2
        self.next_at = time.monotonic() + self.pause_s


def look_at(canvas: LayerCanvas, stride: int) -> Look:
    """Return a reduced picture, every ``stride``-th pixel of the whole, as it is kept."""
    scale = float(canvas.weight.max(initial=0)) or 1.0
    limit = np.float32(6e4)
    parts = [canvas.object.real.clip(-limit, limit), canvas.object.imag.clip(-limit, limit), canvas.weight / scale]
    plain = replace(canvas, object=canvas.object[:0], weight=canvas.weight[:0])
    return Look(layer_header(plain), stride, np.stack(parts).astype(np.float16), scale)
