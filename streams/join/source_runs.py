"""Assigns the runs of a position source to scans, for sources that do not know the detector's scan names.

A run lasts from one arming of the source to the next. A run belongs to one scan, and a scan has one run: positions that a
source sends after it started again are never used for frames of the scan before, nor the other way round.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from streams.frame import PositionNews
from streams.join.account import ScanAccount
from streams.join.source_run import KeptRun, SourceRun

__all__ = ["AnnouncedRuns", "SourceRuns", "scan_of"]

_LATE_START_S = 2.0
"""A source may start this long after its scan ended: the end message of a short scan overtakes the source's first one."""
_MOST_NAMED = 32
"""Named runs kept; runs lie within one another at most a few deep."""


def scan_of(run: SourceRun, scans: Sequence[ScanAccount]) -> ScanAccount | None:
    """Return the scan of a run, if it is one of these."""
    return next((scan for scan in scans if scan.scan_id == run.scan_id), None)


class _RunTable:
    """The run that a source is in, and named runs that it may return to."""

    def __init__(self) -> None:
        self.current: SourceRun | None = None
        self._named: OrderedDict[str, SourceRun] = OrderedDict()

    def find(self, news: PositionNews) -> SourceRun | None:
        """Return the run of a message; ``None`` if it begins with this message or is not known."""
        if news.begins:
            return None
        return self.current if news.run_id is None else self._named.get(news.run_id)

    def enter(self, news: PositionNews, run: SourceRun) -> None:
        """Make the run of a message the current one."""
        self.current = run
        if news.run_id is not None:
            run.name(news.run_id)
            self._named[news.run_id] = run
            if len(self._named) > _MOST_NAMED:
                self._named.popitem(last=False)

    def resume(self, kept: KeptRun, now: float) -> SourceRun:
        """Make a run of an earlier process the current one."""
        run = self._named.setdefault(str(kept["run_id"]), SourceRun.resumed(kept, now))
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
        self._runs = _RunTable()

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

    def take(self, news: PositionNews, scans: Sequence[ScanAccount], now: float) -> SourceRun:
        """Enter a message of the source; return its run, with its scan if one of the unfinished ``scans`` fits."""
        run = self._runs.find(news)
        if run is None:
            is_early = news.begins and not (news.positions and news.positions[0].index > 0)
            run = self._begin(news, is_early, scans, now)
        elif run is not self._run and run.scan_id is not None and news.positions:
            _return_to(run, scan_of(run, scans))
        self._runs.enter(news, run)
        run.take(news)
        if run.scan_id is None:
            self._assign(run, scans)
        return run

    def scan_opened(self, scan: ScanAccount, scans: Sequence[ScanAccount]) -> None:
        """Give a new scan the run that waits for one, or the run of a scan that never had a frame."""
        run = self._run
        if run is None:
            return
        idle = scan_of(run, scans)
        if idle is not None and idle.received == 0 and idle.positions.source is run:
            scan.positions.inherit(idle.positions)
        elif run.scan_id is None:
            scan.positions.take_source(run)

    def resume(self, kept: KeptRun, scan_id: str, scan: ScanAccount | None, now: float) -> None:
        """Give a scan that continues after a restart its run; ``scan`` is ``None`` if it is finished."""
        run = self._runs.resume(kept, now)
        if scan is None:
            run.assign(scan_id)
        else:
            scan.positions.resume_source(run)

    def drop_waiting(self) -> None:
        """Forget a run whose scan never opened."""
        if self.waiting is not None:
            self._runs.current = None

    def _begin(
        self, news: PositionNews, was_seen_beginning: bool, scans: Sequence[ScanAccount], now: float
    ) -> SourceRun:
        """Return a new run. The old run's scan gets no more positions, unless the new run lies within the old one."""
        old, run = self._run, SourceRun(now, was_seen_beginning)
        scan = None if old is None else scan_of(old, scans)
        is_within = news.run_id is not None and old is not None and old.may_enclose_another
        if old is not None and scan is not None and not is_within:
            if scan.past_waiting == 0:  # the source began twice, or its positions were left over from before
                scan.positions.restart_with(run)
            elif scan.ended_at is None:
                scan.positions.note_restart()
        return run

    def _assign(self, run: SourceRun, scans: Sequence[ScanAccount]) -> None:
        """Give a run the scan that opened nearest to its beginning and has no run.

        Not a scan that had ended well before, nor one that took frames for long before the source was seen to begin: the
        first frames of that scan do not belong to this run.
        """
        candidates = []
        for scan in scans:
            is_over = scan.ended_at is not None and run.began_at - scan.ended_at > _LATE_START_S
            is_old = run.was_seen_beginning and run.began_at - scan.opened_at > self._most_apart_s
            if scan.positions.source is None and not is_over and not is_old:
                candidates.append(scan)
        if candidates:
            scan = min(candidates, key=lambda scan: abs(scan.opened_at - run.began_at))
            scan.positions.take_source(run)


def _return_to(run: SourceRun, scan: ScanAccount | None) -> None:
    """Give a run that continues its scan again; drop positions of a run within it that no frame has used."""
    if scan is not None and scan.positions.source is not run:
        if scan.past_waiting == 0:
            scan.positions.restart_with(run)
        else:
            scan.positions.take_source(run)


class AnnouncedRuns:
    """The runs that the control system announces: which scans belong to each, and whether it has ended.

    Parameters
    ----------
    most_apart_s
        A run belongs to the scans that opened at most this long before it was announced, and to all that open until it
        ends.
    """

    def __init__(self, most_apart_s: float) -> None:
        self._most_apart_s = most_apart_s
        self._runs = _RunTable()
        self._unknown_ends: OrderedDict[str, PositionNews] = OrderedDict()

    def take(self, news: PositionNews, scans: Sequence[ScanAccount], now: float) -> None:
        """Enter a message of the control system."""
        run = self._runs.find(news)
        if news.begins:
            run = SourceRun(now, True)
            for scan in scans:
                is_near = scan.ended_at is None and now - scan.opened_at <= self._most_apart_s
                if is_near and scan.positions.announced is None:
                    scan.positions.announce(run)
        if run is not None:
            self._runs.enter(news, run)
            run.take(news)
        elif news.ends and news.run_id is not None:
            self._unknown_ends[news.run_id] = news
            if len(self._unknown_ends) > _MOST_NAMED:
                self._unknown_ends.popitem(last=False)

    def resume(self, kept: KeptRun, scan: ScanAccount | None, now: float) -> None:
        """Give a scan that continues after a restart its run, which may have ended meanwhile."""
        run = self._runs.resume(kept, now)
        if scan is not None:
            scan.positions.announce(run)
        if (news := self._unknown_ends.pop(str(run.run_id), None)) is not None:
            run.take(news)

    def scan_opened(self, scan: ScanAccount) -> None:
        """Give a new scan the current run, if it has not ended."""
        run = self._runs.current
        if run is not None and not run.has_ended:
            scan.positions.announce(run)
