"""Preprocessing: from the frames of all scans to their patterns; only the crop goes on.

Masked and saturated pixels, flat field, orientation, crop and binning are applied here and nowhere else; a pattern
carries what is no data in itself (see :mod:`ptychopinn.detector.patterns`). Where the centre is to be found, a scan's first
frames wait, still packed, until it is known: then all of them go on, in their order. So do up to four of them where the
first one has pixels that may be hot (:mod:`daemon.intake.pixel_watch`).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from daemon.intake.detector import CentreFrom, Prepared, PreprocessOptions, ScanDetector
from daemon.intake.pixel_watch import PixelWatch
from ptychopinn.detector.beam_centre import Centre, CentreFinder
from ptychopinn.detector.geometry import orient
from ptychopinn.detector.patterns import PatternMaker, as_pattern_dtype, is_dark, is_no_data
from ptychopinn.errors import GeometryError
from streams.codecs import EncodedFrame
from streams.errors import CodecError
from streams.frame import NO_GEOMETRY, Frame, ScanEnd, ScanStart, StreamGeometry
from streams.refusal_reasons import RefusalReason

__all__ = ["Prepared", "Preprocess", "PreprocessOptions", "RawFrame"]

KEPT_SCANS = 16
"""Senders' names kept without waiting frames: a sender may use any number of names, and each has masks of a detector's size."""
LOOK_FRAMES, LOOK_GROWTH = 4, 1.125
"""The centre is searched for after 4 frames, then after an eighth more each time: a search costs as much as many frames."""
SPOT_FRAMES = 64
"""After this many frames without the probe's pattern, the bright spot counts as the beam."""

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class RawFrame:
    """A packed frame and what makes its pattern."""

    frame: EncodedFrame
    make: PatternMaker

    def decode(self) -> Frame | CodecError:
        """Return the frame with its pattern, or why there is none."""
        frame = self.frame
        try:
            pattern = self.make(frame.unpack())
        except CodecError as fault:
            return fault
        except GeometryError as fault:
            return CodecError(RefusalReason.SHAPE, str(fault), frame.scan_id, frame.index)
        return Frame(
            frame.scan_id,
            frame.index,
            pattern,
            frame.received_ns,
            frame.position_m,
            exposed_s=frame.exposed_s,
            is_dark=is_dark(pattern),
        )


Ready = Prepared | RawFrame


class Preprocess:
    """Knows how each scan's frames become patterns; used by one thread. Decoding a :class:`RawFrame` is for any."""

    def __init__(self, options: PreprocessOptions) -> None:
        if options.center_px is None and options.probe_pattern is None:
            raise GeometryError("a centre can be found only where the probe is known; set [detector] center_px")
        self._options = options
        self._scans: OrderedDict[str, ScanPreprocess] = OrderedDict()
        self.held_frames = 0  # that wait for their scan's centre
        self._holds = False

    @property
    def waiting_scans(self) -> list[str]:
        """The senders' names of scans whose frames wait."""
        return [name for name, scan in self._scans.items() if scan.held] if self._holds else []

    def resume(self, start: ScanStart, center_px: tuple[int, int], center_from: CentreFrom) -> None:
        """Go on with a scan that was interrupted, with the centre that it had."""
        self._begin(start).known_center = center_px, center_from

    def take(self, items: Iterable[T]) -> list[T | Ready]:
        """Return items in their order, frames ready to be decoded.

        Those that have to wait are not among them, those that waited long enough are. A scan's :class:`Prepared` stands
        before its frames.
        """
        ready: list[T | Ready] = []
        for item in items:
            if isinstance(item, EncodedFrame):
                scan = self._scans.get(item.scan_id) or self._begin(ScanStart(item.scan_id))
                ready += scan.take(item)
                continue
            if isinstance(item, ScanStart | ScanEnd):
                known = self._scans.get(item.scan_id)
                ready += [] if known is None else known.decide()
            if isinstance(item, ScanStart):
                self._begin(item)
            ready.append(item)
        self._count_held()
        return ready

    def overdue(self, *, all_of_them: bool = False) -> list[Ready]:
        """Return the frames of scans that have been silent too long to wait any longer, or of all scans."""
        if not self._holds:
            return []
        oldest = time.monotonic() - self._options.hold_s
        late = [scan for scan in self._scans.values() if all_of_them or scan.last_held < oldest]
        ready = [each for scan in late for each in scan.decide()]
        self._count_held()
        return ready

    def forget(self, wire_id: str) -> None:
        """Drop the masks and the crop of a scan that gets no more frames; the join refuses late ones anyway."""
        scan = self._scans.get(wire_id)
        if scan is not None and not scan.held:
            del self._scans[wire_id]

    def _begin(self, start: ScanStart) -> ScanPreprocess:
        scan = self._scans[start.scan_id] = ScanPreprocess(start.scan_id, self._options, start.geometry)
        self._scans.move_to_end(start.scan_id)
        settled = [name for name, other in self._scans.items() if not other.held]
        for name in settled[: max(0, len(self._scans) - KEPT_SCANS)]:
            del self._scans[name]
        return scan

    def _count_held(self) -> None:
        self._holds = any(scan.held for scan in self._scans.values())
        self.held_frames = sum(len(scan.held) for scan in self._scans.values() if not scan.is_settled)


