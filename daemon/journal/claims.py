"""Selects the unfinished journals that are replayed: those in the folder with their scan's own name.

Copies, renamed folders and journals without a readable start are left alone: the daemon writes nothing into them, does not
delete them to make room, and reports each with its reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from daemon.errors import JournalError
from daemon.journal.record import Kind, Record, read_records
from daemon.journal.scan_log import segments
from daemon.journal.start import stored_start

_GENERATION = r"(-([2-9]|[1-9]\d+))?"
"""The join appends it to a scan's name that a sender uses again."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The start of a journal: its digest, the names of the scan, and the time of its beginning."""

    folder: Path
    digest: bytes
    wire_id: str
    own_name: str | None
    started: str
    time_ns: int

    @property
    def is_own(self) -> bool:
        """Whether the folder has the name of its scan; older journals hold only the name that the sender used."""
        if self.own_name is not None:
            return self.own_name == self.folder.name
        return re.fullmatch(re.escape(self.wire_id) + _GENERATION, self.folder.name) is not None


@dataclass(frozen=True, slots=True)
class Claims:
    """Scans to replay with the times at which they began, in that order; and the reason for each folder left alone."""

    to_play: dict[str, str] = field(default_factory=dict)
    left_alone: dict[str, str] = field(default_factory=dict)


def claims_in(folders: Iterable[Path]) -> Claims:
    """Return the journals in these folders that are replayed, and the others."""
    claims, found = Claims(), list[Claim]()
    for folder in folders:
        try:
            found.append(claim_of(folder))
        except (JournalError, OSError) as fault:
            claims.left_alone[folder.name] = str(fault)
    played: dict[bytes, str] = {}
    for claim in sorted(found, key=lambda claim: (claim.time_ns, len(claim.folder.name), claim.folder.name)):
        scan_id = played.get(claim.digest)
        if claim.is_own and scan_id is None:
            played[claim.digest] = claim.folder.name
            claims.to_play[claim.folder.name] = claim.started
        else:
            claims.left_alone[claim.folder.name] = _of_another(claim, scan_id)
    return claims


def copy_of(folder: Path) -> str | None:
    """Return the reason why a finished scan's folder does not belong to this journal; None if it does."""
    try:
        claim = claim_of(folder)
    except (JournalError, OSError):
        return None
    return None if claim.is_own else _of_another(claim, None)


def claim_of(folder: Path) -> Claim:
    """Return the start of a journal. Raises :class:`JournalError` if there is none, ``OSError``."""
    record = _first_start(folder)
    if record is None:
        raise JournalError(
            f"the journal folder {folder} does not say how its scan began; `ptycholive refine` reads its frames"
        )
    stored, content = stored_start(folder.name, record), record.plain()
    own_name, time_ns = content.get("scan_id"), content.get("time_ns")
    return Claim(
        folder=folder,
        digest=blake2b(record.payload).digest(),
        wire_id=stored.start.scan_id,
        own_name=own_name if isinstance(own_name, str) else None,
        started=stored.started,
        time_ns=time_ns if isinstance(time_ns, int) else 0,
    )


def _of_another(claim: Claim, scan_id: str | None) -> str:
    name = claim.own_name or scan_id or claim.wire_id
    return (
        f"the journal folder {claim.folder} holds scan {name}: it is a copy or was renamed; "
        f"move it elsewhere, or rename it to {name} to have it replayed"
    )


def _first_start(folder: Path) -> Record | None:
    for path in segments(folder):
        for _, record in read_records(path, pixels=False):
            if record.kind == Kind.START:
                return record
    return None
