"""Single frames: position, measured pattern, the pattern that picture and probe predict, R by frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from daemon.engine.held_scan import HeldScan
from daemon.errors import NotHeldError
from daemon.inspection.scans import ScanReader
from daemon.messages import FrameFields, FrameMap, LayerName
from ptychopinn.detector.geometry import to_amplitude
from ptychopinn.diagnosis.correction import Correction
from ptychopinn.physics.diffraction import expected_counts, shift_subpixel

MAP_FRAMES = 20_000
"""Frames of a map at most: half a megabyte of JSON."""
COMPUTED_FRAMES = 600
"""Frames whose R is computed for the map of a closed scan: about a second of one core at 128 x 128 pixels."""
NO_DATA = -1.0


@dataclass(frozen=True, slots=True)
class FrameSources:
    """Where frames come from. ``counts`` reads a running or a finished scan's journal; ``pixel_size_m`` is the object's pixel."""

    counts: Callable[[str, int], NDArray[Any] | None]
    correction: Callable[[], Correction]
    pixel_size_m: Callable[[str], float | None]
    is_subpixel: bool
    has_journal: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """Counts ``(N, N)`` of a frame, -1 = no data; the modelled ones where picture and probe are known, or the reason."""

    layer: LayerName
    measured: NDArray[np.float32] | None
    modelled: NDArray[np.float32] | None
    absent: str | None

    @property
    def rfactor(self) -> float | None:
        if self.measured is None or self.modelled is None:
            return None
        valid = self.measured >= 0
        amplitude = np.sqrt(self.measured[valid])
        total = float(amplitude.sum())
        return float(np.abs(np.sqrt(self.modelled[valid].clip(0)) - amplitude).sum()) / total if total > 0 else None


class FrameLookup:
    """Answers viewers about single frames; safe from any thread."""

    def __init__(self, scans: ScanReader, sources: FrameSources) -> None:
        self._scans = scans
        self._sources = sources

    def frame(self, scan_id: str, index: int, layer: LayerName) -> FrameFields:
        """Return one frame. Raises :class:`NotHeldError` if it is neither stitched nor in the journal."""
        scan = self._scan(scan_id)
        told_px = _told_px(scan, index)
        pair = self._pair(scan_id, scan, index, layer)
        if told_px is None and pair.measured is None:
            raise NotHeldError(f"scan {scan_id} has no frame {index}; it was not received, or it was refused")
        order = np.sort(scan.indexes)
        at = int(np.searchsorted(order, index))
        after = at + int(at < len(order) and order[at] == index)
        valid = None if pair.measured is None else pair.measured >= 0
        return {
            "scan_id": scan_id,
            "index": index,
            "position_px": None if told_px is None else told_px.tolist(),
            "found_px": None if told_px is None else _found_px(scan, index, told_px),
            "pixel_size_m": self._sources.pixel_size_m(scan_id),
            "previous": int(order[at - 1]) if at > 0 else None,
            "next": int(order[after]) if after < len(order) else None,
            "layer": pair.layer,
            "side_px": None if pair.measured is None else len(pair.measured),
            "counts": None if pair.measured is None else float(pair.measured[valid].sum(dtype=np.float64)),
            "masked_pixels": None if valid is None else int(valid.size - valid.sum()),
            "rfactor": pair.rfactor,
            "absent": pair.absent,
        }

    def nearest(self, scan_id: str, y_px: float, x_px: float) -> int:
        """Return the index of the stitched frame nearest to a place in the object's own frame."""
        scan = self._scan(scan_id)
        if not len(scan.indexes):
            raise NotHeldError(f"scan {scan_id} has no stitched frame yet")
        far = np.square(scan.told_px - (y_px, x_px)).sum(1)
        return int(scan.indexes[int(np.argmin(far))])

    def patterns(self, scan_id: str, index: int, layer: LayerName) -> NDArray[np.float32]:
        """Return counts ``(2, N, N)``: measured (-1 = no data) and modelled (-1 without a model)."""
        pair = self._pair(scan_id, self._scan(scan_id), index, layer)
        if pair.measured is None:
            raise NotHeldError(pair.absent or f"frame {index} of scan {scan_id} is not held")
        modelled = np.full_like(pair.measured, NO_DATA) if pair.modelled is None else pair.modelled
        return np.stack([pair.measured, modelled])

    def frame_map(self, scan_id: str, layer: LayerName) -> FrameMap:
        """Return R by frame: of a running scan from the refiner's memory, else of some frames, computed here."""
        scan = self._scan(scan_id)
        order = np.argsort(scan.indexes, kind="stable")
        known = scan.rfactors() if layer == "refined" else {}
        most = MAP_FRAMES if known else COMPUTED_FRAMES
        chosen = order[:: max(1, -(-len(order) // most))]
        indexes = [int(index) for index in scan.indexes[chosen]]
        rfactors = (
            [known.get(i) for i in indexes] if known else [self._rfactor(scan_id, scan, i, layer) for i in indexes]
        )
        return {
            "scan_id": scan_id,
            "layer": layer,
            "frames": len(order),
            "indexes": indexes,
            "positions_px": scan.told_px[chosen].tolist(),
            "rfactors": rfactors,
        }

    def _rfactor(self, scan_id: str, scan: HeldScan, index: int, layer: LayerName) -> float | None:
        return self._pair(scan_id, scan, index, layer).rfactor

    def _scan(self, scan_id: str) -> HeldScan:
        scan = self._scans.scan(scan_id)
        if scan is None:
            raise NotHeldError(
                f"the frames of scan {scan_id} are not held; its product is not written yet, or was removed"
            )
        return scan

    def _pair(self, scan_id: str, scan: HeldScan, index: int, layer: LayerName) -> _Pair:
        measured = self._measured(scan_id, scan, index)
        if measured is None:
            return _Pair(layer, None, None, self._why_absent(scan_id, index))
        side = scan.probe.shape[-1]
        told_px = _told_px(scan, index)
        if told_px is None:
            return _Pair(layer, measured, None, f"frame {index} is not stitched, so there is no modelled pattern")
        if measured.shape != (side, side):
            words = f"frame {index} has {measured.shape[0]} x {measured.shape[1]} px, but the probe {side} x {side}"
            return _Pair(layer, measured, None, words)
        found = None if layer == "network" else _found_px(scan, index, told_px)
        place = told_px if found is None else np.array(found)
        corner = round(float(place[0])) - side // 2, round(float(place[1])) - side // 2
        cut = self._scans.patch(scan_id, layer, corner, side)
        if cut is None:
            return _Pair(layer, measured, None, f"scan {scan_id} has no picture in memory and no product yet")
        name, patch = cut
        modelled = self._modelled(scan.probe if name == "refined" else scan.first_probe, patch, place, layer=name)
        return _Pair(name, measured, modelled, None)

    def _measured(self, scan_id: str, scan: HeldScan, index: int) -> NDArray[np.float32] | None:
        counts = self._sources.counts(scan_id, index)
        amplitude = scan.pattern(index) if counts is None else self._sources.correction().patterns(to_amplitude(counts))
        if amplitude is None:
            return None
        amplitude = np.asarray(amplitude, dtype=np.float32)
        return np.where(amplitude < 0, np.float32(NO_DATA), np.square(amplitude))

    def _modelled(
        self,
        probe: NDArray[np.complex64],
        patch: NDArray[np.complex64],
        place: NDArray[np.float64],
        *,
        layer: LayerName,
    ) -> NDArray[np.float32]:
        waves = torch.from_numpy(np.ascontiguousarray(probe))
        if self._sources.is_subpixel and layer == "refined":
            left = place - np.rint(place)
            waves = shift_subpixel(waves, (float(left[0]), float(left[1])))
        counts = expected_counts(waves, torch.from_numpy(np.ascontiguousarray(patch)))
        return np.nan_to_num(counts.numpy().astype(np.float32), nan=NO_DATA, posinf=NO_DATA)

    def _why_absent(self, scan_id: str, index: int) -> str:
        if not self._sources.has_journal:
            return (
                f"the pattern of frame {index} is not held in memory any more, and [output] journal is off; "
                "with a journal every frame of a scan can be shown"
            )
        return f"the pattern of frame {index} is not in the journal of scan {scan_id}, or not any more"


def _told_px(scan: HeldScan, index: int) -> NDArray[np.float64] | None:
    rows = np.flatnonzero(scan.indexes == index)
    return scan.told_px[rows[-1]] if len(rows) else None


def _found_px(scan: HeldScan, index: int, told_px: NDArray[np.float64]) -> list[float] | None:
    if scan.offsets_px is None:
        return None
    moved: list[float] = (told_px + scan.offsets_px([index])[0]).tolist()
    return moved
