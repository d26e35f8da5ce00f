"""The scans that the join knows: unfinished, finished, and those whose account is written down; and the names of senders.

Senders use a *wire* name, which a restarted detector may use again: its second scan is ``NAME-2``, then ``NAME-3``.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from streams.frame import ScanStart
from streams.join.account import EndedBy, ScanAccount

__all__ = ["KnownScans"]

_MOST_RELEASED = 64
"""Accounts kept after they were written down, for late messages and questions; each is some hundred bytes."""
_MOST_FINISHED = 10_000
"""Finished scans that may wait for their account to be written; a writer that is so far behind has failed."""
_MOST_NAMES = 10_000
"""Wire names kept, so that a repeated name gets a new number; a day at one scan every 9 s."""


@dataclass(slots=True)
class _WireName:
    """The newest scan of a wire name, None once it is dropped, and how many scans have had that name."""

    scan: ScanAccount | None
    generation: int


class KnownScans:
    """Opens, ends and forgets scans. Whoever opens a scan keeps its account; by name only senders find it.

    Parameters
    ----------
    max_open
        Bound on scans open at once; beyond it the oldest is ended.
    is_taken
        Whether a name belongs to a scan of an earlier run of this program and must not be given again.
    clock
        Monotonic seconds.
    """

    def __init__(self, max_open: int, is_taken: Callable[[str], bool], clock: Callable[[], float]) -> None:
        self._max_open = max(1, max_open)
        self._is_taken = is_taken
        self._clock = clock
        self._live: list[ScanAccount] = []
        self._finished: deque[ScanAccount] = deque()
        self._released: deque[ScanAccount] = deque()
        self._names: OrderedDict[str, _WireName] = OrderedDict()

    @property
    def live(self) -> Sequence[ScanAccount]:
        """Unfinished scans, the oldest first; few."""
        return self._live

    @property
    def open_ids(self) -> list[str]:
        """Names of the scans that have not ended, the oldest first."""
        return [scan.scan_id for scan in self._live if scan.ended_at is None]

    @property
    def newest_open(self) -> ScanAccount | None:
        """The newest scan that has not ended."""
        return next((scan for scan in reversed(self._live) if scan.ended_at is None), None)

    @property
    def newest_live(self) -> ScanAccount | None:
        """The newest unfinished scan."""
        return self._live[-1] if self._live else None

    def newest(self, wire_id: str) -> ScanAccount | None:
        """Return the newest scan of a wire name, if it is still known."""
        name = self._names.get(wire_id)
        return None if name is None else name.scan

    def is_finished(self, scan: ScanAccount) -> bool:
        """Whether the scan is finished and its account not yet written down."""
        return scan.is_put_away and scan in self._finished

    def recent(self, since: float) -> list[ScanAccount]:
        """Return the unfinished scans, then those that ended after a time; the newest first in each."""
        ended = [*self._released, *self._finished]
        late = [scan for scan in reversed(ended) if scan.ended_at is not None and scan.ended_at >= since]
        return [*reversed(self._live), *late]

    def add(self, start: ScanStart, scan_id: str | None = None) -> ScanAccount:
        """Open a scan; ``scan_id`` is its name if an earlier run of this program gave it one.

        Raises ``ValueError`` if a scan of the name ``scan_id`` is known.
        """
        wire_id = start.scan_id
        known = self._names.get(wire_id)
        generation = 1 if known is None else known.generation + 1
        if scan_id is None:
            scan_id, generation = self._new_name(wire_id, generation)
        elif self._is_known(scan_id):
            raise ValueError(f"scan {scan_id} is already open")
        scan = ScanAccount(scan_id, start.expected_frames, self._clock(), wire_id)
        self._names[wire_id] = _WireName(scan, generation)
        self._names.move_to_end(wire_id)
        if len(self._names) > _MOST_NAMES:
            self._names.popitem(last=False)
        self._live.append(scan)
        return scan

    def end_oldest_beyond_bound(self) -> None:
        """End the oldest open scan if too many are open."""
        counted = [scan for scan in self._live if scan.ended_at is None and not scan.refuses_all]
        if len(counted) > self._max_open:
            self.end(counted[0], "crowd", was_cut_short=True)

    def end(self, scan: ScanAccount, ended_by: EndedBy, *, was_cut_short: bool) -> None:
        """End a scan; it is finished once nothing of it is pending."""
        scan.end(ended_by, self._clock(), was_cut_short=was_cut_short)
        self.settle(scan)

    def settle(self, scan: ScanAccount) -> None:
        """Put a scan among the finished ones if it is finished."""
        if not scan.is_finished or scan.is_put_away:
            return
        scan.put_away()
        self._live.remove(scan)
        self._finished.append(scan)
        if len(self._finished) > _MOST_FINISHED:
            self._drop(self._finished.popleft())

    def release(self, scan: ScanAccount) -> None:
        """Take note that the account of a finished scan is written down."""
        if self.is_finished(scan):
            self._finished.remove(scan)
            self._released.append(scan)
            if len(self._released) > _MOST_RELEASED:
                self._drop(self._released.popleft())

    def _drop(self, scan: ScanAccount) -> None:
        """Forget a scan; a late message of its name opens another one."""
        name = self._names.get(scan.wire_id)
        if name is not None and name.scan is scan:
            name.scan = None

    def _is_known(self, scan_id: str) -> bool:
        return any(scan.scan_id == scan_id for scan in (*self._live, *self._finished, *self._released))

    def _new_name(self, wire_id: str, generation: int) -> tuple[str, int]:
        scan_id = wire_id if generation == 1 else f"{wire_id}-{generation}"
        while self._is_known(scan_id) or self._is_taken(scan_id):
            generation += 1
            scan_id = f"{wire_id}-{generation}"
        return scan_id, generation
