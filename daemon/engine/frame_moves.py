"""Positions found from the frames, on the engine's side: frames are handed to the finder, and laid where it found them.

A move that does not lower the misfit of the refined layer is taken back, and the scan's positions stay as told.
"""

from __future__ import annotations

import math
import time
from functools import partial

from daemon.engine.faults import EngineFaults
from daemon.engine.frame_places import Place
from daemon.engine.options import EngineOptions
from daemon.engine.ports import EngineEvents, PositionFinderPort
from daemon.engine.position_search import FoundPlaces, LastMove, PlacedFrame
from daemon.engine.scan import ScanWork
from daemon.engine.spare_time import visits
from daemon.metrics import Metrics
from ptychopinn.frame_store import at_middle

HOLD_S = 60.0
"""Longest time that an ended scan waits for its true positions: on one core a last search over 1,024 frames of 128 x 128 px takes
30 s, and the picture is worth little before. A next scan ends the wait."""
MOVED_FINISH_S = 15.0
"""Time after a move for the refined layer of a scan that has ended: twenty passes over 500 frames, three modes, take 12 s."""
PROOF_VISITS = 6
"""Visits of each frame after which R before and after a move are compared: earlier, R still falls by itself."""
RISEN = 1.02
"""R after a move over that before, from which the move is taken back; frames that came since make a percent."""
TAKEN_BACK = (
    "positions were found from the frames, but the refined layer does not fit better with them: they stay as measured"
)


class FrameMoves:
    """Used by the engine's thread alone."""

    def __init__(self, options: EngineOptions, metrics: Metrics, events: EngineEvents, faults: EngineFaults) -> None:
        self._metrics = metrics
        self._events = events
        self._faults = faults
        self._finish_s = max(MOVED_FINISH_S, options.refine_finish_s)
        self.finder: PositionFinderPort | None = None

    def look(self, work: ScanWork) -> None:
        """Take what was found for a scan, judge it, and ask for more where it is time."""
        if self.finder is None or work.is_settling or work.to_restitch or work.search.is_over or work.refiner is None:
            return
        self._faults.attempt(work, "finding positions", partial(self._look, work, self.finder), work.stop_moving)

    def holds(self, work: ScanWork) -> bool:
        """Whether a scan that has ended waits for the search: where positions are known to be wrong, for a bounded time."""
        search = work.search
        if self.finder is None or work.ended_s is None or search.is_over:
            return False
        is_awaited = search.found is not None or (search.is_pending and self.finder.is_awaited(search))
        return is_awaited and time.monotonic() - work.ended_s < HOLD_S

    def _look(self, work: ScanWork, finder: PositionFinderPort) -> None:
        search = work.search
        if search.found is not None:
            found, search.found = search.found, None
            self._move(work, found)
            return
        if (last := search.to_judge) is not None:
            self._judge(work, last)
        has_ended = work.ended_s is not None
        if finder.wants(search, len(work.places), has_ended=has_ended):
            search.scan_frames = len(work.places)
            finder.find(search, placed_frames(work), work.search_probe, has_ended=has_ended)

    def _move(self, work: ScanWork, found: FoundPlaces) -> None:
        before = None if work.refiner is None or work.places.are_moved else work.refiner.rfactor
        visits_before = visits(work)
        places = {int(i): (y, x) for i, (y, x) in zip(found.indexes, found.positions_px.tolist(), strict=True)}
        if not work.move(places):
            return
        if before is not None and math.isfinite(before) and visits_before >= PROOF_VISITS:
            work.search.to_judge = LastMove(before, visits_before)
        if work.finish_by is not None:
            work.finish_by = max(work.finish_by, time.monotonic() + self._finish_s)
        self._say(work, found.sentence)

    def _judge(self, work: ScanWork, last: LastMove) -> None:
        """Take a move back if the refined layer fits worse than before, each frame visited as often."""
        if visits(work) < min(last.visits, 2 * PROOF_VISITS) or work.refiner is None:
            return
        work.search.to_judge = None
        now = work.refiner.rfactor
        if now is not None and now <= RISEN * last.rfactor:
            return
        work.search.is_over = True
        told: dict[int, Place] = dict(work.places)
        work.move(told)
        work.places.forget_moves()
        self._say(work, TAKEN_BACK)

    def _say(self, work: ScanWork, sentence: str) -> None:
        error_px = work.places.error_px
        if self._events.is_newest(work.scan_id):
            self._metrics.position_error.set(error_px or 0.0)
        self._events.on_positions(work.scan_id, error_px, sentence)


def placed_frames(work: ScanWork) -> list[PlacedFrame]:
    """Return the frames that the refined layer has in memory and that can be moved, in order of time."""
    if work.refiner is None:
        return []
    told, now = dict(work.places), work.places.used
    patterns = sorted(work.refiner.patterns(), key=lambda pair: pair[0])
    known = [(i, pattern) for i, pattern in patterns if i in told and work.mosaic.keeps(i)]
    return [PlacedFrame(i, at_middle([pattern])[0], told[i], now[i]) for i, pattern in known]
