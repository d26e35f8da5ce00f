"""Handling of diagnoses: the record of the scan, the log, the engine, a file of the retrieved probe."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from daemon.assessment.diagnosis_notes import DiagnosisNote
from daemon.background.diagnosis.advice import advice
from daemon.background.diagnosis.examiner import Examiner, ExaminerEvents, ExaminerOptions
from daemon.background.learning.generations import Generations
from daemon.config import Config
from daemon.engine.face import EngineFace
from daemon.intake.registry import ScanRegistry
from daemon.messages import FitCheck
from ptychopinn.atomic import atomic_path
from ptychopinn.diagnosis.correction import Correction
from ptychopinn.diagnosis.fit_test import Diagnosis

PROBE_NAME = "probe.npz"
WAITED_S = 0.25
"""Frames that wait for longer than this, s, need the processor more than a diagnosis does; batches wait for less."""

TELLING = frozenset((FitCheck.FITS, FitCheck.MISFIT))
"""Checks that have told whether a scan fits."""

log = logging.getLogger(__name__)


class Diagnoses:
    """Owns the examiner of a daemon."""

    def __init__(
        self,
        config: Config,
        scans: ScanRegistry,
        engine: EngineFace,
        generations: Generations,
        count_misfit: Callable[[], None],
    ) -> None:
        self._config = config
        self._scans = scans
        self._engine = engine
        self._generations = generations
        self._count_misfit = count_misfit
        self._is_alone = len(os.sched_getaffinity(0)) == 1
        options = ExaminerOptions(
            is_enabled=config.diagnosis.enabled,
            is_fixed=config.diagnosis.auto_fix,
            frames=config.diagnosis.frames,
            is_guess=config.optics.is_retrieved,
            retrieve_frames=config.optics.retrieve_frames,
        )
        events = ExaminerEvents(
            probe=lambda: engine.active.probe,
            is_busy=self._is_busy,
            wait_for_rest=engine.wait_for_rest,
            on_said=self._say,
            on_diagnosis=self._note,
            on_checked=self._enter,
            on_probe=self._take,
        )
        self.examiner = Examiner(options, events)

    def _is_busy(self) -> bool:
        """Whether the engine needs the processor: frames wait, or the only one is used to finish a scan.

        A scan that finishes is not disturbed by a diagnosis on another processor, and an operator waits for its result.
        """
        is_waited_for = self._config.diagnosis.auto_fix or self._config.optics.is_retrieved
        is_finishing = self._is_alone and self._engine.is_finishing and not is_waited_for
        return self._engine.backlog_age_s > WAITED_S or is_finishing

    def _say(self, scan_id: str, sentence: str) -> None:
        scan = self._scans.get(scan_id)
        if scan is not None:
            scan.note(sentence)
        log.warning("scan %s: %s", scan_id, sentence)

    def _note(self, scan_id: str, found: Diagnosis) -> None:
        self._count_misfit()
        scan = self._scans.get(scan_id)
        words = advice(found, self._config, None if scan is None else scan.record.center_px)
        is_corrected = self._config.diagnosis.auto_fix
        if is_corrected:
            words = [DiagnosisNote.CORRECTED.sentence]
        if scan is not None:
            misfit = found.sentence or ""
            scan.change(misfit={"sentence": misfit, "action": "; ".join(words), "is_corrected": is_corrected})
        self._say(scan_id, "; ".join([found.sentence or "", *words]))

    def _enter(self, scan_id: str, check: FitCheck) -> None:
        """Enter how a check ended; a later one that tells nothing does not undo an earlier one that told something."""
        scan = self._scans.get(scan_id)
        if scan is not None and (check in TELLING or scan.record.fit_check not in TELLING):
            scan.change(fit_check=check)

    def _take(self, scan_id: str, probe: NDArray[np.complex64], change: Correction, is_new: bool) -> None:
        self._generations.use_probe(probe, change)
        scan, pixel_size_m = self._scans.get(scan_id), self._scans.optics_of(scan_id).object_pixel_size_m
        if scan is None or pixel_size_m is None:
            return
        if change.position_scale != 1.0:
            scan.change(pixel_size_m=pixel_size_m / change.position_scale)
        if is_new:
            self._write(scan_id, probe, self._engine.pixel_size_m(scan_id) or pixel_size_m)

    def _write(self, scan_id: str, probe: NDArray[np.complex64], pixel_size_m: float) -> None:
        """Write a retrieved probe beside the product, for later use."""
        path = self._scans.records.folder(scan_id) / PROBE_NAME
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as part, part.open("wb") as file:
                np.savez(file, probe=probe, object_pixel_size_m=np.float64(pixel_size_m))
        except OSError as fault:
            log.warning("the retrieved probe cannot be written to %s (%s)", path, fault.strerror)
