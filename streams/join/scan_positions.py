"""The positions of one scan, the runs they belong to, and the faults noticed in them."""

from __future__ import annotations

from typing import Final

from streams.frame import Position
from streams.join.index_tables import PositionTable
from streams.join.source_run import KeptRuns, SourceRun
from streams.join.timing import TimeCheck

__all__ = ["ScanPositions"]


class ScanPositions:
    """Only its own methods change it.

    ``table`` holds the positions by frame index. ``source`` is the run that sends them, ``announced`` the run that the
    control system announced.
    """

    __slots__ = (
        "_announced",
        "_beyond_limit",
        "_conflicts",
        "_first_refusal",
        "_messages_refused",
        "_scan_id",
        "_source",
        "_source_restarted",
        "_timing",
        "_was_numbered_again",
        "table",
    )

    def __init__(self, scan_id: str) -> None:
        self.table: Final = PositionTable(0)
        self._scan_id = scan_id
        self._source: SourceRun | None = None
        self._announced: SourceRun | None = None
        self._timing = TimeCheck()
        self._source_restarted = self._was_numbered_again = False
        self._conflicts = self._beyond_limit = self._messages_refused = 0
        self._first_refusal: str | None = None

    @property
    def source(self) -> SourceRun | None:
        """The run of the position source that belongs to the scan."""
        return self._source

    @property
    def announced(self) -> SourceRun | None:
        """The run that the control system announced for the scan."""
        return self._announced

    @property
    def timing(self) -> TimeCheck:
        """The comparison of the frames' and positions' times."""
        return self._timing

    @property
    def source_restarted(self) -> bool:
        """Whether the source started another run during the scan; its positions are not for this scan."""
        return self._source_restarted

    @property
    def conflicts(self) -> int:
        """Positions that came again with another value."""
        return self._conflicts

    @property
    def beyond_limit(self) -> int:
        """Positions for which the table had no room."""
        return self._beyond_limit

    @property
    def messages_refused(self) -> int:
        """Messages of the position source that could not be read."""
        return self._messages_refused

    @property
    def first_refusal(self) -> str | None:
        """The fault of the first message that could not be read."""
        return self._first_refusal

    @property
    def about(self) -> dict[str, object] | None:
        """The control system's description of the run; ``None`` if there is none."""
        runs = (self._announced, self._source)
        return next((run.about for run in runs if run is not None and run.about is not None), None)

    def start_with(self, early: PositionTable) -> None:
        """Take the positions that came before the scan opened; ``early`` must not be used afterwards."""
        self.table.exchange(early)

    def put(self, position: Position) -> bool:
        """Enter a position; False if there is no room for it."""
        known, new = self.table.get(position.index), position.position_m
        if known is not None and known != new and known.is_place and new.is_place:
            self._conflicts += 1
        if self.table.put(position.index, new, position.light):
            return True
        self._beyond_limit += 1
        return False

    def restarts_numbering(self, index: int) -> bool:
        """Whether a source without scan names has started again: it sends an index that is known already. Stays true."""
        self._was_numbered_again = self._was_numbered_again or self.table.get(index) is not None
        return self._was_numbered_again

    def refuse_message(self, sentence: str) -> None:
        """Count a message of the position source that could not be read."""
        self._messages_refused += 1
        self._first_refusal = self._first_refusal or sentence

    def take_source(self, run: SourceRun) -> None:
        """Take the run of the position source that belongs to the scan."""
        run.assign(self._scan_id)
        run.timing.take_frames(self._timing)
        self._source, self._timing = run, run.timing

    def restart_with(self, run: SourceRun) -> None:
        """Take another run, and drop the positions of the one before."""
        self.take_source(run)
        self.table.clear()

    def inherit(self, idle: ScanPositions) -> None:
        """Take run and positions of a scan that never had a frame."""
        self.table.exchange(idle.table)
        run, idle._source = idle._source, None
        if run is not None:
            self.take_source(run)

    def resume_source(self, run: SourceRun) -> None:
        """Take the run that the scan had before a restart of this program."""
        run.assign(self._scan_id, self.table.beyond)
        self.take_source(run)

    def note_restart(self) -> None:
        """Note that the source started another run during the scan."""
        self._source_restarted = True

    def announce(self, run: SourceRun) -> None:
        """Take the run that the control system announced."""
        self._announced = run

    def named_runs(self) -> KeptRuns:
        """Return the facts about the named runs that are needed after a restart."""
        kept: KeptRuns = {}
        if self._source is not None and (source := self._source.as_plain()) is not None:
            kept["source"] = source
        if self._announced is not None and (announced := self._announced.as_plain()) is not None:
            kept["announced"] = announced
        return kept

    def drop_table(self) -> None:
        """Free the positions. Only for a finished scan."""
        self.table.clear()
        self.table.bound(0)
