"""Sums of a mosaic larger than the memory for it: squares of the object's frame, of which those used last are on the device.

A patch is laid whole on the square of its corner, so squares have a rim as wide as a patch and overlap there; their sums are
added when they are read. Sums of whole numbers are exact, so the picture is that of one large plane, to the bit.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ptychopinn.device import to_device, to_host
from ptychopinn.mosaic.canvas import Box
from ptychopinn.mosaic.cold_blocks import Bytes, ColdBlocks
from ptychopinn.mosaic.memory_bound import MemoryBound

CHANNELS = {"values": 2, "weights": 1}
"""Planes of a sector, and the float64 numbers of a pixel."""
PIXEL_BYTES = 8 * sum(CHANNELS.values())

log = logging.getLogger(__name__)

Key = tuple[int, int]
Planes = dict[str, Tensor]


class Sectors:
    """The sectors of one mosaic; ``rim_px`` is the side of a patch as it is laid.

    On a GPU as many bytes as ``bound`` allows there are kept on the host too; further sectors lie in the file.
    """

    def __init__(self, device: torch.device, rim_px: int, bound: MemoryBound) -> None:
        self._device = device
        self._step = bound.sector_px
        self._side = bound.sector_px + rim_px
        self.most_bytes = bound.most_bytes
        block_bytes = PIXEL_BYTES * self._side**2
        self._warm: OrderedDict[Key, Planes] = OrderedDict()
        self._cold = ColdBlocks(block_bytes, bound.most_bytes if device.type == "cuda" else 0, bound.folder)
        self._block_bytes = block_bytes
        self._known: set[Key] = set()
        self._cannot_put_aside = False

    def key_of(self, y: int, x: int) -> Key:
        """Return the sector of a patch's corner in the object's frame."""
        return y // self._step, x // self._step

    def corner(self, key: Key) -> Key:
        """Return the first pixel of a sector in the object's frame."""
        return key[0] * self._step, key[1] * self._step

    def planes(self, key: Key) -> Planes:
        """Return the planes of a sector, to lay patches on; valid until those of another are asked for."""
        planes = self._warm.get(key)
        if planes is None:
            planes = self._warm[key] = self._warmed(key, self._freed())
        self._warm.move_to_end(key)
        return planes

    def add(self, box: Box, sums: Planes) -> None:
        """Add sums on a rectangle of the object's frame."""
        y, x, h, w = box
        for top in range(y // self._step, (y + h - 1) // self._step + 1):
            for left in range(x // self._step, (x + w - 1) // self._step + 1):
                whole = Box(*self.corner((top, left)), self._step, self._step)
                shared = whole.shared(box)
                mine = self.planes((top, left))
                for name, plane in sums.items():
                    mine[name][shared.within(whole).window] += plane[shared.within(box).window].to(self._device)

    def read(self, box: Box) -> Planes:
        """Return the sums on a rectangle of the object's frame, as copies."""
        total = {
            name: torch.zeros(box.h, box.w, count, dtype=torch.float64, device=self._device)
            for name, count in CHANNELS.items()
        }
        for key in self._under(box):
            whole = Box(*self.corner(key), self._side, self._side)
            shared = whole.shared(box)
            for name, plane in self._seen(key, shared.within(whole)).items():
                total[name][shared.within(box).window] += plane
        return total

    def parts(self) -> Iterator[tuple[Box, Planes]]:
        """Return each sector: its rectangle in the object's frame, and its sums."""
        whole = Box(0, 0, self._side, self._side)
        for key in sorted(self._known):
            yield Box(*self.corner(key), self._side, self._side), self._seen(key, whole)

    def _under(self, box: Box) -> list[Key]:
        """Return the sectors that reach into a rectangle."""
        rows, columns = (
            range((begin - self._side) // self._step + 1, (begin + size - 1) // self._step + 1)
            for begin, size in ((box.y, box.h), (box.x, box.w))
        )
        return [(y, x) for y in rows for x in columns if (y, x) in self._known]

    def _seen(self, key: Key, part: Box) -> Planes:
        """Return a part of a sector, wherever it is."""
        if key in self._warm:
            return {name: plane[part.window] for name, plane in self._warm[key].items()}
        found, begin = {}, 0
        for name, count in CHANNELS.items():
            row_bytes = 8 * count * self._side
            rows = np.empty((part.h, self._side, count))
            self._cold.read_into(key, begin + part.y * row_bytes, _bytes(rows))
            found[name] = to_device(rows[:, part.x : part.x + part.w].copy(), self._device)
            begin += row_bytes * self._side
        return found

    def _freed(self) -> Planes | None:
        """Put aside what was used longest ago until there is room for one more sector; return the planes of the last one."""
        freed = None
        while self._warm and (len(self._warm) + 1) * self._block_bytes > self.most_bytes and not self._cannot_put_aside:
            key = next(iter(self._warm))
            try:
                self._cold.put(key, [_bytes(to_host_view(self._warm[key][name])) for name in CHANNELS])
            except OSError as fault:
                self._cannot_put_aside = True
                log.warning(
                    "the mosaic grows beyond [limits] canvas_bytes, since its file cannot be written: %s", fault
                )
                return None
            freed = self._warm.pop(key)
        return freed

    def _warmed(self, key: Key, room: Planes | None) -> Planes:
        """Return a sector's planes, from where they were put, or empty; in the room of another if there is one."""
        planes = room or {
            name: torch.empty(self._side, self._side, count, dtype=torch.float64, device=self._device)
            for name, count in CHANNELS.items()
        }
        self._known.add(key)
        if key not in self._cold:
            for plane in planes.values():
                plane.zero_()
            return planes
        for name, plane in self._seen(key, Box(0, 0, self._side, self._side)).items():
            planes[name].copy_(plane)
        return planes


def to_host_view(plane: Tensor) -> np.ndarray:
    """Return a plane's numbers on the host: on a CPU itself."""
    return plane.numpy() if plane.device.type == "cpu" else to_host(plane)


def _bytes(array: np.ndarray) -> Bytes:
    """Return the bytes of a contiguous array, not copied."""
    return array.reshape(-1).view(np.uint8)
