"""The assessor: owns the assessment of the newest scan while the daemon runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from daemon.assessment import Issue, LiveFacts, Reason, ScanFacts
from daemon.assessment.assess import assessment_of, issues_of
from daemon.assessment.reasons import SPOILT
from daemon.engine.face import EngineFace
from daemon.intake.registry import ScanRegistry
from daemon.messages import AssessmentFields, Grade, Phase, Status, StreamStatus
from daemon.results.records import now_text
from daemon.status.sentences import are_all_there
from daemon.status.watchers import STILL_FRAMES, BeamWatch, SilenceWatch, still_frames

ENOUGH_FRAMES = 64
"""Frames from which on the R-factor of a running scan is judged: that of a few patches says little."""


class _Watches:
    """The watchers of one scan."""

    def __init__(self, scan_id: str | None) -> None:
        self.scan_id = scan_id
        self.frames, self.positions, self.beam = SilenceWatch(), SilenceWatch(), BeamWatch()
        self.still = 0


class Assessor:
    """Assesses the newest scan from the status; safe from any thread.

    A reason that must last counts once it has lasted. :meth:`look` is called twice a second.

    Parameters
    ----------
    are_positions_late
        Whether the position source may send only at the end of a scan.
    """

    def __init__(
        self,
        engine: EngineFace,
        scans: ScanRegistry,
        *,
        are_positions_late: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._scans = scans
        self._are_positions_late = are_positions_late
        self._clock = clock
        self._lock = threading.Lock()
        self._watches = _Watches(None)
        self._assessed: str | None = None
        self._seen: dict[str, tuple[float, str]] = {}  # by issue, of that scan: when it was found first

    def look(self, status: Status) -> None:
        """Bring the watchers up to date."""
        with self._lock:
            scan_id = status["scan_id"]
            if scan_id != self._watches.scan_id:
                self._watches = _Watches(scan_id)
            if scan_id is None or status["phase"] != Phase.SCANNING:
                return
            watches, frames, positions = self._watches, status["streams"][0], _positions(status)
            watches.frames.look(frames["messages"], frames["silent_s"])
            if positions is not None:
                watches.positions.look(positions["messages"], positions["silent_s"])
            if (last := self._engine.last_pattern) is not None and last[0] == scan_id:
                watches.beam.look(last[1], last[2])
            path = self._newest_path(scan_id, status["frames_stitched"] or 0)
            watches.still = still_frames(path)

    def assess(self, status: Status, findings: Sequence[str]) -> AssessmentFields:
        """Return the assessment of the newest scan, with the join's ``findings``, and of the daemon."""
        facts, now = self._facts(status, findings), self._clock()
        is_starting = status["phase"] == Phase.STARTING
        issues = issues_of(facts, () if is_starting else status["degraded"])
        with self._lock:
            self._enter(status["scan_id"], issues, now)
            lasting = [issue for issue in issues if self._counts(status, issue, now)]
            since = {issue.name: self._seen[issue.name][1] for issue in issues}
        self._enter_incidents(status, lasting)
        return assessment_of(lasting, facts, is_starting=is_starting, since=lambda issue: since[issue.name])

    def _enter(self, scan_id: str | None, issues: list[Issue], now: float) -> None:
        """Note when each issue was found first; forget those that are over, and those of earlier scans."""
        known = self._seen if scan_id == self._assessed else {}
        self._assessed = scan_id
        self._seen = {issue.name: known.get(issue.name) or (now, now_text()) for issue in issues}

    def _enter_incidents(self, status: Status, issues: list[Issue]) -> None:
        """Enter into the scan's record what stays with it, once for each reason."""
        scan = None if status["scan_id"] is None else self._scans.get(status["scan_id"])
        if scan is None or not scan.is_running:
            return
        for issue in issues:
            if issue.reason in SPOILT and not issue.told:
                sentence = SPOILT[issue.reason].format(frame=status["frames_received"])
                scan.enter_incident({"code": issue.reason.value, "sentence": sentence, "since": now_text()})

    def _counts(self, status: Status, issue: Issue, now: float) -> bool:
        is_settled = status["phase"] != Phase.SCANNING and issue.reason != Reason.DAEMON_FAULT
        first = self._seen[issue.name][0]
        return is_settled or issue.grade == Grade.GOOD or now - first >= issue.reason.holds_s

    def _facts(self, status: Status, findings: Sequence[str]) -> ScanFacts | None:
        scan = None if status["scan_id"] is None else self._scans.get(status["scan_id"])
        if scan is None:
            return None
        record = scan.record
        verdict = record.verdict if record.verdict is not None else status["verdict"]
        known = record.facts(verdict)
        if not known.is_running:
            return known
        notes = [*record.notes, *findings]
        return replace(known, notes=notes, live=self._live(status))

    def _live(self, status: Status) -> LiveFacts:
        frames, positions, watches = status["streams"][0], _positions(status), self._watches
        is_scanning = status["phase"] == Phase.SCANNING
        is_due = is_scanning and not are_all_there(status["verdict"]) and bool(status["frames_received"])
        has_positions = positions is not None and watches.positions.has_spoken
        rfactors = [value for value in status["rfactor"].values() if isinstance(value, float)]
        is_judged = bool(rfactors) and (status["frames_stitched"] or 0) >= ENOUGH_FRAMES
        return LiveFacts(
            are_frames_due=is_due,
            silent_s=frames["silent_s"],
            usual_silence_s=watches.frames.longest_s,
            frames_endpoint=None if frames["connected"] else frames["endpoint"],
            positions_endpoint=None if positions is None or positions["connected"] else positions["endpoint"],
            positions_silent_s=positions["silent_s"] if positions is not None and has_positions else None,
            usual_positions_silence_s=watches.positions.longest_s,
            overtaken=status["frames_overtaken"] or 0,
            waiting_for_positions=status["waiting_for_positions"],
            are_positions_late=self._are_positions_late,
            beam_share=watches.beam.share if is_scanning else None,
            still_frames=watches.still if is_scanning else 0,
            waiting_frames=status["backlog_frames"] if status["is_behind"] else 0,
            waiting_s=status["backlog_age_s"],
            rfactor=min(rfactors) if is_judged else None,
        )

    def _newest_path(self, scan_id: str, stitched: int) -> list[tuple[float, float]]:
        """Return the positions of the newest frames, in pixels."""
        after = max(0, stitched - STILL_FRAMES - 1)
        return self._engine.path_px(scan_id, after, 2 * STILL_FRAMES) or []


def _positions(status: Status) -> StreamStatus | None:
    return next((stream for stream in status["streams"] if stream["name"] == "positions"), None)
