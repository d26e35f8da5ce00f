"""The daemon composed: streams, intake, engine, publishers, files. It owns the life of a scan."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import torch

from daemon.config import Config
from daemon.engine import Engine, EngineEvents
from daemon.files.product import Product
from daemon.intake import Intake
from daemon.metrics import Metrics
from daemon.output import ProductWriter
from daemon.publish.http import HttpServer, create_app
from daemon.publish.hub import UpdateHub
from daemon.publish.zmq import ZmqPublisher
from daemon.scans import ScanBook, now_text
from daemon.setup import Setup
from daemon.status import verdict_sentence
from daemon.version import VERSION
from daemon.view import View
from daemon.work import ScanResult
from streams.frame import ScanStart
from streams.join import Verdict

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
        self._engine = Engine(setup.probe, setup.models, setup.engine_options(), self.metrics, events)
        self._last_verdict: dict[str, Verdict] = {}
        self._stopping = threading.Event()
        self._receivers = setup.make_receivers(self._intake.on_frame_message, self._intake.on_position_message)
        self._view = View(
            setup,
            self.metrics,
            self.book,
            self._join,
            self._intake,
            self._engine,
            self._receivers,
            verdict_of=self._verdict,
            is_stopping=self._stopping.is_set,
        )
        self._bind()
        self._ticker = threading.Thread(target=self._tick_until_stopped, name="status", daemon=True)
        self.metrics.build.info({"version": VERSION, "torch": torch.__version__, "device": str(setup.device)})

    def _bind(self) -> None:
        """Open every port; whatever was opened is closed again if one fails."""
        config = self._config
        self.publisher = ZmqPublisher(self.hub, config.publish.endpoint)
        try:
            app = create_app(self._view, self.hub)
            self.http = HttpServer(app, config.http.host, config.http.port, token=self._setup.http_token)
        except BaseException:
            self.publisher.close()
            raise
        self._view.viewers = lambda: self.publisher.subscribers + int(app.state.viewers.count)
        self._view.writer_failure = lambda: self._writer.failure

    def start(self) -> None:
        """Start every thread; returns when the daemon is ready for frames."""
        self._writer.start()
        self.http.start()
        self._engine.start()
        self._intake.start()
        try:
            self._engine.wait_until_warm()
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
        self.hub.publish_status(self._view.status())
        self.publisher.close()
        self.http.stop()

    def addresses(self) -> dict[str, Any]:
        """Return where everything is, with real ports."""
        streams = {receiver.name: receiver.bound_endpoint for receiver in self._receivers}
        return {"http": self.http.url, "updates": self.publisher.bound_endpoint, "streams": streams}

    # the life of a scan

    def _scan_started(self, scan_id: str, start: ScanStart) -> None:
        self.book.open(scan_id)
        self._view.current = scan_id
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

    def _tick_until_stopped(self) -> None:
        while not self._stopping.wait(TICK_S):
            self._view.tick()
            self.hub.publish_status(self._view.status())
