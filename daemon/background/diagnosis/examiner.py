"""The examiner: diagnoses a scan's first frames in a separate thread; if the probe is a guess, retrieves it first.

The engine asks whether a diagnosis is due and hands over patterns. The diagnosis gives way (:mod:`.giving_way`). It runs
after ``frames`` frames and, if it finds nothing, again after LATER times as many. A probe is retrieved from
``retrieve_frames`` frames in a separate process.
"""

from __future__ import annotations

import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from daemon.assessment.diagnosis_notes import DiagnosisNote
from daemon.background.diagnosis.giving_way import BudgetSpentError, GivingWay, has_budget
from daemon.background.external.side_process import SideProcess
from daemon.engine.examination import Examination
from daemon.errors import DaemonError
from daemon.messages import DiagnosisState, DiagnosisStatus, FitCheck
from ptychopinn.diagnosis.correction import Correction, turn_matrix
from ptychopinn.diagnosis.fit_test import (
    LEAST_FRAMES,
    Diagnosis,
    choose_frames,
    diagnose,
    lit_frames,
    relative_turn,
    scaled_to_counts,
)
from ptychopinn.frame_store import Pattern, at_middle

LATER = 8  # the second diagnosis uses this many times the frames of the first
MOST_JOBS = 2  # waiting jobs; each holds frames, and on a busy machine scans arrive faster than they are diagnosed
RETRIEVE_S = 600.0  # longest retrieval of a probe, s; the usual one takes 20 to 60 s
HOLD_S = 120.0  # longest time that an ended scan waits for a diagnosis, s

log = logging.getLogger(__name__)

Frames = Sequence[tuple[Pattern, tuple[float, float]]]


@dataclass(frozen=True, slots=True)
class ExaminerOptions:
    """Options: which diagnoses run, and after how many frames."""

    is_enabled: bool = True
    is_fixed: bool = False
    frames: int = 50
    is_guess: bool = False
    retrieve_frames: int = 100


@dataclass(frozen=True, slots=True)
class ExaminerEvents:
    """Callbacks of the examiner, called in its thread.

    ``probe()`` returns the current probe, ``is_busy()`` whether frames wait; ``wait_for_rest(most_s)`` returns when the engine
    rests. ``on_said(scan_id, sentence)``, ``on_diagnosis(scan_id, diagnosis)`` and ``on_checked(scan_id, check)`` report results;
    ``on_probe(scan_id, probe, change, is_new)`` requests another probe and a further correction; ``is_new`` is true for a
    retrieved probe.
    """

    probe: Callable[[], torch.Tensor]
    is_busy: Callable[[], bool]
    wait_for_rest: Callable[[float], None]
    on_said: Callable[[str, str], None]
    on_diagnosis: Callable[[str, Diagnosis], None]
    on_checked: Callable[[str, FitCheck], None]
    on_probe: Callable[[str, NDArray[np.complex64], Correction, bool], None]


@dataclass(slots=True)
class _State:
    """The state of the examiner, for the status."""

    doing: DiagnosisState = DiagnosisState.WAITING
    finding: str | None = None
    looks: int = 0
    last_s: float | None = None


