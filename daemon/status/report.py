"""The status report, over HTTP and in ``status`` messages: the ``DaemonView`` of the publisher."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from daemon.background.learning import Generations
from daemon.engine.backlog import BEHIND_S
from daemon.engine.face import EngineFace
from daemon.intake.registry import ScanRegistry
from daemon.intake.thread import Intake
from daemon.journal import Journal
from daemon.messages import (
    AssessmentFields,
    DaemonState,
    DiagnosisStatus,
    Grade,
    JournalStatus,
    LayerName,
    ModelEntry,
    ModelStatus,
    Paused,
    Phase,
    Readiness,
    ScanFields,
    SinkStatus,
    Status,
    StreamStatus,
    WorkerStatus,
)
from daemon.metrics import Metrics
from daemon.results.records import ScanRecord, is_inside
from daemon.setup import Setup
from daemon.status.assessor import Assessor
from daemon.status.health import Health
from daemon.status.sentences import account_sentence, situation
from daemon.version import VERSION
from ptychopinn.errors import FileFormatError
from ptychopinn.model.bundle import bundle_files, read_bundle
from streams.sockets.receiver import MessageReceiver

NOT_ASSESSED: AssessmentFields = {
    "grade": Grade.GOOD,
    "reason": "",
    "action": "",
    "code": "",
    "is_rfactor_meaningful": True,
    "notes": [],
}
"""Stands in a status until it is assessed, which takes the rest of it."""

RATE_UPDATES = 4
"""Updates that a rate is taken over: two seconds."""


class StatusReport:
    """Reads the parts; every call is quick and safe from any thread."""

    def __init__(
        self,
        *,
        setup: Setup,
        metrics: Metrics,
        scans: ScanRegistry,
        intake: Intake,
        engine: EngineFace,
        generations: Generations,
        receivers: Sequence[MessageReceiver],
        journal: Journal | None,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._setup = setup
        self._metrics = metrics
        self._scans = scans
        self._intake = intake
        self._engine = engine
        self._generations = generations
        self._receivers = receivers
        self._is_stopping = is_stopping
        self._journal = journal
        self._rates = _Rates()
        self._assessor = Assessor(engine, scans, are_positions_late=setup.are_positions_late)
        self.health: Health
        self.viewers: Callable[[], int] = lambda: 0
        self.sinks: Callable[[], list[SinkStatus]] = list
        self.workers: Callable[[], list[WorkerStatus]] = list
        self.diagnosis: Callable[[], DiagnosisStatus]
        self.viewer_handshake_failures: Callable[[], int] = lambda: 0

    def readiness(self) -> Readiness:
        """Return whether frames would be reconstructed now: sockets open, engine warm and alive, disk writable."""
        parts: Readiness = {
            "ready": False,
            "subscribed": all(receiver.is_alive for receiver in self._receivers),
            "warm": self._engine.warm.is_set(),
            "engine": self._engine.is_alive,
            "output": self._setup.is_output_writable(),
            "stopping": self._is_stopping(),
            "dead": self.health.dead(),
            "hanging": self.health.hanging(),
            "degraded": self.health.troubles(),
        }
        works = parts["subscribed"] and parts["warm"] and parts["engine"] and parts["output"]
        parts["ready"] = works and not parts["stopping"] and self.health.is_alive
        return parts

    def status(self) -> Status:
        """Return the status of the daemon and of the newest scan."""
        scan = self._scans.newest
        record = None if scan is None else scan.record
        verdict = None if scan is None else self._scans.public(scan)["verdict"]
        unfinished = self._scans.running()
        phase, troubles = self._phase(record, unfinished), self.health.troubles()
        model = self._engine.active
        findings = self._scans.recent_findings()
        (waiting, on_disk), age_s = self._engine.backlog, self._engine.backlog_age_s
        pixel_size_m = None if record is None else self._engine.pixel_size_m(record.id)
        frc = None if record is None else self._engine.frc(record.id) or record.frc
        is_degraded = troubles and phase not in (Phase.STARTING, Phase.STOPPING)
        status: Status = {
            "state": DaemonState.DEGRADED if is_degraded else DaemonState(phase),
            "phase": phase,
            "degraded": troubles,
            "scan_id": None if record is None else record.id,
            "scan_state": None if record is None else record.state,
            "frames_received": None if verdict is None else verdict["received"],
            "frames_stitched": None if verdict is None else verdict["stitched"],
            "frames_pending": None if verdict is None else verdict["pending"],
            "frames_overtaken": None if scan is None or not scan.is_open else self._scans.overtaken(scan.id),
            "expected_frames": None if verdict is None else verdict["expected"],
            "scans_unfinished": unfinished,
            "backlog_frames": waiting,
            "backlog_on_disk": on_disk,
            "backlog_age_s": age_s,
            "is_behind": on_disk > 0 or age_s > BEHIND_S,
            "journal": self._journal_status(),
            "waiting_for_positions": self._scans.join.waiting_frames,
            "positions_ignored": self._scans.join.positions_ignored,
            "waiting_for_center": self._intake.held_frames,
            "center_px": None if record is None else record.center_px,
            "center_from": None if record is None else record.center_from,
            "masked_pixels": None if record is None else record.masked_pixels,
            "notes": _notes(record, findings),
            "receive_rate_hz": self._rates.received_hz,
            "stitch_rate_hz": self._rates.stitched_hz,
            "latency_s": self._engine.latency_s,
            "rfactor": {"network": self._rfactor("network"), "refined": self._rfactor("refined")},
            "expected_correlation": self._metrics.value("ptycholive_expected_correlation", layer="refined"),
            "position_error_px": None if record is None else record.position_error_px,
            "planned_box_m": self._setup.planned_box_m(pixel_size_m),
            "frc_nm": None if frc is None else frc["frc_nm"],
            "frc": frc,
            "verdict": verdict,
            "assessment": NOT_ASSESSED,
            "account": None,
            "streams": [self._stream_status(receiver) for receiver in self._receivers],
            "model": {"name": model.name, "generation": model.generation},
            "device": str(self._setup.device),
            "finetune": self._generations.status(),
            "diagnosis": self.diagnosis(),
            "refine_updates": self._metrics.value("ptycholive_refine_updates_total"),
            "subscribers": self.viewers(),
            "sinks": self.sinks(),
            "workers": self.workers(),
            "failure": self._engine.failure or self._intake.refusals.last,
            "version": VERSION,
            "sentence": "",
        }
        status["account"] = None if verdict is None else account_sentence(status)
        own = [] if record is None else findings.get(record.id, [])
        status["assessment"] = self._assessor.assess(status, own)
        if not status["assessment"]["is_rfactor_meaningful"]:
            status["expected_correlation"] = None
        status["sentence"] = situation(status)
        return status

    def _rfactor(self, layer: LayerName) -> float | None:
        return self._metrics.value("ptycholive_rfactor", layer=layer)

    def tick(self) -> Status:
        """Update the rates, the watchers of the assessment, and the metrics that no other part sets; return the status."""
        stitched = self._metrics.value("ptycholive_frames_stitched_total") or 0
        self._rates.update(self._intake.received, round(stitched))
        self._metrics.subscribers.set(self.viewers())
        self._metrics.backlog_age.set(self._engine.backlog_age_s)
        self._count_streams()
        if self._journal is not None:
            self._metrics.set_journal(self._journal.bytes, self._journal.skipped, self._journal.trouble is not None)
        status = self.status()
        self._assessor.look(status)
        return status

    def metrics_text(self) -> tuple[bytes, str]:
        """Return the Prometheus exposition and its content type."""
        self._count_streams()
        return self._metrics.text()

    def scans(self) -> list[ScanFields]:
        """Return all scans, newest first."""
        return [self._with_live_assessment(scan) for scan in self._scans.listing()]

    def scan(self, scan_id: str) -> ScanFields | None:
        """Return one scan."""
        scan = self._scans.get(scan_id)
        return None if scan is None else self._with_live_assessment(self._scans.public(scan))

    def _with_live_assessment(self, fields: ScanFields) -> ScanFields:
        """Return a scan with the assessment of the status, if the status is about it."""
        newest = self._scans.newest
        if newest is None or newest.id != fields["id"] or not newest.is_running:
            return fields
        return {**fields, "assessment": self.status()["assessment"]}

    def stop_scan(self, scan_id: str) -> bool:
        """Finish a running scan with the frames received so far."""
        return self._scans.stop(scan_id)

    def product_path(self, scan_id: str) -> Path | None:
        """Return the product file once it is written; None if a link leads out of the scan's folder."""
        scan = self._scans.get(scan_id)
        path = None if scan is None or scan.record.product is None else Path(scan.record.product)
        return path if path is not None and is_inside(path, self._scans.records.folder(scan_id)) else None

    def path_px(self, scan_id: str, after: int, most: int, *, told: bool = False) -> list[tuple[float, float]] | None:
        """Return positions of stitched frames in pixels, in order of stitching; None for a scan that does not run."""
        return self._engine.path_px(scan_id, after, most, told=told)

    def last_pattern(self) -> tuple[str, int, NDArray[np.floating]] | None:
        """Return (scan id, frame index, amplitude) of the newest frame."""
        return self._engine.last_pattern

    def models(self) -> list[ModelEntry]:
        """Return the models that can be activated by name, the active one marked."""
        model = self._engine.active
        active = None if model.bundle is None else model.bundle.sha256
        return [
            {
                "name": name,
                "sha256": digest,
                "active": digest == active,
                "generation": model.generation if digest == active else None,
            }
            for name, digest in _digests().items()
        ]

    def use_model(self, name: str) -> ModelStatus:
        """Activate a model by its name.

        Raises
        ------
        ReconstructionError
            If the name is unknown, or the bundle is refused or does not fit the probe.
        """
        if name not in ("none", *bundle_files()):
            known = ", ".join(("none", *bundle_files()))
            raise FileFormatError(f"there is no model named {name[:64]}; known models: {known}")
        return {"name": name, "generation": self._generations.choose(name).generation}

    def roll_back_model(self) -> ModelStatus:
        """Activate the previous generation of the model; raises ReconstructionError if there is none."""
        return self._generations.roll_back()

    def set_finetune_paused(self, is_paused: bool) -> Paused:
        """Pause or resume fine-tuning; raises ReconstructionError if it is off."""
        return self._generations.set_paused(is_paused)

    def _journal_status(self) -> JournalStatus | None:
        if self._journal is None:
            return None
        return {
            "folder": str(self._journal.folder),
            "bytes": self._journal.bytes,
            "frames_skipped": self._journal.skipped,
            "left_alone": dict(self._journal.left_alone),
        }

    def _phase(self, newest: ScanRecord | None, unfinished: list[str]) -> Phase:
        if self._is_stopping():
            return Phase.STOPPING
        if not self._engine.warm.is_set():
            return Phase.STARTING
        if newest is None:
            return Phase.READY
        if newest.is_running:
            return Phase(newest.state)
        return Phase.FINISHING if unfinished else Phase.IDLE

    def _stream_status(self, receiver: MessageReceiver) -> StreamStatus:
        last = receiver.last_message
        return {
            "name": receiver.name,
            "endpoint": receiver.bound_endpoint,
            "connected": receiver.connected,
            "fault": receiver.fault,
            "handshake_failures": receiver.handshake_failures,
            "messages": receiver.messages,
            "refused": self._intake.refusals.of(receiver.name),
            "bytes": receiver.bytes,
            "silent_s": None if last is None else time.monotonic() - last,
        }

    def _count_streams(self) -> None:
        for receiver in self._receivers:
            self._metrics.set_stream(receiver.name, receiver.connected, receiver.bytes, receiver.handshake_failures)
        self._metrics.set_handshake_failures("publish", self.viewer_handshake_failures())


