"""Finds the true positions of a scan's frames in a thread of its own, at low priority, so that frames never wait for it.

Nor does a scan that ends, unless its frames have said that their positions are wrong: the two threads would slow each other.

With "auto" the first frames are tested, and again when there are LATER times as many, and at the scan's end if it has at least
doubled since; with "on", or once the frames have said that their positions are wrong, the search runs again whenever the scan has
grown by a quarter, and at its end. Each run begins where frames were found before. Those during the scan are quick: they find the
neighbours of the frames to come, so that little is left to the run at the end.
"""

from __future__ import annotations

import logging
import math
import os
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from daemon.engine.position_search import FoundPlaces, PlacedFrame, PositionSearch
from ptychopinn.diagnosis.fit_test import choose_frames
from ptychopinn.positions.find import LEAST_FRAMES, FoundPositions, find_positions
from ptychopinn.positions.kinds import error_words

MOST_FRAMES, TEST_FRAMES = 1024, 100
"""Frames of a search, the newest, 0.4 GB at 128 x 128 px; and of a test, which lie closest together: 5 s of a core."""
LATER, GROWTH, AGAIN_GROWTH = 8, 2, 1.25
"""By how much a scan must have grown until it is tested again, until it is tested at its end, until wrong positions are looked
for again."""
ENOUGH = 0.5
"""Share of a scan's frames that a search must have to go on after the scan's end; else the last one begins at once."""
MOST_JOBS = 2
"""Waiting searches; each holds frames."""
ONE_CORE_NICE = 2
"""Priority of the thread on a single core: two fifths of it where the engine needs it too. With more cores both have the same
priority: the search pauses while frames wait, and the engine's refinement is of little use until positions are found."""
PAUSE_S = 0.1
"""Time between two looks whether frames wait."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FinderOptions:
    """When positions are looked for: always, or only where a test of the first ``frames`` says that they are wrong."""

    is_always: bool
    frames: int


@dataclass(slots=True, eq=False)
class Job:
    """A search that is asked for."""

    search: PositionSearch
    frames: list[PlacedFrame]
    probe: torch.Tensor
    is_last: bool
    is_given_up: bool = False


class GivenUpError(Exception):
    """A search ended before it found anything."""


class PositionFinder:
    """Implements :class:`daemon.engine.ports.PositionFinderPort`.

    ``is_behind()`` says whether frames wait for the engine, ``is_finishing()`` whether a scan that has ended is open still.
    """

    def __init__(
        self, options: FinderOptions, is_behind: Callable[[], bool], is_finishing: Callable[[], bool] = lambda: False
    ) -> None:
        self._options = options
        self._is_behind = is_behind
        self._is_finishing = is_finishing
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._running: Job | None = None
        self._thread = threading.Thread(target=self._run, name="positions", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a search that runs is given up."""
        self._stopping.set()
        self._jobs.put(None)
        if self._thread.is_alive():
            self._thread.join()

    # the engine's thread

    def wants(self, search: PositionSearch, frames: int, *, has_ended: bool) -> bool:
        """Whether to look for the positions of a scan that has this number of frames."""
        if self._stopping.is_set() or frames < LEAST_FRAMES or search.is_last:
            return False
        is_last = has_ended and self.is_awaited(search)
        if search.is_pending:
            if is_last and search.searched_frames < ENOUGH * frames:
                self._give_up(search)
            return False
        if self._jobs.qsize() >= MOST_JOBS:
            return False
        if is_last or frames == search.searched_frames:
            return is_last
        if has_ended:
            return frames >= GROWTH * search.scan_frames
        return frames >= (self._options.frames if search.next_frames is None else search.next_frames)

    def find(self, search: PositionSearch, frames: list[PlacedFrame], probe: torch.Tensor, *, has_ended: bool) -> None:
        """Queue a search."""
        if not self.is_awaited(search):
            places = np.array([frame.told_px for frame in frames], dtype=np.float64).reshape(-1, 2)
            search.next_frames = LATER * len(frames)
            frames = [frames[row] for row in choose_frames(places, probe, TEST_FRAMES).tolist()]
        else:
            growth = AGAIN_GROWTH if search.are_wrong else GROWTH
            grown = min(growth * search.scan_frames, search.scan_frames + MOST_FRAMES // 2)
            search.next_frames, search.is_last = math.ceil(grown), has_ended
            frames = frames[-MOST_FRAMES:]
        search.searched_frames = len(frames)
        if len(frames) >= LEAST_FRAMES:
            search.is_pending = True
            self._jobs.put(Job(search, frames, probe, search.is_last))

    def is_awaited(self, search: PositionSearch) -> bool:
        """Whether a scan that has ended should wait for a search that runs."""
        return self._options.is_always or search.are_wrong

    def _give_up(self, search: PositionSearch) -> None:
        running = self._running
        if running is not None and running.search is search:
            running.is_given_up = True

    # the finder's own thread

    def _run(self) -> None:
        cores = len(os.sched_getaffinity(0))
        torch.set_num_threads(max(1, cores // 2))
        if cores == 1:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), ONE_CORE_NICE)
        while (job := self._jobs.get()) is not None and not self._stopping.is_set():
            self._running = job
            try:
                self._find(job)
            except GivenUpError:
                pass
            except Exception as fault:  # the scan goes on with the positions that it has
                job.search.is_over = True
                log.warning("scan %s: positions were not looked for: %s", job.search.scan_id, fault, exc_info=True)
            finally:
                self._running = None
                job.search.is_pending = False

    def _find(self, job: Job) -> None:
        search, frames = job.search, job.frames
        told_px, now_px = (
            np.array([getattr(frame, name) for frame in frames], dtype=np.float64) for name in ("told_px", "now_px")
        )
        found = find_positions(
            torch.stack([frame.amplitude for frame in frames]),
            told_px,
            job.probe,
            start_px=now_px if search.are_wrong else None,
            is_last=job.is_last,
            on_pass=lambda: self._rest(job),
        )
        if not found.is_corrected:
            return
        if not search.are_wrong:
            search.are_wrong, search.next_frames, search.told_rfactor = True, 0, found.told_rfactor
        indexes = np.array([frame.index for frame in frames], dtype=np.int64)
        has_moved = np.any(found.positions_px != now_px, axis=1)
        search.found = FoundPlaces(
            indexes[has_moved], found.positions_px[has_moved], _sentence(told_px, found, search.told_rfactor)
        )

    def _rest(self, job: Job) -> None:
        """Wait while frames wait for the engine, and while a scan ends that does not wait for this search."""
        while not (self._stopping.is_set() or job.search.is_over or job.is_given_up):
            if not self._is_behind() and (self.is_awaited(job.search) or not self._is_finishing()):
                return
            self._stopping.wait(PAUSE_S)
        raise GivenUpError


def _sentence(told_px: NDArray[np.float64], found: FoundPositions, told_rfactor: float) -> str:
    fall = f"R of a quick picture falls from {told_rfactor:.3f} to {found.found_rfactor:.3f}"
    return f"{error_words(told_px, found.positions_px)}; corrected from the frames, {fall}"
