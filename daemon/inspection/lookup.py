"""Connects the closer look to a daemon's parts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daemon.config import Config
from daemon.engine.face import EngineFace
from daemon.inspection.frames import FrameLookup, FrameSources
from daemon.inspection.probes import ProbeLookup
from daemon.inspection.scans import ScanReader
from daemon.intake.registry import ScanRegistry
from daemon.journal import Journal
from daemon.journal.finished import FinishedFrames
from daemon.publish.hub import UpdateHub
from ptychopinn.device import to_host

ProductPath = Callable[[str], Path | None]


def make_scan_reader(engine: EngineFace, product_path: ProductPath, hub: UpdateHub) -> ScanReader:
    """Return the reader of frames and probes."""

    def given_probe() -> NDArray[np.complex64]:
        return np.asarray(to_host(engine.active.probe), dtype=np.complex64)

    return ScanReader(engine.held, product_path, given_probe, hub)


def make_frame_lookup(
    config: Config, reader: ScanReader, scans: ScanRegistry, engine: EngineFace, journal: Journal | None
) -> FrameLookup:
    """Return the lookup of single frames."""
    finished = None if journal is None else FinishedFrames(journal.folder)

    def counts(scan_id: str, index: int) -> NDArray[Any] | None:
        scan = scans.get(scan_id)
        if journal is None or finished is None or scan is None:
            return None
        if scan.is_running or journal.has(scan_id, index):
            return journal.read(scan_id, index)
        return finished.read(scan_id, index)

    refine = config.refine
    return FrameLookup(
        reader,
        FrameSources(
            counts=counts,
            correction=lambda: engine.correction,
            pixel_size_m=partial(_pixel_size_m, scans, engine),
            is_subpixel=refine.subpixel or refine.position_bound_px > 0,
            has_journal=journal is not None,
        ),
    )


def make_probe_lookup(reader: ScanReader, scans: ScanRegistry, engine: EngineFace) -> ProbeLookup:
    """Return the lookup of probes."""

    def energy(scan_id: str) -> float | None:
        return scans.optics_of(scan_id).photon_energy_eV

    return ProbeLookup(reader, energy, partial(_pixel_size_m, scans, engine))


def _pixel_size_m(scans: ScanRegistry, engine: EngineFace, scan_id: str) -> float | None:
    scan = scans.get(scan_id)
    return engine.pixel_size_m(scan_id) if scan is None or scan.is_running else scan.record.pixel_size_m