class Examiner:
    """Implements :class:`daemon.engine.ports.ExaminerPort`."""

    def __init__(self, options: ExaminerOptions, events: ExaminerEvents) -> None:
        self._options = options
        self._events = events
        self._state = _State()
        self._jobs: queue.SimpleQueue[tuple[Examination, Frames, int] | None] = queue.SimpleQueue()
        self._changes = 0  # changes of probe and correction; frames taken before a change are not used
        self._stopping = threading.Event()
        command = [sys.executable, "-m", "daemon.background.external.retrieval_side"]
        self._process = SideProcess(command, "the retrieval of the probe", RETRIEVE_S)
        self._needs_probe = options.is_guess
        self._thread = threading.Thread(target=self._run, name="diagnosis", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and the process if it runs."""
        self._stopping.set()
        self._process.stop()
        self._jobs.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def status(self) -> DiagnosisStatus:
        """Return its state and its last finding."""
        state = self._state
        doing = state.doing if self._options.is_enabled or self._options.is_guess else DiagnosisState.OFF
        return {"state": doing, "finding": state.finding, "looks": state.looks, "last_s": state.last_s}

    # the engine's thread

    def wants(self, scan: Examination, frames: int, *, has_ended: bool) -> bool:
        """Whether a diagnosis of a scan is due."""
        is_on = self._options.is_enabled or self._needs_probe
        if not is_on or self._stopping.is_set() or self._jobs.qsize() >= MOST_JOBS:
            return False
        is_last_chance = has_ended and scan.count == 0
        if is_last_chance and frames < LEAST_FRAMES:
            self._events.on_checked(scan.scan_id, FitCheck.TOO_FEW_FRAMES)
            return False
        return not scan.is_pending and has_budget(scan) and (frames >= self._next_frames(scan) or is_last_chance)

    def examine(self, scan: Examination, frames: Frames) -> None:
        """Queue a diagnosis."""
        scan.is_pending, scan.held_since = True, time.monotonic()
        scan.count += 1
        scan.next_frames = max(self._next_frames(scan), len(frames)) * LATER
        self._jobs.put((scan, frames, self._changes))

    def holds(self, scan: Examination) -> bool:
        """Whether a diagnosis runs that may change the pictures of a scan."""
        if not scan.is_pending or not (self._needs_probe or self._options.is_fixed):
            return False
        return scan.held_since is not None and time.monotonic() - scan.held_since < HOLD_S

    def _next_frames(self, scan: Examination) -> int:
        if scan.next_frames is None:
            scan.next_frames = self._options.retrieve_frames if self._needs_probe else self._options.frames
        return scan.next_frames

    # the examiner's own thread

    def _run(self) -> None:
        torch.set_num_threads(1)
        while self._examine_next():
            pass  # a finished job is released before the wait for the next one

    def _examine_next(self) -> bool:
        job = self._jobs.get()
        if job is None or self._stopping.is_set():
            return False
        scan, frames, changes = job
        begun = time.monotonic()
        if changes != self._changes:
            scan.is_pending, scan.next_frames, scan.count = False, len(frames), 0
            return True
        scan_id, check = scan.scan_id, FitCheck.UNFINISHED
        try:
            check = self._look(scan, frames)
        except Exception as fault:  # the scan continues without a diagnosis
            if not self._stopping.is_set():
                log.warning("scan %s was not examined: %s", scan_id, fault, exc_info=not isinstance(fault, DaemonError))
                self._events.on_said(scan_id, DiagnosisNote.NOT_EXAMINED.sentence.format(fault=fault))
        self._state.doing, self._state.last_s = DiagnosisState.WAITING, time.monotonic() - begun
        self._state.looks += 1
        self._events.on_checked(scan_id, check)
        scan.is_pending = False
        return True

    def _look(self, scan: Examination, frames: Frames) -> FitCheck:
        amplitude = at_middle([pattern for pattern, _ in frames]).cpu()
        positions_px = np.array([place for _, place in frames], dtype=np.float64)
        lit = lit_frames(amplitude)  # frames of a closed shutter carry no information
        amplitude, positions_px = amplitude[lit.tolist()], positions_px[lit]
        probe, is_own = self._events.probe().cpu(), False
        if self._needs_probe:
            retrieved = self._retrieve(scan.scan_id, amplitude, positions_px, probe)
            if retrieved is None:
                return FitCheck.UNFINISHED
            probe, is_own = retrieved, True
        if not self._options.is_enabled:
            return FitCheck.OFF
        return self._diagnose(scan, amplitude, positions_px, probe, is_own_probe=is_own)

    def _retrieve(
        self, scan_id: str, amplitude: torch.Tensor, positions_px: NDArray[np.float64], guess: torch.Tensor
    ) -> torch.Tensor | None:
        """Retrieve the probe; return None if the result is no better than the guess."""
        self._state.doing = DiagnosisState.RETRIEVING
        chosen = choose_frames(positions_px, guess, self._options.retrieve_frames)
        if len(chosen) < LEAST_FRAMES:
            self._events.on_said(scan_id, DiagnosisNote.TOO_FEW.sentence.format(frames=len(chosen)))
            return None
        guess = scaled_to_counts(guess, amplitude)
        turn = relative_turn(amplitude, positions_px, guess, self._giving_way(None))
        turned_px = positions_px[chosen] @ turn_matrix(turn).T
        arrays = {"amplitude": amplitude[chosen].numpy(), "positions_px": turned_px, "probe": guess.numpy()}
        found = self._process.run(arrays)
        first, last = (float(found["rfactors"][k]) for k in (0, -1))
        if not np.isfinite(found["probe"]).all() or last >= first:
            words = DiagnosisNote.NOT_RETRIEVED.sentence.format(frames=len(chosen), rfactor=first)
            self._events.on_said(scan_id, words)
            return None
        probe: NDArray[np.complex64] = found["probe"]
        self._events.on_probe(scan_id, probe, Correction(), True)
        self._needs_probe = False
        self._changes += 1
        self._say(scan_id, DiagnosisNote.RETRIEVED.sentence.format(frames=len(chosen), before=first, after=last))
        return torch.from_numpy(probe)

    def _diagnose(
        self,
        scan: Examination,
        amplitude: torch.Tensor,
        positions_px: NDArray[np.float64],
        probe: torch.Tensor,
        *,
        is_own_probe: bool,
    ) -> FitCheck:
        self._state.doing = DiagnosisState.LOOKING
        give_way = self._giving_way(scan)
        scan.is_running = True
        try:
            found = diagnose(amplitude, positions_px, probe, give_way, is_own_probe=is_own_probe)
        except BudgetSpentError as fault:
            log.info("scan %s: %s; nothing is said about it", scan.scan_id, fault)
            return FitCheck.UNFINISHED
        finally:
            scan.is_running = False
            give_way.count()
        if found is None:
            return FitCheck.TOO_FEW_FRAMES
        if found.sentence is None:
            return FitCheck.FITS if found.is_telling else FitCheck.WEAK_SAMPLE
        self._report(scan, found, amplitude, positions_px, probe)
        return FitCheck.MISFIT

    def _report(
        self,
        scan: Examination,
        found: Diagnosis,
        amplitude: torch.Tensor,
        positions_px: NDArray[np.float64],
        probe: torch.Tensor,
    ) -> None:
        """Report a misfit, and correct it if that is wanted."""
        scan_id, scan.next_frames = scan.scan_id, sys.maxsize
        self._state.finding = found.sentence
        self._events.on_diagnosis(scan_id, found)
        if not self._options.is_fixed:
            return
        correction, corrected = found.correction, probe.numpy()
        if not correction.is_nothing:
            corrected = correction.probe(corrected)
            self._events.on_probe(scan_id, corrected, correction, False)
            self._changes += 1
        if found.is_probe_poor:
            amplitude = torch.from_numpy(correction.patterns(amplitude.numpy()))
            self._retrieve(scan_id, amplitude, correction.positions(positions_px), torch.from_numpy(corrected))

    def _giving_way(self, scan: Examination | None) -> GivingWay:
        return GivingWay(scan, self._events.is_busy, self._events.wait_for_rest, self._stopping)

    def _say(self, scan_id: str, sentence: str) -> None:
        self._state.finding = sentence
        self._events.on_said(scan_id, sentence)
