"""Reconstruction of finished scans by pty-chi's LSQML; its product is written beside ours, its result into the record.

Patterns come from the scan's journal, positions and probe from our product. One scan at a time runs, in a process with its
own environment.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from daemon.background.external.side_process import SideProcess
from daemon.config import Config
from daemon.errors import ConfigError, DaemonError
from daemon.files import Product, read_product, write_product
from daemon.intake.scan import Scan
from daemon.journal.reading import frames
from daemon.messages import EngineResult, EngineState
from ptychopinn.detector.geometry import to_amplitude
from ptychopinn.diagnosis.correction import Correction
from ptychopinn.errors import ReconstructionError

NAME = "pty-chi"
PRODUCT_NAME = "iterative.h5"
SIDE = Path(__file__).with_name("ptychi_side.py")
TIMEOUT_S = 24 * 3600.0  # longest reconstruction of one scan, s
MOST_BYTES = 8 << 30  # patterns of one scan as float32; they are held in memory twice

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Job:
    scan: Scan
    product: Path
    correction: Correction


class FinishedScans:
    """Runs the engine on one finished scan after another, at a low priority.

    Raises
    ------
    ConfigError
        If the Python cannot be run, or there is no journal with patterns.
    """

    def __init__(self, config: Config) -> None:
        python, output = config.refine.engine_python, config.output
        if python is None or not os.access(python, os.X_OK):
            raise ConfigError(
                f"[refine] engine_python: {python} cannot be run; give the python of pty-chi's environment"
            )
        if output.journal == "off":
            raise ConfigError(
                '[refine] engine = "pty-chi" reads patterns from the journal; give [output] journal a folder, or leave it out'
            )
        self._folder = output.journal or output.directory / "journal"
        self._epochs = config.refine.engine_epochs
        self._process = SideProcess([str(python), str(SIDE)], NAME, TIMEOUT_S)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="finished-scans", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the process and the thread; waiting scans are dropped."""
        self._process.stop()
        self._jobs.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def submit(self, scan: Scan, product: Path, correction: Correction) -> None:
        """Queue a scan whose product is written; ``correction`` is applied to its patterns."""
        job = _Job(scan, product, correction)
        self._note(job, {"name": NAME, "state": EngineState.WAITING})
        self._jobs.put(job)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None and not self._process.is_stopped:
            self._note(job, {"name": NAME, "state": EngineState.RUNNING})
            try:
                self._note(job, self._reconstruct(job))
            except Exception as fault:  # the daemon continues without this result
                is_own = isinstance(fault, DaemonError | ReconstructionError | OSError)
                log.warning("scan %s has no result of %s: %s", job.scan.id, NAME, fault, exc_info=not is_own)
                self._note(job, {"name": NAME, "state": EngineState.FAILED, "fault": str(fault)})

    def _note(self, job: _Job, result: EngineResult) -> None:
        job.scan.change(engine=result)

    def _reconstruct(self, job: _Job) -> EngineResult:
        """Run the engine and write its product; return the result for the record."""
        ours = read_product(job.product)
        patterns, places = self._patterns(job, ours)
        positions_px = ours.positions_m[places] / ours.pixel_size_m
        threads = max(1, torch.get_num_threads())
        arrays: dict[str, NDArray[Any]] = {"amplitude": patterns, "positions_px": positions_px, "probe": ours.probe}
        found = self._process.run(arrays, epochs=self._epochs, threads=threads)
        rfactor, seconds = float(found["rfactor"]), float(found["seconds"])
        path = job.product.with_name(PRODUCT_NAME)
        words = f"{NAME} LSQML, {self._epochs} epochs, R {rfactor:.4f}"
        write_product(path, _product(ours, places, found, words))
        log.info("scan %s: %s in %.0f s", job.scan.id, words, seconds)
        return {
            "name": NAME,
            "state": EngineState.DONE,
            "rfactor": rfactor,
            "seconds": seconds,
            "frames": len(places),
            "product": str(path),
        }

    def _patterns(self, job: _Job, ours: Product) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return patterns ``(n, N, N)`` from the journal, and their rows in the product.

        Raises
        ------
        DaemonError
            If they are deleted already, or too large.
        """
        size = ours.probe.shape[-1]
        if 4 * size**2 * len(ours.indexes) > MOST_BYTES:
            raise DaemonError(
                f"{len(ours.indexes)} frames of {size} px exceed {MOST_BYTES >> 30} GiB, the limit for {NAME}"
            )
        place_of = {index: place for place, index in enumerate(ours.indexes.tolist())}
        amplitude = np.empty((len(place_of), size, size), dtype=np.float32)
        is_there = np.zeros(len(place_of), dtype=bool)
        for frame in frames(self._folder / job.scan.id):
            place = place_of.get(frame.index)
            if place is not None:
                amplitude[place] = job.correction.patterns(to_amplitude(frame.counts))
                is_there[place] = True
        if not is_there.any():
            raise DaemonError(f"the journal of scan {job.scan.id} is gone; raise [limits] journal_bytes")
        return amplitude[is_there], np.flatnonzero(is_there)


def _product(ours: Product, places: NDArray[np.int64], found: dict[str, NDArray[Any]], words: str) -> Product:
    origin = found["origin_px"].tolist()
    return replace(
        ours,
        comments=words,
        indexes=ours.indexes[places],
        positions_m=ours.positions_m[places],
        probe=found["probe"],
        object=found["object"],
        object_origin_px=(float(origin[0]), float(origin[1])),
        live=None,
    )
