"""Which run of the position source belongs to which scan, where the source does not know the detector's names.

A run (from one arming of the source to the next) belongs to one scan, and a scan has one run: what a source sends after
it has begun anew is never taken for the frames of the scan before, nor the other way round.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from streams.frame import PositionNews
from streams.join.account import ScanAccount, SourceRun
from streams.join.index_tables import PositionTable

__all__ = ["Announcements", "SourceRuns"]

_LATE_START_S = 2.0
_MOST_NAMED = 32


class _Runs:
    """The run that a source is in, and those it may come back to: a source that names its runs may have one in another."""

    def __init__(self) -> None:
        self.current: SourceRun | None = None
        self._named: OrderedDict[str, SourceRun] = OrderedDict()

    def find(self, news: PositionNews) -> SourceRun | None:
        """Return the run that a message is of; ``None`` if it begins or is not known."""
        if news.begins:
            return None
        return self.current if news.run_id is None else self._named.get(news.run_id)

    def enter(self, news: PositionNews, run: SourceRun) -> None:
        """Note the run of a message as the current one."""
        self.current = run
        if news.run_id is not None:
            run.run_id = news.run_id
            self._named[news.run_id] = run
            if len(self._named) > _MOST_NAMED:
                self._named.popitem(last=False)

    def resume(self, kept: Mapping[str, Any], now: float) -> SourceRun:
        """Return a run that an earlier process knew, from what :meth:`SourceRun.as_plain` gave."""
        run_id = str(kept["run_id"])
        run = self._named.get(run_id)
        if run is None:
            run = SourceRun(now, bool(kept["was_seen_beginning"]), run_id=run_id)
            run.about, run.to_keep = kept["about"], kept["to_keep"]
            run.has_ended, run.samples = bool(kept["has_ended"]), int(kept["samples"])
            self._named[run_id] = run
        self.current = run
        return run


class SourceRuns:
    """Keeps the run that the source is in, and gives each run its scan.

    Parameters
    ----------
    most_apart_s
        A scan that opened longer than this before the source was seen to begin cannot have that run.
    """

    def __init__(self, most_apart_s: float) -> None:
        self._most_apart_s = most_apart_s
        self._runs = _Runs()

    @property
    def _run(self) -> SourceRun | None:
        return self._runs.current

    @property
    def waiting(self) -> SourceRun | None:
        """The run that waits for a scan, if there is one."""
        return self._run if self._run is not None and self._run.scan_id is None else None

    @property
    def scan_id(self) -> str | None:
        """The scan that the source's run belongs to, if it has one."""
        return None if self._run is None else self._run.scan_id

    def take(self, news: PositionNews, scans: Mapping[str, ScanAccount], now: float) -> SourceRun:
        """Enter what the source says; return its run, with its scan if one of the unfinished ``scans`` fits."""
        run = self._runs.find(news)
        if run is None:
            is_early = news.begins and not (news.positions and news.positions[0].index > 0)
            run = self._begin(news, is_early, scans, now)
        elif run is not self._run and run.scan_id is not None and news.positions:
            _come_back(run, scans.get(run.scan_id))
        self._runs.enter(news, run)
        run.take(news)
        if run.scan_id is None:
            self._give(run, scans)
        return run

    def scan_opened(self, scan: ScanAccount, scans: Mapping[str, ScanAccount]) -> None:
        """Give a new scan the run that waits for one, or that of a scan which never had a frame."""
        run = self._run
        if run is None:
            return
        idle = None if run.scan_id is None else scans.get(run.scan_id)
        if idle is not None and idle.received == 0 and idle.source is run:
            scan.positions, idle.positions = idle.positions, scan.positions
            idle.source = None
        elif run.scan_id is not None:
            return
        scan.take_run(run)

    def resume(self, kept: Mapping[str, Any], scan_id: str, scan: ScanAccount | None, now: float) -> None:
        """Give a scan that goes on after a restart its run again; ``scan`` is ``None`` where it is finished."""
        run = self._runs.resume(kept, now)
        run.scan_id = scan_id
        if scan is not None:
            run.positions = scan.positions.beyond
            scan.take_run(run)

    def drop_waiting(self) -> None:
        """Forget a run that waited for its scan in vain."""
        if self.waiting is not None:
            self._runs.current = None

    def _begin(
        self, news: PositionNews, was_seen_beginning: bool, scans: Mapping[str, ScanAccount], now: float
    ) -> SourceRun:
        """Return a new run. A scan that the old one belongs to gets no more positions, unless this one is within that."""
        old, run = self._run, SourceRun(now, was_seen_beginning)
        scan = None if old is None or old.scan_id is None else scans.get(old.scan_id)
        is_within = news.run_id is not None and old is not None and old.goes_on
        if old is not None and scan is not None and not is_within:
            if scan.paired == 0:  # it began twice, or what was there was left from before
                scan.take_run(run)
                scan.positions = PositionTable(scan.positions.max_bytes)
            elif scan.ended_at is None:
                scan.source_began_anew = True
        return run

    def _give(self, run: SourceRun, scans: Mapping[str, ScanAccount]) -> None:
        """Give a run the scan without one that opened nearest to its beginning.

        One that had ended a while before is out of the question, and so is one that took frames for long before the
        source was seen to begin: its first frames are not those of this run.
        """
        candidates = []
        for scan in scans.values():
            is_over = scan.ended_at is not None and run.began_at - scan.ended_at > _LATE_START_S
            is_old = run.was_seen_beginning and run.began_at - scan.opened_at > self._most_apart_s
            if scan.source is None and not is_over and not is_old:
                candidates.append(scan)
        if candidates:
            scan = min(candidates, key=lambda scan: abs(scan.opened_at - run.began_at))
            scan.take_run(run)


