"""A join whose scans tests call by their names; the daemon keeps the account of each scan that it opens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.frame import Frame, ScanPoint, ScanStart
from streams.join.account import AccountSnapshot, EndedBy, ScanAccount
from streams.join.join import Join
from streams.join.scan_diagnostics import warnings_about
from streams.join.source_run import KeptRuns, ResumedRun
from streams.refusal_reasons import RefusalReason


class NamedJoin:
    """The methods of :class:`Join`, with names in place of accounts; an unknown name raises ``KeyError`` or does nothing."""

    def __init__(self, **options: Any) -> None:
        self.join = Join(**options)
        self._accounts: dict[str, ScanAccount] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.join, name)

    @property
    def known(self) -> list[str]:
        """Names of all scans that have opened."""
        return list(self._accounts)

    def of(self, name: str) -> ScanAccount:
        """Return the account of a scan."""
        return self._accounts[name]

    def start_scan(self, start: ScanStart, *, was_heard: bool = True, scan_id: str | None = None) -> str:
        """Open a scan; return its name."""
        return self._noted(self.join.start_scan(start, was_heard=was_heard, scan_id=scan_id))

    def add_frame(self, frame: Frame) -> list[ScanPoint]:
        """Take a frame, which may open a scan."""
        points = self.join.add_frame(frame)
        self._note(frame.scan_id)
        return points

    def current_id(self, wire_id: str) -> str | None:
        """Return the name of the newest scan of a sender's name."""
        account = self.join.newest(wire_id)
        return None if account is None else account.scan_id

    def end_scan(self, name: str, *, exactly: bool = False, ended_by: EndedBy = "end") -> None:
        """End the newest scan of a sender's name, or with ``exactly`` the scan of that very name."""
        account = self._accounts.get(name) if exactly else self.join.newest(name) or self._accounts.get(name)
        if account is not None:
            self.join.end_scan(account, ended_by)

    def overdue(self, name: str, silent_s: float) -> EndedBy | None:
        """Return why a silent scan may be closed."""
        return self.join.overdue(self._accounts[name], silent_s) if name in self._accounts else None

    def runs_of(self, name: str) -> KeptRuns:
        """Return a scan's runs."""
        account = self._accounts[name]
        return {} if account.is_put_away else account.positions.named_runs()

    def resume_runs(self, name: str, kept: KeptRuns) -> ResumedRun | None:
        """Give a scan its runs."""
        return self.join.resume_runs(self._accounts[name], kept)

    def warnings(self, name: str) -> list[str]:
        """Return the warnings about a scan."""
        return warnings_about(self._accounts[name]) if name in self._accounts else []

    def about(self, name: str) -> dict[str, object] | None:
        """Return the control system's description of a scan's run."""
        return self._accounts[name].positions.about if name in self._accounts else None

    def light(self, name: str, index: int) -> float | None:
        """Return the beam monitor's value of a frame."""
        return self._accounts[name].positions.table.light(index) if name in self._accounts else None

    def set_positions(self, name: str, positions_m: NDArray[np.floating[Any]]) -> list[ScanPoint]:
        """Give a scan all its positions."""
        return self.join.set_positions(self._accounts[name], positions_m)

    def refuse(
        self, name: str, index: int | None, reason: RefusalReason, received: bool = False, words: str = ""
    ) -> None:
        """Count a message as refused on receipt, or later."""
        if received:
            self.join.refuse_received(name, index, reason, words)
            self._note(name)
        elif index is not None and name in self._accounts:
            self.join.refuse(self._accounts[name], index, reason)

    def mark_stitched(self, name: str, indexes: Iterable[int]) -> None:
        """Count scan points as stitched."""
        if name in self._accounts:
            self.join.mark_stitched(self._accounts[name], indexes)

    def account(self, name: str) -> AccountSnapshot:
        """Return the account of a scan."""
        return self._accounts[name].snapshot()

    def overtaken(self, name: str) -> int:
        """Return how many indexes later ones have overtaken."""
        return self._accounts[name].indexes.overtaken if name in self._accounts else 0

    def is_closed(self, name: str) -> bool:
        """Whether a scan has ended."""
        return name in self._accounts and self._accounts[name].ended_at is not None

    def is_finished(self, name: str) -> bool:
        """Whether a scan is finished and not released."""
        return name in self._accounts and self.join.is_finished(self._accounts[name])

    def release(self, name: str) -> None:
        """Release a finished scan."""
        if name in self._accounts:
            self.join.release(self._accounts[name])

    def was_cut_short(self, name: str) -> bool:
        """Whether a new scan closed this one."""
        return name in self._accounts and self._accounts[name].was_cut_short

    def _note(self, wire_id: str) -> None:
        account = self.join.newest(wire_id)
        for one in (account, *self.join.unfinished):
            if one is not None:
                self._noted(one)

    def _noted(self, account: ScanAccount) -> str:
        self._accounts.setdefault(account.scan_id, account)
        return account.scan_id
