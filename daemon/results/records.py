"""The record of a scan: a JSON file beside its product, read again at the next start."""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from pydantic import TypeAdapter

from daemon.assessment import ScanFacts, assess
from daemon.messages import (
    AssessmentFields,
    DoubtFields,
    EngineResult,
    FitCheck,
    FrcFields,
    IncidentFields,
    MisfitFields,
    ScanFields,
    ScanState,
    VerdictFields,
)
from daemon.results.disk import ResultDisk
from daemon.service.descriptors import reserve
from daemon.service.disk import fault_words

RUNNING: tuple[ScanState, ...] = (ScanState.SCANNING, ScanState.FINISHING)
RECORD_NAME = "scan.json"
PRODUCT_NAME = "product.h5"
KEPT_RECORDS = 10_000
"""Scans that the daemon lists: months of a beamline, in 16 MB of memory."""

log = logging.getLogger(__name__)


def now_text() -> str:
    """Return the time, ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True, slots=True)
class ScanRecord:
    """One scan; :class:`ScanFields` explains the fields."""

    id: str
    state: ScanState = ScanState.SCANNING
    started: str = field(default_factory=now_text)
    ended: str | None = None
    rfactor: float | None = None
    rfactor_network: float | None = None
    expected_correlation: float | None = None
    position_error_px: float | None = None
    frc_nm: float | None = None
    frc: FrcFields | None = None
    model_generation: int = 0
    product: str | None = None
    pixel_size_m: float | None = None
    center_px: tuple[int, int] | None = None
    center_from: str | None = None
    masked_pixels: int | None = None
    notes: tuple[str, ...] = ()
    run: dict[str, object] | None = None
    engine: EngineResult | None = None
    verdict: VerdictFields | None = None
    doubts: tuple[DoubtFields, ...] = ()
    incidents: tuple[IncidentFields, ...] = ()
    misfit: MisfitFields | None = None
    fit_check: FitCheck | None = None
    assessment: AssessmentFields | None = None

    @property
    def is_running(self) -> bool:
        """Whether the scan is not at its end."""
        return self.state in RUNNING

    def facts(self, verdict: VerdictFields | None) -> ScanFacts:
        """Return the facts for an assessment, with an account as it stands."""
        return ScanFacts(
            self.state, verdict, self.notes, self.doubts, self.incidents, misfit=self.misfit, fit_check=self.fit_check
        )

    def assessed(self) -> ScanRecord:
        """Return the record with the assessment that its other fields give."""
        return replace(self, assessment=assess(self.facts(self.verdict)))


_RECORDS = TypeAdapter(ScanRecord)


class RecordFiles:
    """The records of ended scans on the disk, each in its scan's folder; safe from any thread."""

    def __init__(self, directory: Path, disk: ResultDisk = ResultDisk()) -> None:
        self.directory = directory
        self._disk = disk
        self._lock = threading.Lock()
        self._unwritten = 0
        self.failure: str | None = None

    def folder(self, scan_id: str) -> Path:
        """Return the scan's folder (ids are safe for paths)."""
        return self.directory / scan_id

    def read(self) -> list[ScanRecord]:
        """Return the newest records, oldest first; one that cannot be read is left out."""
        found = [path for path in self.directory.glob(f"*/{RECORD_NAME}") if path.is_file()]
        found.sort(key=lambda path: path.stat().st_mtime)
        records = map(_read_record, found[-KEPT_RECORDS:])
        return [record for record in records if record is not None]

    def write(self, record: ScanRecord, *, was_written: bool = True) -> bool:
        """Write a record; ``failure`` says why the disk did not take it. ``was_written``: it took the one before."""
        with self._lock:
            is_written = self._write(record)
            self._unwritten += was_written - is_written
            self.failure = None if not self._unwritten else self.failure
            return is_written

    def _write(self, record: ScanRecord) -> bool:
        folder = self.folder(record.id)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            content = json.dumps(asdict(record), indent=1).encode()
            reserve.lend(lambda: self._disk.write_record(folder / RECORD_NAME, content))
        except OSError as fault:
            words = f"the record of scan {record.id} is not written: {fault_words(fault, folder)}"
            if self.failure != words:  # said once, however often it is tried
                log.error("%s", words)
            self.failure = words
            return False
        return True


def as_public(record: ScanRecord, verdict: VerdictFields | None) -> ScanFields:
    """Return a record as the REST interface shows it, with its account."""
    assessment = record.assessment or assess(record.facts(verdict))
    return cast(ScanFields, {**asdict(record), "verdict": verdict, "assessment": assessment})


def _read_record(path: Path) -> ScanRecord | None:
    try:
        record = _RECORDS.validate_python(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return None  # a broken record costs its line in the list, not the start
    if record.id != path.parent.name or record.state in RUNNING:
        return None
    return replace(record, product=_inside(record.product, path.parent))


def _inside(product: object, folder: Path) -> str | None:
    """Return a product's path if it lies in the scan's folder, links resolved: a forged record cannot name other files."""
    if not isinstance(product, str):
        return None
    path = folder / Path(product).name
    return str(path) if is_inside(path, folder) else None


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path lies in a folder, once links are followed."""
    return path.resolve().is_relative_to(folder.resolve())
