"""Answers of the workers: the account of frames, tiles, ended parts, and the loss of a worker."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any

from daemon.cluster.faults import one_line
from daemon.cluster.learner_feed import LearnerFeed
from daemon.cluster.link import MOST_FRAMES, Asked, Call, WorkerLink, WorkerState
from daemon.cluster.open_scans import OpenClusterScans
from daemon.cluster.plan import BatchDone, Changes, PartResult
from daemon.cluster.scan import ClusterScan
from daemon.engine.backlog import EndOfScan, LostPoint
from daemon.engine.ports import EngineEvents
from daemon.errors import DaemonError
from daemon.metrics import Metrics
from streams.frame import ScanPoint
from streams.refusal_reasons import RefusalReason

BUSY_WAIT_S, IDLE_WAIT_S = 0.01, 0.1
"""Longest wait for an answer while a scan is open, and otherwise, s: frames that came meanwhile wait as long."""

ENDED = "its process has ended, or its machine cannot be reached"
MOST_FAULTS = 3
"""Errors in a row without a batch that was done, after which the frames in flight are refused: they are the cause."""
MOST_LOSSES = 12
"""The same for processes that ended: other causes are likelier, such as a machine that is short of memory."""

log = logging.getLogger(__name__)


class Answers:
    """Used by the cluster's thread alone; ``failure`` is read by others too."""

    def __init__(
        self,
        ray: Any,
        metrics: Metrics,
        events: EngineEvents,
        scans: OpenClusterScans,
    ) -> None:
        self._ray = ray
        self._metrics = metrics
        self._events = events
        self._scans = scans
        self.feed: LearnerFeed | None = None
        """Takes a sample of stitched frames to the fine-tuning."""
        self.failure: str | None = None
        self.use_fault: str | None = None
        """The reason why a worker could not use another model; it goes on with the one before."""
        self.beginning_fault: str | None = None
        """The reason why a worker could not begin the first time."""

    def count(self, words: str) -> None:
        """Count a fault and keep its words."""
        self.failure = words
        self._metrics.stage_failures.labels("engine").inc()

    def wait(self, links: Sequence[WorkerLink], wake: threading.Event, *, is_busy: bool) -> None:
        """Wait for an answer or for frames, not long."""
        references = [reference for link in links for reference in link.asked]
        if references:
            self._ray.wait(references, num_returns=1, timeout=BUSY_WAIT_S if is_busy else 0.0)
        if not is_busy:
            wake.wait(IDLE_WAIT_S)
        wake.clear()

    def take(self, links: Sequence[WorkerLink]) -> None:
        """Take the answers that are there."""
        owners = {reference: link for link in links for reference in link.asked}
        if not owners:
            return
        ready, _ = self._ray.wait(list(owners), num_returns=len(owners), timeout=0.0)
        for reference in ready:
            link = owners[reference]
            if (asked := link.asked.get(reference)) is not None:
                self._take_one(link, reference, asked)

    def _take_one(self, link: WorkerLink, reference: Any, asked: Asked) -> None:
        try:
            answer = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as fault:
            cause = fault if fault.cause is None else fault.cause
            if asked.call is Call.USE and not isinstance(cause, DaemonError):
                del link.asked[reference]
                self.use_fault = str(cause) or one_line(cause)
                return
            if asked.call is Call.BEGIN and link.facts is None:
                self.beginning_fault = str(cause) or one_line(cause)
            self.lose(link, str(cause) or one_line(cause), most=MOST_FAULTS)
            return
        except (self._ray.exceptions.RayError, ConnectionError) as fault:
            log.debug("worker %d: %s", link.number, one_line(fault))
            self.lose(link, ENDED, most=MOST_LOSSES)
            return
        del link.asked[reference]
        if asked.call is Call.BEGIN:
            link.note_begun(answer)
            link.generation = asked.generation
            log.info("worker %d runs on %s, device %s", link.number, answer.host, answer.device)
        elif asked.call is Call.USE:
            link.generation = asked.generation
        elif asked.call is Call.TAKE:
            self._take_batch(link, asked, answer)
        elif asked.call is Call.CHANGES:
            self._take_changes(link, answer)
        else:
            self._take_result(link, asked.scan_id, answer)

    def _take_batch(self, link: WorkerLink, asked: Asked, done: BatchDone) -> None:
        link.losses_in_row = 0
        scan = self._scans.get(asked.scan_id)
        if scan is None or asked.is_halo:
            return
        stitched = set(done.stitched)
        points = [point for point in asked.points if point.index in stitched]
        if new := scan.mark_stitched(points):
            link.frames_stitched += len(new)
            fresh = set(new)
            scan.parts[link.number].stitched_ns.extend(p.received_ns for p in points if p.index in fresh)
            self._events.on_stitched(scan.scan_id, new)
            self._look_at(scan, [point for point in points if point.index in fresh])
        scan.note_answered(link.number, len(points))
        for index, reason in done.refused.items():
            self.refuse(scan, link.number, index, reason)
        scan.show_redone(link.number)

    def _look_at(self, scan: ClusterScan, points: Sequence[ScanPoint]) -> None:
        """Let the diagnosis and the fine-tuning have frames that were stitched."""
        scan.examining.sample.add(points)
        if self.feed is not None:
            self.feed.offer(scan, points)

    def refuse(self, scan: ClusterScan, worker: int, index: int, reason: RefusalReason) -> None:
        """Close the account of a frame that a worker could not stitch; one that was stitched before is missed now."""
        scan.note_answered(worker, 1)
        if scan.is_stitched(index):
            self.count(f"scan {scan.scan_id}: frame {index} could not be stitched again by worker {worker} ({reason})")
        else:
            self._events.on_refused(scan.scan_id, index, reason)
        scan.show_redone(worker)

    def _take_changes(self, link: WorkerLink, changes: Changes) -> None:
        for update in changes.sums:
            if (scan := self._scans.get(update.scan_id)) is not None:
                scan.take_sums(link.number, update)
        for news in changes.refined:
            if (scan := self._scans.get(news.scan_id)) is not None:
                scan.take_refined(link.number, news)
        link.sequence = changes.sequence
        link.note_told(bool(changes.sums or changes.refined))
        if changes.metrics:
            link.metrics = changes.metrics
        if changes.failure is not None and changes.failure != link.failure:
            self.failure = f"worker {link.number}: {changes.failure}"
        link.failure = changes.failure
        for scan in self._scans:
            scan.note_shown(link.number)

    def _take_result(self, link: WorkerLink, scan_id: str, result: PartResult) -> None:
        if (scan := self._scans.get(scan_id)) is not None:
            scan.parts[link.number].result = result

    def finish(self, links: Sequence[WorkerLink]) -> None:
        """Tell workers that a scan has ended, once all its frames are done; note those that have told its last tiles."""
        for scan in self._scans:
            if scan.is_ended and all(_has_done_all(scan, link) for link in links):
                for link in links:
                    self._finish_part(scan, link)

    def _finish_part(self, scan: ClusterScan, link: WorkerLink) -> None:
        part = scan.parts[link.number]
        if part.is_done:
            return
        if part.is_empty:
            part.is_done = True
        elif not part.is_asked:
            part.is_asked = True
            link.ask_to_finish(scan.scan_id)
        elif part.result is not None and link.sequence >= part.result.sequence:
            scan.show_redone(link.number, is_last=True)
            part.is_done = True

    def give_away(self, link: WorkerLink, links: Sequence[WorkerLink]) -> None:
        """Give the frames of a worker that does not come back to the others."""
        for scan in self._scans:
            if not scan.parts[link.number].is_done:
                scan.retire(link.number)
        for item in link.backlog.take(MOST_FRAMES, 0.0):
            scan_or_none = self._scans.get(item.scan_id)
            if scan_or_none is None:
                continue
            if isinstance(item, ScanPoint):
                self._give(scan_or_none, item, links)
            elif isinstance(item, LostPoint):
                self.refuse(scan_or_none, link.number, item.index, item.reason)
            else:
                scan_or_none.parts[link.number].is_all_sent = True
        for item in link.halo.take(MOST_FRAMES, 0.0):
            if isinstance(item, EndOfScan) and (scan_or_none := self._scans.get(item.scan_id)) is not None:
                scan_or_none.parts[link.number].is_halo_sent = True

    def _give(self, scan: ClusterScan, point: ScanPoint, links: Sequence[WorkerLink]) -> None:
        """Give a frame to another worker; one that has ended the scan already begins it again."""
        shares = scan.given_out([point])
        for owner in {**shares.frames, **shares.halos}:
            part, other = scan.parts[owner], links[owner]
            if part.is_asked:
                part.is_done = False
                self.lose(other, "a scan goes on", is_planned=True)
            part.is_all_sent = part.is_halo_sent = False
            other.backlog.put(shares.frames.get(owner, ()))
            other.halo.put(shares.halos.get(owner, ()))
            if scan.is_ended:
                other.finish(scan.scan_id)

    def lose(
        self,
        link: WorkerLink,
        reason: str,
        *,
        most: int = MOST_LOSSES,
        is_planned: bool = False,
        begins_all: bool = False,
    ) -> None:
        """Take back the frames of a worker whose engine is gone, and have them done again from the journal.

        ``begins_all``: also those of its parts of open scans that are done.
        """
        had_begun = link.state is WorkerState.RUNNING
        lost = link.note_lost(reason, is_planned=is_planned)
        if not is_planned and had_begun:
            log.warning("worker %d is lost (%s); its frames are read from the journal once more", link.number, reason)
            self.count(f"worker {link.number} was lost and is started again: {reason}")
        refused: set[tuple[str, int]] = set()
        in_flight = [asked for asked in lost if asked.call is Call.TAKE]
        if in_flight and not is_planned:
            link.losses_in_row += 1
            if link.losses_in_row >= most:
                refused = {(asked.scan_id, p.index) for asked in in_flight for p in asked.points if not asked.is_halo}
                link.losses_in_row = 0
        for scan in self._scans:
            part = scan.parts[link.number]
            if part.is_done and not (begins_all and not part.is_empty):
                continue
            part.is_done = False
            frames, halo = scan.begin_again(link.number)
            for scan_id, index in refused:
                if scan_id == scan.scan_id:
                    self.refuse(scan, link.number, index, RefusalReason.ENGINE_ERROR)
            link.backlog.put(point for point in frames if (scan.scan_id, point.index) not in refused)
            link.halo.put(halo)
            if scan.is_ended:
                link.finish(scan.scan_id)


def _has_done_all(scan: ClusterScan, link: WorkerLink) -> bool:
    """Whether a worker has done all frames of an ended scan; a lost one that had none holds nobody up."""
    part = scan.parts[link.number]
    is_without = part.is_empty and not len(link.backlog) and not len(link.halo)
    are_sent = part.is_all_sent and part.is_halo_sent
    return part.is_done or ((are_sent or is_without) and not link.has_frames_of(scan.scan_id))
