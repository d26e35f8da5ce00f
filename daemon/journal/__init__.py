"""The journal: every frame and position on disk before it counts as received, so that a killed daemon goes on."""

from daemon.journal.keeper import NOTED_OPTICS, Keeper
from daemon.journal.names import ScanNames
from daemon.journal.patterns import Packed, pack, unpack
from daemon.journal.record import Kind, Record, positions_of
from daemon.journal.start import StoredStart, stored_start
from daemon.journal.store import Batch, Journal

__all__ = [
    "NOTED_OPTICS",
    "Batch",
    "Journal",
    "Keeper",
    "Kind",
    "Packed",
    "Record",
    "ScanNames",
    "StoredStart",
    "pack",
    "positions_of",
    "stored_start",
    "unpack",
]