def _notes(record: ScanRecord | None, findings: Mapping[str, list[str]]) -> list[str]:
    """Return the warnings of the newest scan, then those of other recent scans."""
    notes = [] if record is None else list(record.notes)
    for scan_id, found in findings.items():
        is_newest = record is not None and scan_id == record.id
        notes += found if is_newest else [f"scan {scan_id}: {note}" for note in found]
    return list(dict.fromkeys(notes))


class _Rates:
    """Frames per second over the last few updates: stitching works in batches, so one update alone would flicker."""

    def __init__(self) -> None:
        self._last = deque([(time.monotonic(), 0, 0)], maxlen=RATE_UPDATES)
        self.received_hz = self.stitched_hz = 0.0

    def update(self, received: int, stitched: int) -> None:
        now = time.monotonic()
        before, old_received, old_stitched = self._last[0]
        seconds = max(1e-3, now - before)
        self.received_hz = (received - old_received) / seconds
        self.stitched_hz = (stitched - old_stitched) / seconds
        self._last.append((now, received, stitched))


def _digests() -> dict[str, str | None]:
    """Return the SHA-256 of the weights of each model that can be read, by name."""
    digests: dict[str, str | None] = {"none": None}
    for name, path in bundle_files().items():
        try:
            digests[name] = read_bundle(path).sha256
        except FileFormatError:
            continue  # `model list` shows the reason
    return digests
