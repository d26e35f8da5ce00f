"""The book of scans: what each is, was and gave; one JSON file a scan beside its product, read again at the next start."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter

from daemon.messages import DoubtFields, EngineResult, ScanFields, ScanState, VerdictFields
from daemon.service.disk import fault_words
from ptychopinn.atomic import write_atomically

RUNNING: tuple[ScanState, ...] = (ScanState.SCANNING, ScanState.FINISHING)
RECORD_NAME = "scan.json"
PRODUCT_NAME = "product.h5"
KEPT_RECORDS = 10_000

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


_RECORDS = TypeAdapter(ScanRecord)


class ScanBook:
    """Scans by id, oldest first; safe from any thread."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = threading.Lock()
        self._records: dict[str, ScanRecord] = {}
        self._unwritten: set[str] = set()
        self.failure: str | None = None
        found = [path for path in directory.glob(f"*/{RECORD_NAME}") if path.is_file()]
        found.sort(key=lambda path: path.stat().st_mtime)
        for path in found[-KEPT_RECORDS:]:
            record = _read_record(path)
            if record is not None:
                self._records[record.id] = record

    def folder(self, scan_id: str) -> Path:
        """Return the scan's folder (ids are safe for paths)."""
        return self.directory / scan_id

    def open(self, scan_id: str, started: str) -> None:
        """Enter a scan that has started."""
        with self._lock:
            self._records[scan_id] = ScanRecord(scan_id, started=started)
            for old in list(self._records)[: max(0, len(self._records) - KEPT_RECORDS)]:
                if self._records[old].state not in RUNNING:
                    del self._records[old]

    def change(self, scan_id: str, **changes: Any) -> ScanRecord:
        """Change a record; one that is at its end is written to its folder, ``failure`` says if that failed."""
        with self._lock:
            record = replace(self._records.get(scan_id) or ScanRecord(scan_id), **changes)
            self._records[scan_id] = record
        self._keep(record)
        return record

    def note(self, scan_id: str, sentence: str) -> None:
        """Add a sentence to a scan's notes, once."""
        with self._lock:
            record = self._records.get(scan_id)
            if record is None or sentence in record.notes:
                return
            record = self._records[scan_id] = replace(record, notes=(*record.notes, sentence))
        self._keep(record)

    def retry(self) -> None:
        """Write the records that the disk did not take."""
        for scan_id in list(self._unwritten):
            record = self.get(scan_id)
            if record is None:
                self._unwritten.discard(scan_id)
            elif not self._keep(record):
                return

    def is_written(self, scan_id: str) -> bool:
        """Whether the disk took the record as it stands."""
        return scan_id not in self._unwritten

    def _keep(self, record: ScanRecord) -> bool:
        """Write a record that is at its end; ``failure`` says if that failed."""
        scan_id = record.id
        if record.state in RUNNING:
            return True
        try:
            _write_record(self.folder(scan_id) / RECORD_NAME, record)
        except OSError as fault:
            words = f"the record of scan {scan_id} is not written: {fault_words(fault, self.folder(scan_id))}"
            if self.failure != words:  # said once, however often it is tried
                log.error("%s", words)
            self._unwritten.add(scan_id)
            self.failure = words
            return False
        self._unwritten.discard(scan_id)
        self.failure = None if not self._unwritten else self.failure
        return True

    def get(self, scan_id: str) -> ScanRecord | None:
        """Return a record."""
        with self._lock:
            return self._records.get(scan_id)

    def running(self) -> list[str]:
        """Return the scans that are not at their end, oldest first."""
        with self._lock:
            return [record.id for record in self._records.values() if record.state in RUNNING]

    def listing(self, verdict_of: Callable[[str], VerdictFields]) -> list[ScanFields]:
        """Return all records, newest first; running scans with their account as it stands."""
        with self._lock:
            records = list(reversed(self._records.values()))
        return [as_public(record, verdict_of) for record in records]


def as_public(record: ScanRecord, verdict_of: Callable[[str], VerdictFields]) -> ScanFields:
    """Return a record as the REST interface shows it."""
    public = cast(ScanFields, asdict(record))
    if record.state in RUNNING:
        public["verdict"] = verdict_of(record.id)
    return public


def _read_record(path: Path) -> ScanRecord | None:
    try:
        record = _RECORDS.validate_python(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return None  # a broken record costs its line in the list, not the start
    if record.id != path.parent.name or record.state in RUNNING:
        return None
    return replace(record, product=_inside(record.product, path.parent))


def _inside(product: object, folder: Path) -> str | None:
    """Return a product's path where it lies in the scan's folder, links resolved: whoever writes records may not name others."""
    if not isinstance(product, str):
        return None
    path = folder / Path(product).name
    return str(path) if is_inside(path, folder) else None


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path lies in a folder, once links are followed."""
    return path.resolve().is_relative_to(folder.resolve())


def _write_record(path: Path, record: ScanRecord) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(asdict(record), indent=1).encode())
