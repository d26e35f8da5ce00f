"""Second looks and refinement, in slices so short that frames wait little.

Where both are due, each gets the same time. Once a scan has ended, the refiner's least visits come first: neither
second looks nor halves get time until then. While there is time left, the last second looks wait for the refined layer.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from functools import partial

import torch

from daemon.engine.backlog import Backlog
from daemon.engine.faults import EngineFaults
from daemon.engine.refined_starts import LOOK_VISITS
from daemon.engine.scan import ScanWork
from daemon.metrics import Metrics
from ptychopinn.device import MOST_AT_ONCE, is_batched
from ptychopinn.refine.refined_layer import BLOCK_PASSES

REFINE_SLICE_S = 0.004
"""One slice of the refiner: short beside the publishing period of 0.1 s, long beside a step of 0.5 ms."""
REPAINT_FRAMES, REPAINT_LAST_FRAMES = 1, 8
"""Frames in a second look, during the scan and after its end: a frame takes a CPU some milliseconds."""
BATCHED_REPAINT_FRAMES = 64
"""Frames in a second look during the scan on a device that works in batches; it takes a few milliseconds too."""
SEARCH_REST, LONGEST_REST_S = 2.0, 0.2
"""Rest after a slice, in its own time, while wrong positions are searched for: the search needs the processor more than a picture
that is laid wrong. A rest ends where frames come."""
DIAGNOSIS_REST, LONGEST_DIAGNOSIS_REST_S = 2.0, 0.05
"""The same while a scan that runs is diagnosed: in two thirds of the spare time the diagnosis takes a few seconds, and a wrong
set-up is worth more than passes over a picture that does not show the sample."""
MOSTLY_FOUND = 0.8
"""Share of frames at found positions from which spare time is used without a pause."""
LEAST_VISITS, ENOUGH_VISITS, IMPROVED_VISITS = 2, 16, 40
"""Visits of each frame by the refiner: before a scan may close, until it closes early, and until a closed one is done."""


class SpareTime:
    """Used by the engine's thread alone."""

    def __init__(self, metrics: Metrics, faults: EngineFaults, queue: Backlog) -> None:
        self._metrics = metrics
        self._faults = faults
        self._queue = queue
        self._rest_s = 0.0

    def rest_s(self) -> float:
        """Return the time to leave to the diagnosis or the search for positions now, after the last slice."""
        rest_s, self._rest_s = self._rest_s, 0.0
        return rest_s

    def work_on(self, work: ScanWork) -> None:
        """Spend one slice on a scan."""
        begun = time.monotonic()
        has_ended = work.finish_by is not None
        is_owed = has_ended and work.refines and visits(work) < LEAST_VISITS
        if work.refiner is not None:
            work.refiner.block_passes = LEAST_VISITS if is_owed else BLOCK_PASSES
        if work.repaint is not None and not is_owed and not _looks_wait(work, begun):
            most = _second_looks(work.model.probe.device, has_ended=has_ended)
            look_again = partial(work.look_again, most, has_ended=has_ended)
            self._faults.attempt(work, "the second look", look_again, work.stop_looking)
        now, used_s = time.monotonic(), time.thread_time()
        if work.refines:
            end = now + max(REFINE_SLICE_S, now - begun)
            self._faults.attempt(work, "the refinement", partial(self._refine, work, end), work.stop_refining)
        if work.refiner is not None and work.is_resolving and not is_owed and not len(self._queue):
            resolve = partial(work.resolution.spend, work.refiner, time.thread_time() - used_s)
            self._faults.attempt(work, "the resolution", resolve, work.stop_resolving)
        if work.search.are_wrong and work.search.is_pending and work.places.moved_share < MOSTLY_FOUND:
            self._rest_s = min(SEARCH_REST * (time.monotonic() - begun), LONGEST_REST_S)
        elif work.examination.is_running and not has_ended:
            self._rest_s = min(DIAGNOSIS_REST * (time.monotonic() - begun), LONGEST_DIAGNOSIS_REST_S)

    def _refine(self, work: ScanWork, end: float) -> None:
        while work.refiner and time.monotonic() < end and not len(self._queue) and (count := work.refiner.step()):
            self._metrics.refine_updates.inc(count)


def _looks_wait(work: ScanWork, now: float) -> bool:
    """Whether the last second looks wait for the refined layer, from which they start better: half of the time at most."""
    if work.finish_by is None or work.ended_s is None or now >= (work.ended_s + work.finish_by) / 2:
        return False
    looks_again = work.repaint is not None and work.repaint.most_looks > 1
    return looks_again and work.refines and visits(work) < LOOK_VISITS


def _second_looks(device: torch.device, *, has_ended: bool) -> int:
    """Return the number of frames in one second look."""
    if is_batched(device):
        return MOST_AT_ONCE if has_ended else BATCHED_REPAINT_FRAMES
    return REPAINT_LAST_FRAMES if has_ended else REPAINT_FRAMES


def newest_with_work(works: Collection[ScanWork]) -> ScanWork | None:
    """Return the newest scan that spare time can make better."""
    return next((work for work in reversed(list(works)) if work.has_spare_work), None)


def can_improve(work: ScanWork) -> bool:
    """Whether a closed scan's picture can get better still."""
    is_awaited = work.is_resolving and work.resolution.is_awaited
    return work.has_spare_work and not work.to_restitch and (is_awaited or not _is_worked_out(work, IMPROVED_VISITS))


def is_refined(work: ScanWork) -> bool:
    """Whether an ended scan has had the second looks and the sweeps that it gets."""
    if not work.has_spare_work:
        return True
    if work.to_restitch:
        return False
    is_late = time.monotonic() >= (work.finish_by or 0.0)
    has_least = not work.refines or visits(work) >= LEAST_VISITS
    has_least = has_least and (work.repaint is None or not work.repaint.is_mixed)
    return _is_worked_out(work, ENOUGH_VISITS) or (is_late and has_least)


def visits(work: ScanWork) -> int:
    """Return how often the refiner has visited the frame that it has visited least."""
    return 0 if work.refiner is None else work.refiner.least_visits


def _is_worked_out(work: ScanWork, wanted: int) -> bool:
    """Whether the refiner, if there is one, has visited every frame ``wanted`` times, and all second looks are over."""
    is_visited = not work.refines or visits(work) >= wanted
    return is_visited and (work.repaint is None or work.repaint.is_done)
