"""The journal: frames and positions are on disk before they count as received, so a killed daemon resumes its scan."""

from daemon.journal.batch import RecordBatch
from daemon.journal.keeper import NOTED_OPTICS, Keeper
from daemon.journal.names import ScanNames
from daemon.journal.patterns import Packed, pack, unpack
from daemon.journal.record import Kind, Record, positions_of
from daemon.journal.start import StoredStart, stored_start
from daemon.journal.store import Journal

__all__ = [
    "NOTED_OPTICS",
    "Journal",
    "Keeper",
    "Kind",
    "Packed",
    "Record",
    "RecordBatch",
    "ScanNames",
    "StoredStart",
    "pack",
    "positions_of",
    "stored_start",
    "unpack",
]
