"""Finds the scan of each position and run, and keeps positions that come before their scan opens."""

from __future__ import annotations

from collections.abc import Callable

from streams.frame import Position, PositionNews
from streams.join.account import ScanAccount
from streams.join.early_positions import EarlyPositions
from streams.join.known_scans import KnownScans
from streams.join.source_run import KeptRuns, ResumedRun
from streams.join.source_runs import AnnouncedRuns, SourceRuns, scan_of

__all__ = ["PositionRouter"]


class PositionRouter:
    """Enters positions and runs into the scans that they belong to.

    Parameters
    ----------
    scans
        The scans that the join knows.
    max_position_bytes
        Bound on one scan's positions, and on all that wait for scans to open.
    timeout_s
        How long positions wait for their scan to open.
    clock
        Monotonic seconds.
    """

    def __init__(
        self, scans: KnownScans, max_position_bytes: int, timeout_s: float, clock: Callable[[], float]
    ) -> None:
        self._scans = scans
        self._clock = clock
        self._early = EarlyPositions(max_position_bytes, timeout_s)
        self._runs = SourceRuns(timeout_s)
        self._announced = AnnouncedRuns(timeout_s)
        self._ignored = 0

    @property
    def ignored(self) -> int:
        """Positions that no frame can use: of finished scans, of scans that never opened, or beyond a bound."""
        return self._ignored + self._early.ignored

    @property
    def source_scan(self) -> str | None:
        """The scan that the run of a source without scan names belongs to, if it has one."""
        return self._runs.scan_id

    def scan_opened(self, scan: ScanAccount, wire_id: str) -> None:
        """Give a new scan the positions, the refused messages and the runs that came before it opened."""
        self.drop_stale(self._clock())
        scan.positions.start_with(self._early.take(wire_id))
        for sentence in self._early.take_refused(scan.opened_at):
            scan.positions.refuse_message(sentence)
        self._runs.scan_opened(scan, self._scans.live)
        self._announced.scan_opened(scan)

    def add(self, position: Position) -> ScanAccount | None:
        """Enter a position; return the scan in which a frame may have waited for it.

        A position that names no scan is for the newest open one; with none open, for the newest ended one that still
        waits, until its indexes start again; otherwise it is kept for the next scan.
        """
        scan = self._scan_of(position)
        if scan is None:
            self._early.keep(position, self._clock())
            return None
        return scan if self.put(scan, position) else None

    def put(self, scan: ScanAccount, position: Position) -> bool:
        """Enter a position of a scan; False if it is ignored, because the scan is finished or there is no room."""
        if not scan.is_put_away and scan.positions.put(position):
            return True
        self._ignored += 1
        return False

    def take_news(self, news: PositionNews) -> ScanAccount | None:
        """Enter a message of a source without scan names; return the scan of its run.

        Without one the positions are kept for the next scan, or ignored where the scan is not known any more.
        """
        waiting = self._runs.waiting
        run = self._runs.take(news, self._scans.live, self._clock())
        if waiting is not None and waiting is not run:
            self._early.drop_nameless()
        if run.scan_id is None:
            for position in news.positions:
                self._early.keep(position, self._clock())
            return None
        scan = scan_of(run, self._scans.live)
        if scan is None:
            self._ignored += len(news.positions)
        return scan

    def refuse_message(self, sentence: str) -> None:
        """Count a refused message of the position source in every scan that still takes positions.

        If there is none, it counts for the next scan to open, while positions would wait for that.
        """
        scans = [scan for scan in self._scans.live if scan.ended_at is None or scan.waiting]
        for scan in scans:
            scan.positions.refuse_message(sentence)
        if not scans:
            self._early.refuse(sentence, self._clock())

    def announce(self, news: PositionNews) -> None:
        """Enter a message of the control system about its runs."""
        self._announced.take(news, self._scans.live, self._clock())

    def resume(self, scan: ScanAccount, kept: KeptRuns) -> ResumedRun | None:
        """Give a scan that continues its runs; return the facts that the reader of its positions needs, if any."""
        now = self._clock()
        live = None if scan.is_put_away else scan
        if (announced := kept.get("announced")) is not None:
            self._announced.resume(announced, live, now)
        if (source := kept.get("source")) is None:
            return None
        self._runs.resume(source, scan.scan_id, live, now)
        return {**source, "frames": 0 if live is None else live.positions.table.beyond}

    def drop_stale(self, now: float) -> None:
        """Forget positions, and a run, whose scan did not open in time."""
        if self._early.drop_stale(now):
            self._runs.drop_waiting()

    def _scan_of(self, position: Position) -> ScanAccount | None:
        if position.scan_id is not None:
            return self._scans.newest(position.scan_id)
        if (scan := self._scans.newest_open) is not None:
            return scan
        last = self._scans.newest_live
        if last is None or not last.waiting or last.positions.restarts_numbering(position.index):
            return None
        return last