def _come_back(run: SourceRun, scan: ScanAccount | None) -> None:
    """Give a run that goes on its scan again; what a run within it left there, before any frame had its position, goes."""
    if scan is not None and scan.source is not run:
        if scan.paired == 0:
            scan.positions = PositionTable(scan.positions.max_bytes)
        scan.take_run(run)


class Announcements:
    """What the control system says of its runs: which scans belong to one, and whether it has ended.

    Parameters
    ----------
    most_apart_s
        A run belongs to a scan that opened at most so long before it was announced, and to all that open until it ends.
    """

    def __init__(self, most_apart_s: float) -> None:
        self._most_apart_s = most_apart_s
        self._runs = _Runs()
        self._unknown_ends: OrderedDict[str, PositionNews] = OrderedDict()

    def take(self, news: PositionNews, scans: Mapping[str, ScanAccount], now: float) -> None:
        """Enter what a message says."""
        run = self._runs.find(news)
        if news.begins:
            run = SourceRun(now, True)
            for scan in scans.values():
                if scan.ended_at is None and scan.announced is None and now - scan.opened_at <= self._most_apart_s:
                    scan.announced = run
        if run is not None:
            self._runs.enter(news, run)
            run.take(news)
        elif news.ends and news.run_id is not None:
            self._unknown_ends[news.run_id] = news
            if len(self._unknown_ends) > _MOST_NAMED:
                self._unknown_ends.popitem(last=False)

    def resume(self, kept: Mapping[str, Any], scan: ScanAccount | None, now: float) -> None:
        """Give a scan that goes on after a restart its run again, which may have ended meanwhile."""
        run = self._runs.resume(kept, now)
        if scan is not None:
            scan.announced = run
        if (news := self._unknown_ends.pop(str(run.run_id), None)) is not None:
            run.take(news)

    def scan_opened(self, scan: ScanAccount) -> None:
        """Give a new scan the run that goes on."""
        run = self._runs.current
        if run is not None and not run.has_ended:
            scan.announced = run
