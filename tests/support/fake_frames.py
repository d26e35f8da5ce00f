"""Frames on a grid whose patterns are known, for the tests of the page."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from daemon.errors import NotHeldError
from daemon.messages import FrameFields, FrameMap, LayerName, ProbeFields

SIDE = 8


class FakeFrames:
    """Nine frames, ten pixels apart; frame 4 has no pattern any more."""

    positions = [(10.0 + 10 * (i // 3), 10.0 + 10 * (i % 3)) for i in range(9)]

    def frame(self, scan_id: str, index: int, layer: LayerName) -> FrameFields:
        if index > 8:
            raise NotHeldError(f"scan {scan_id} has no frame {index}")
        is_held = index != 4
        return {
            "scan_id": scan_id,
            "index": index,
            "position_px": self.positions[index],
            "found_px": None,
            "pixel_size_m": 1e-8,
            "previous": index - 1 if index else None,
            "next": index + 1 if index < 8 else None,
            "layer": layer,
            "side_px": SIDE if is_held else None,
            "counts": 630.0 if is_held else None,
            "masked_pixels": 1 if is_held else None,
            "rfactor": 0.1 + index / 100 if is_held else None,
            "absent": None if is_held else "the pattern of frame 4 is not in the journal",
        }

    def nearest(self, scan_id: str, y_px: float, x_px: float) -> int:
        return int(np.argmin(np.square(np.array(self.positions) - (y_px, x_px)).sum(1)))

    def patterns(self, scan_id: str, index: int, layer: LayerName) -> NDArray[np.float32]:
        measured = np.full((SIDE, SIDE), 10.0 * index, dtype=np.float32)
        measured[0, 0] = -1
        return np.stack([measured, np.abs(measured) / 2])

    def frame_map(self, scan_id: str, layer: LayerName) -> FrameMap:
        rfactors = [0.1 + i / 100 for i in range(9)]
        return {
            "scan_id": scan_id,
            "layer": layer,
            "frames": 9,
            "indexes": list(range(9)),
            "positions_px": self.positions,
            "rfactors": rfactors,
        }


class FakeProbes:
    """Two modes; only the given probe can be propagated, which adds a phase."""

    def probe(self, scan_id: str) -> ProbeFields:
        return {
            "scan_id": scan_id,
            "shares": [0.8, 0.2],
            "side_px": SIDE,
            "pixel_size_m": 1e-8,
            "wavelength_m": 1e-10,
            "reach_m": 8e-6,
            "change": 0.01,
        }

    def waves(self, scan_id: str, which: str, distance_m: float) -> NDArray[np.complex64]:
        if which == "difference":
            raise NotHeldError("there is no difference")
        y, x = np.mgrid[:SIDE, :SIDE]
        first = np.exp(1j * (x + 1e6 * distance_m)) * (y + 1)
        return np.stack([first, first.T]).astype(np.complex64)
