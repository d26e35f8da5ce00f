"""All workers of a daemon: what waits for them, their status, their metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daemon.cluster.answers import Answers
from daemon.cluster.link import BATCH_FRAMES, WorkerLink, WorkerState, alike
from daemon.cluster.metrics import WithWorkers
from daemon.cluster.open_scans import OpenClusterScans
from daemon.cluster.parts import WaitingPart
from daemon.engine.backlog import Backlog, EndOfScan, LostPoint, Store
from daemon.messages import WorkerStatus
from daemon.metrics import Metrics
from ptychopinn.detector.geometry import to_amplitude
from streams.frame import ScanPoint


class WorkerGroup:
    """The ends of the workers; ``last`` is the frame sent last. Status and metrics are safe from any thread."""

    def __init__(
        self, actors: Sequence[Any], queue_bytes: int, scans: OpenClusterScans, *, store: Store, metrics: Metrics
    ) -> None:
        share = queue_bytes // max(1, 2 * len(actors))
        self.links = [
            WorkerLink(
                number,
                actor,
                Backlog(share, partial(_to_stitch, scans, number), store),
                Backlog(share, partial(_to_help, scans, number), store),
            )
            for number, actor in enumerate(actors)
        ]
        self._scans = scans
        self._metrics = metrics
        self.last: ScanPoint | None = None

    def __iter__(self) -> Iterator[WorkerLink]:
        return iter(self.links)

    @property
    def last_pattern(self) -> tuple[str, int, NDArray[np.float32]] | None:
        """Scan, index and amplitudes ``(N, N)`` of the frame sent last."""
        last = self.last
        return None if last is None else (last.scan_id, last.index, to_amplitude(last.counts[None])[0])

    @property
    def waiting(self) -> tuple[int, int]:
        """Frames that wait for a worker, and how many of them have to be read back from the disk."""
        return sum(len(link.backlog) for link in self.links), sum(link.backlog.on_disk for link in self.links)

    @property
    def age_s(self) -> float:
        """How long the oldest of them has waited, s."""
        return max(link.backlog.age_s for link in self.links)

    @property
    def are_running(self) -> bool:
        """Whether all workers take frames."""
        return all(link.state is WorkerState.RUNNING for link in self.links)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is in flight."""
        return not any(len(link.backlog) or len(link.halo) or link.in_flight for link in self.links)

    def forget(self, scan_id: str) -> int:
        """Drop what waits of a scan; return the number of its frames that are not done."""
        flying = sum(
            len(one.points)
            for link in self.links
            for one in link.in_flight
            if one.scan_id == scan_id and not one.is_halo
        )
        for link in self.links:
            link.halo.forget(scan_id)
        return flying + sum(link.backlog.forget(scan_id) for link in self.links)

    def give_out(self, link: WorkerLink, answers: Answers, *, at_once: bool) -> None:
        """Send what waits for a worker, as far as it may get more: the frames of its region before those of its halo."""
        items = link.batch(link.backlog, at_once=at_once)
        self._send(link, items, is_halo=False)
        for item in items:
            scan = None if isinstance(item, ScanPoint) else self._scans.get(item.scan_id)
            if scan is not None and isinstance(item, EndOfScan):
                scan.parts[link.number].is_all_sent = True
            elif scan is not None and isinstance(item, LostPoint):
                answers.refuse(scan, link.number, item.index, item.reason)
        if len(link.backlog) >= BATCH_FRAMES:
            return
        items = link.batch(link.halo, at_once=at_once)
        self._send(link, items, is_halo=True)
        for item in items:
            if isinstance(item, EndOfScan) and (scan := self._scans.get(item.scan_id)) is not None:
                scan.parts[link.number].is_halo_sent = True

    def _send(self, link: WorkerLink, items: Sequence[Any], *, is_halo: bool) -> None:
        points = [item for item in items if isinstance(item, ScanPoint)]
        for same in alike(points):
            scan = self._scans.get(same[0].scan_id)
            if scan is not None:
                part = scan.parts[link.number]
                (part.halo if is_halo else part.sent).add(same)
                link.send(same, scan.pixel_size_m, is_halo=is_halo)
                self.last = self.last if is_halo else same[-1]

    def ask_changes(self, link: WorkerLink) -> None:
        """Ask a worker for changed tiles, unless an answer is awaited; tell it by how much its probes are to change."""
        if link.state is not WorkerState.RUNNING or link.awaits_changes:
            return
        for scan in self._scans:
            scan.parts[link.number].note_asked()
        changes = {scan.scan_id: scan.refined.probe.change(link.number) for scan in self._scans}
        link.ask_changes({scan_id: change for scan_id, change in changes.items() if change is not None})

    def status(self) -> list[WorkerStatus]:
        """Return the status of each worker."""
        return [link.status() for link in self.links]

    def troubles(self) -> list[str]:
        """Return one sentence, without its full stop, about each worker that was lost and has not begun again."""
        lost = [link for link in self.links if link.state is WorkerState.RESTARTING]
        return [
            f"worker {link.number} of the cluster was lost ({link.failure}); Ray starts it again, and its frames wait"
            for link in lost
        ]

    def exposed(self) -> WithWorkers:
        """Return the metrics with those of the workers' engines."""
        for one in self.status():
            number, age_s = str(one["worker"]), one["tiles_age_s"]
            self._metrics.worker_up.labels(number).set(one["state"] == WorkerState.RUNNING)
            self._metrics.worker_restarts.labels(number).set(one["restarts"])
            self._metrics.worker_frames_stitched.labels(number).set(one["frames_stitched"])
            self._metrics.worker_frames_waiting.labels(number).set(one["frames_waiting"] + one["frames_in_flight"])
            if age_s is not None:
                self._metrics.worker_tiles_age.labels(number).set(age_s)
        return WithWorkers(self._metrics.registry, [(link.number, link.metrics) for link in self.links])

    def measure(self) -> None:
        """Set the metrics of the queue."""
        waiting, on_disk = self.waiting
        self._metrics.queue_depth.labels("engine").set(waiting)
        self._metrics.queue_bytes.labels("engine").set(sum(link.backlog.bytes for link in self.links))
        self._metrics.backlog_frames.set(on_disk)


def _to_stitch(scans: OpenClusterScans, worker: int, scan_id: str) -> WaitingPart:
    return scans.of(scan_id).parts[worker].stitching


def _to_help(scans: OpenClusterScans, worker: int, scan_id: str) -> WaitingPart:
    return scans.of(scan_id).parts[worker].helping
