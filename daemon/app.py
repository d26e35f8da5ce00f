"""The daemon composed: streams, intake, engine, publishers, files. It owns the life of a scan and the daemon's status."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from daemon.config import Config
from daemon.engine import Engine, EngineEvents
from daemon.files.product import Product
from daemon.intake import Intake
from daemon.metrics import Metrics
from daemon.output import ProductWriter
from daemon.publish.http import HttpServer, create_app
from daemon.publish.hub import UpdateHub
from daemon.publish.zmq import ZmqPublisher
from daemon.scans import RUNNING, ScanBook, as_public, now_text
from daemon.setup import Setup
from daemon.status import situation, verdict_sentence
from daemon.version import VERSION
from daemon.work import ScanResult
from streams.frame import ScanStart
from streams.join import Verdict
from streams.transport import Receiver

TICK_S = 0.5

log = logging.getLogger(__name__)


class Daemon:
    """Everything that runs. Building it checks the whole configuration and binds every port.

    Raises
    ------
    ConfigError, FileFormatError, ProbeMismatchError, EndpointError
        With one sentence: what, where, what to do.
    """

    def __init__(self, config: Config) -> None:
        setup = Setup(config)
        torch.set_num_threads(setup.threads)
        self._config = config
        self._setup = setup
        self.metrics = Metrics()
        self.hub = UpdateHub()
        self.book = ScanBook(config.output.directory)
        self._writer = ProductWriter(config.output.keep_checkpoints)
        self._join = setup.make_join(self.book)
        self._intake = Intake(
            setup.make_codec(),
            self._join,
            setup.intake_options(),
            self.metrics,
            on_points=lambda points: self._engine.submit(points),
            on_started=self._scan_started,
            on_complete=self._scan_received,
        )
        events = EngineEvents(
            on_update=self.hub.publish_layer,
            on_stitched=self._intake.mark_stitched,
            on_refused=self._intake.refuse,
            on_finished=self._scan_finished,
            on_checkpoint=self._checkpoint,
            frames_received=lambda scan_id: self._verdict(scan_id).received,
        )
        self._engine = Engine(setup.probe, setup.engine_options(), self.metrics, events)
        self._last_verdict: dict[str, Verdict] = {}
        self._current: str | None = None
        self._rates = _Rates()
        self._stopping = threading.Event()
        self._receivers: list[Receiver] = []
        self._bind()
        self._ticker = threading.Thread(target=self._tick_until_stopped, name="status", daemon=True)
        self.metrics.build.info({"version": VERSION, "torch": torch.__version__, "device": str(setup.device)})

    def _bind(self) -> None:
        """Open every port; whatever was opened is closed again if one fails."""
        config = self._config
        self.publisher = ZmqPublisher(self.hub, config.publish.endpoint)
        try:
            self._app = app = create_app(self, self.hub)
            self.http = HttpServer(app, config.http.host, config.http.port, token=self._setup.http_token)
            self._receivers = self._setup.make_receivers(
                self._intake.on_frame_message, self._intake.on_position_message
            )
        except BaseException:
            self.publisher.close()
            raise

    def start(self) -> None:
        """Start every thread; returns when the daemon is ready for frames."""
        self._writer.start()
        self.http.start()
        self._engine.start()
        self._engine.warm.wait()
        self._intake.start()
        try:
            for receiver in self._receivers:
                receiver.start()
        except BaseException:
            self.stop()
            raise
        self._ticker.start()
        log.info("ready: page %s, updates %s", self.http.url, self.publisher.bound_endpoint)

    def stop(self) -> None:
        """Stop receiving, finish what came, write products, tell viewers, close."""
        self._stopping.set()
        for receiver in self._receivers:
            receiver.stop()
        self._intake.stop()
        self._engine.stop()
        self._writer.stop()
        if self._ticker.is_alive():
            self._ticker.join()
        self.hub.publish_status(self.status())
        self.publisher.close()
        self.http.stop()

    def addresses(self) -> dict[str, Any]:
        """Return where everything is, with real ports."""
        streams = {receiver.name: receiver.bound_endpoint for receiver in self._receivers}
        return {"http": self.http.url, "updates": self.publisher.bound_endpoint, "streams": streams}

    # the life of a scan

    def _scan_started(self, scan_id: str, start: ScanStart) -> None:
        self.book.open(scan_id)
        self._current = scan_id
        self.hub.publish_scan({"scan_id": scan_id, "state": "started", "expected": start.expected_frames})
        log.info("scan %s started, %s frames expected", scan_id, start.expected_frames or "an unknown number of")

    def _scan_received(self, scan_id: str) -> None:
        self.book.change(scan_id, state="finishing")
        self._engine.finish(scan_id)

    def _scan_finished(self, result: ScanResult) -> None:
        """Close a scan whose pictures are final: product, record, verdict (engine's thread)."""
        scan_id = result.scan_id
        verdict = self._intake.verdict(scan_id)
        self._last_verdict[scan_id] = verdict
        was_stopped = self._intake.take_stopped(scan_id) or self._stopping.is_set()
        is_complete = verdict.is_complete and not self._join.was_cut_short(scan_id)
        state = "complete" if is_complete else "stopped" if was_stopped else "incomplete"
        ended = now_text()

        def on_written(path: Path | None) -> None:
            body = verdict.as_dict()
            self.book.change(
                scan_id,
                state=state,
                ended=ended,
                rfactor=result.rfactors.get("refined", result.rfactors.get("network")),
                rfactor_network=result.rfactors.get("network"),
                model_generation=self._engine.generation,
                product=None if path is None else str(path),
                verdict=body,
            )
            self._last_verdict.pop(scan_id, None)
            self.metrics.scans.labels(state).inc()
            self.hub.publish_scan(
                {
                    "scan_id": scan_id,
                    "state": "ended",
                    "verdict": body,
                    "result": state,
                    "product": path,
                    "rfactors": result.rfactors,
                }
            )
            log.info("scan %s %s: %s", scan_id, state, verdict_sentence(body))

        if result.indexes.size:
            self._writer.finish(self.book.folder(scan_id), lambda: self._product(result, ended), on_written)
        else:
            on_written(None)

    def _checkpoint(self, result: ScanResult) -> None:
        self._writer.checkpoint(self.book.folder(result.scan_id), lambda: self._product(result, None))

    def _product(self, result: ScanResult, ended: str | None) -> Product:
        record = self.book.get(result.scan_id)
        started = now_text() if record is None else record.started
        verdict = self._verdict(result.scan_id).as_dict()
        return self._setup.make_product(
            result, verdict=verdict, started=started, ended=ended, generation=self._engine.generation
        )

    def _verdict(self, scan_id: str) -> Verdict:
        kept = self._last_verdict.get(scan_id)
        return kept if kept is not None else self._intake.verdict(scan_id)

    # what the outside sees (DaemonView)

    def is_ready(self) -> tuple[bool, dict[str, Any]]:
        """Whether frames would be reconstructed now: sockets open, engine warm and alive, disk writable."""
        parts = {
            "subscribed": all(receiver.is_alive for receiver in self._receivers),
            "warm": self._engine.warm.is_set(),
            "engine": self._engine.is_alive,
            "output": self._setup.is_output_writable(),
            "stopping": self._stopping.is_set(),
        }
        is_ready = all(parts[key] for key in ("subscribed", "warm", "engine", "output")) and not parts["stopping"]
        return is_ready, parts

    def status(self) -> dict[str, Any]:
        """Return what the daemon does, in numbers and one sentence."""
        scan_id = self._current
        record = None if scan_id is None else self.book.get(scan_id)
        verdict = record.verdict if record is not None else None
        if scan_id is not None and record is not None and record.state in RUNNING:
            verdict = self._verdict(scan_id).as_dict()
        status: dict[str, Any] = {
            "state": self._state(record.state if record is not None else None),
            "scan_id": scan_id,
            "scan_state": None if record is None else record.state,
            "frames_received": None if verdict is None else verdict["received"],
            "frames_stitched": None if verdict is None else verdict["stitched"],
            "frames_pending": None if verdict is None else verdict["pending"],
            "expected_frames": None if verdict is None else verdict["expected"],
            "waiting_for_positions": self._join.waiting_frames,
            "receive_rate_hz": self._rates.received_hz,
            "stitch_rate_hz": self._rates.stitched_hz,
            "latency_s": self._engine.latency_s,
            "rfactor": {k: self.metrics.value("ptycholive_rfactor", layer=k) for k in ("network", "refined")},
            "verdict": verdict,
            "account": None if verdict is None else verdict_sentence(verdict),
            "streams": [self._stream_status(receiver) for receiver in self._receivers],
            "model": {"name": self._setup.engine_options().model, "generation": self._engine.generation},
            "device": str(self._setup.device),
            "refine_updates": self.metrics.value("ptycholive_refine_updates_total"),
            "subscribers": self._viewers(),
            "failure": self._writer.failure or self._engine.failure or self._intake.last_fault,
            "version": VERSION,
        }
        return {**status, "sentence": situation(status)}

    def metrics_text(self) -> tuple[bytes, str]:
        """Return the Prometheus exposition and its content type."""
        self._count_streams()
        return self.metrics.text()

    def scans(self) -> list[dict[str, Any]]:
        """Return all scans, newest first."""
        return self.book.listing(lambda scan_id: self._verdict(scan_id).as_dict())

    def scan(self, scan_id: str) -> dict[str, Any] | None:
        """Return one scan."""
        record = self.book.get(scan_id)
        return None if record is None else as_public(record, lambda known: self._verdict(known).as_dict())

    def stop_scan(self, scan_id: str) -> bool:
        """Finish a running scan with what it has."""
        return self._intake.stop_scan(scan_id)

    def product_path(self, scan_id: str) -> Path | None:
        """Return the product file, once written."""
        record = self.book.get(scan_id)
        return Path(record.product) if record is not None and record.product else None

    def last_pattern(self) -> tuple[str, int, NDArray[np.floating]] | None:
        """Return (scan id, frame index, amplitude) of the newest frame."""
        return self._engine.last_pattern

    def models(self) -> list[dict[str, Any]]:
        """Return the models of this daemon; the active one alone."""
        name = self._setup.engine_options().model
        return [{"name": name, "generation": self._engine.generation, "active": True}]

    def _viewers(self) -> int:
        return self.publisher.subscribers + int(self._app.state.viewers.count)

    def _state(self, scan_state: str | None) -> str:
        if self._stopping.is_set():
            return "stopping"
        if not self._engine.warm.is_set():
            return "starting"
        return scan_state if scan_state in RUNNING and scan_state is not None else "idle"

    def _stream_status(self, receiver: Receiver) -> dict[str, Any]:
        last = receiver.last_message
        return {
            "name": receiver.name,
            "endpoint": receiver.bound_endpoint,
            "connected": receiver.connected,
            "messages": receiver.messages,
            "bytes": receiver.bytes,
            "silent_s": None if last is None else time.monotonic() - last,
        }

    def _tick_until_stopped(self) -> None:
        while not self._stopping.wait(TICK_S):
            self._rates.update(
                self._intake.received, round(self.metrics.value("ptycholive_frames_stitched_total") or 0)
            )
            self._count_streams()
            self.metrics.subscribers.set(self._viewers())
            self.hub.publish_status(self.status())

    def _count_streams(self) -> None:
        for receiver in self._receivers:
            self.metrics.set_stream(receiver.name, receiver.connected, receiver.bytes, receiver.handshake_failures)


class _Rates:
    """Frames a second since the last look."""

    def __init__(self) -> None:
        self._last = (time.monotonic(), 0, 0)
        self.received_hz = self.stitched_hz = 0.0

    def update(self, received: int, stitched: int) -> None:
        now = time.monotonic()
        before, old_received, old_stitched = self._last
        seconds = max(1e-3, now - before)
        self.received_hz = (received - old_received) / seconds
        self.stitched_hz = (stitched - old_stitched) / seconds
        self._last = (now, received, stitched)