@dataclass(slots=True, eq=False)
class ScanPreprocess:
    """One scan: how its patterns are made, or its frames that wait for the centre."""

    scan_id: str
    options: PreprocessOptions
    geometry: StreamGeometry = NO_GEOMETRY
    known_center: tuple[tuple[int, int], CentreFrom] | None = None
    held: list[EncodedFrame] = field(default_factory=list)
    held_bytes: int = 0
    last_held: float = 0.0
    _watch: PixelWatch | None = None
    _prepared: Prepared | None = None
    _detector: ScanDetector | None = None
    _search: _Search | None = None

    @property
    def is_settled(self) -> bool:
        """Whether the centre is known."""
        return self._watch is not None

    def take(self, frame: EncodedFrame) -> list[Ready]:
        """Return the frame ready to be decoded, or nothing while it waits, or all that waited."""
        if self._watch is not None and not self.held:
            return self._pass_on(frame, self._watch)
        self.held.append(frame)
        self.held_bytes += frame.nbytes
        self.last_held = time.monotonic()
        if self._watch is not None:
            return self._begin(self._watch, is_last=False)
        if self.options.center_px is not None:
            return self._settle(self.options.center_px, "configuration")
        if self.known_center is not None:
            return self._settle(*self.known_center)
        if self._search is None:
            self._search = _Search(self.options, self._scan_detector())
        centre = self._search.add(frame)
        if centre is not None:
            return self._settle(centre.center_px, centre.method, centre.match)
        return self._make_room() if self.held_bytes > self.options.hold_bytes else []

    def decide(self) -> list[Ready]:
        """Return all that waited, cut around the best centre that is known."""
        if not self.held:
            return []
        if self._watch is not None:
            return self._begin(self._watch, is_last=True)
        if self._search is None:
            return []
        centre = self._search.finder.find()
        if centre is None:
            return self._settle(self._middle(), "middle", is_last=True)
        return self._settle(centre.center_px, centre.method, centre.match, is_last=True)

    def _make_room(self) -> list[Ready]:
        """Decide, or, while there was no light, let what waits go on, cut from the middle: it does not matter where."""
        if self._search is None or self._search.finder.find() is not None:
            return self.decide()
        return self._release(self._scan_detector().maker(self._middle()))

    def _settle(
        self, center_px: tuple[int, int], source: CentreFrom, match: float = 0.0, *, is_last: bool = False
    ) -> list[Ready]:
        detector = self._scan_detector()
        expected = self.options.probe_pattern
        self._watch = PixelWatch(detector.maker(center_px), expected)
        self._prepared = detector.prepared(self.scan_id, center_px, source, match)
        self._search = self._detector = None
        return self._begin(self._watch, is_last=is_last)

    def _begin(self, watch: PixelWatch, *, is_last: bool) -> list[Ready]:
        """Let the frames that waited go on, unless more of them would tell which pixels are hot."""
        found = watch.begin(self.held, is_last=is_last)
        if found is None or self._prepared is None:
            return []
        notes = (*self._prepared.notes, *found)
        prepared = replace(self._prepared, notes=notes, masked_pixels=watch.masked_pixels)
        return [prepared, *self._release(watch.make)]

    def _pass_on(self, frame: EncodedFrame, watch: PixelWatch) -> list[Ready]:
        found = watch.look(frame)
        if not found or self._prepared is None:
            return [RawFrame(frame, watch.make)]
        prepared = replace(self._prepared, notes=tuple(found), masked_pixels=watch.masked_pixels)
        return [prepared, RawFrame(frame, watch.make)]

    def _release(self, make: PatternMaker) -> list[Ready]:
        frames, self.held, self.held_bytes = self.held, [], 0
        return [RawFrame(frame, make) for frame in frames]

    def _scan_detector(self) -> ScanDetector:
        if self._detector is None:
            self._detector = ScanDetector(self.options, self.geometry, self.held[0].shape)
        return self._detector

    def _middle(self) -> tuple[int, int]:
        rows, columns = self._scan_detector().shape
        return rows // 2, columns // 2


class _Search:
    """The search for a scan's centre: looks after some frames, ever more; two looks in a row have to agree."""

    def __init__(self, options: PreprocessOptions, detector: ScanDetector) -> None:
        if options.probe_pattern is None:
            raise GeometryError("a centre can be found only where the probe is known; set [detector] center_px")
        self._orientation = options.orientation
        self._detector = detector
        self.finder = CentreFinder(detector.shape, options.probe_pattern, options.binning)
        self._next_look = LOOK_FRAMES
        self._spot_since: int | None = None
        self._last: Centre | None = None

    def add(self, frame: EncodedFrame) -> Centre | None:
        """Take a frame; return the centre once it is certain."""
        try:
            counts = as_pattern_dtype(orient(frame.unpack(), self._orientation))
        except CodecError:
            return None  # it is refused by name when it is decoded for good
        if counts.shape != self._detector.shape:
            return None
        bad = is_no_data(counts)
        for mask in self._detector.masks:
            bad |= mask
        finder = self.finder
        finder.add(counts, bad)
        if finder.frames < self._next_look:
            return None
        self._next_look = max(finder.frames + LOOK_FRAMES, int(finder.frames * LOOK_GROWTH))
        return self._agreed(finder.find())

    def _agreed(self, centre: Centre | None) -> Centre | None:
        before, self._last = self._last, centre
        if centre is None:
            return None
        if centre.method == "probe":
            return centre if before is not None and before.center_px == centre.center_px else None
        self._spot_since = self._spot_since or self.finder.frames
        return centre if self.finder.frames - self._spot_since >= SPOT_FRAMES else None
