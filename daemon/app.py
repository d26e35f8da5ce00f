"""The daemon composed: streams, intake, engine, publishers, files. It owns the life of a scan."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from daemon.background.diagnosis.diagnoses import Diagnoses
from daemon.background.external.finished import FinishedScans
from daemon.background.learning import Generations
from daemon.config import Config
from daemon.engine.backlog import Store
from daemon.engine.loop import Engine
from daemon.engine.models import Models
from daemon.engine.ports import EngineEvents
from daemon.engine.scan import ScanResult, product_rfactor
from daemon.files.product import Product
from daemon.intake.preprocess import Prepared
from daemon.intake.registry import Ledger, LedgerEvents
from daemon.intake.thread import Intake
from daemon.journal import NOTED_OPTICS, ScanNames, StoredStart
from daemon.messages import Phase, ScanState, verdict_fields
from daemon.metrics import Metrics
from daemon.optics.run_check import run_notes
from daemon.publish.history import History
from daemon.publish.http.interface import create_app, open_server
from daemon.publish.hub import UpdateHub
from daemon.publish.zmq import MOST_CONNECTIONS, ZmqPublisher
from daemon.results.records import ScanBook, now_text
from daemon.results.writer import ProductWriter
from daemon.service.allocator import keep_pages, tidy
from daemon.service.descriptors import Shares, share_out
from daemon.service.secret_files import open_to_all
from daemon.service.systemd import Systemd
from daemon.setup import Setup
from daemon.sinks import Sinks
from daemon.status.health import Health
from daemon.status.report import StatusReport
from daemon.status.sentences import verdict_sentence
from daemon.takeover import FolderLocks, close_recorded
from daemon.version import VERSION
from ptychopinn.diagnosis.correction import Correction
from ptychopinn.diagnosis.plausibility import SUMMARY_BEGINNINGS, as_plain, summary
from streams.join.join import Verdict

TICK_S = 0.5
TIDY_FIRST, TIDY_EVERY = 2, 20
"""Ticks: memory goes back soon after the last scan, and again, since that scan is improved and slow viewers go later."""

log = logging.getLogger(__name__)


class Daemon:
    """Everything that runs. Building it checks the whole configuration and binds every port.

    ``wrap_models`` is called with each pair of models before it is used, so that a test can slow a model or make it fail.

    Raises
    ------
    ConfigError, FileFormatError, ProbeMismatchError, EndpointError
        With one sentence: what, where, what to do.
    """

    def __init__(self, config: Config, wrap_models: Callable[[Models], Models] = lambda models: models) -> None:
        keep_pages()
        setup = Setup(config, wrap_models)
        self._locks = FolderLocks(*setup.own_folders)
        try:
            self._compose(config, setup)
        except BaseException:
            self._locks.release()
            raise

    def _compose(self, config: Config, setup: Setup) -> None:
        torch.set_num_threads(setup.threads)
        self._config = config
        self._setup = setup
        self.metrics = Metrics()
        self._systemd = Systemd()
        self.hub = UpdateHub()
        self.book = ScanBook(config.output.directory)
        keeper = setup.make_keeper()
        self._keeper, self._journal = keeper, None if keeper is None else keeper.journal
        self._writer = ProductWriter(
            config.output.keep_checkpoints,
            make_room=None if self._journal is None else self._journal.make_room,
            retry_others=self.book.retry,
        )
        names = ScanNames(config.output.directory) if keeper is None else keeper.names
        self._join = setup.make_join(names.is_taken)
        preprocess = setup.make_preprocess()
        ledger_events = LedgerEvents(
            on_points=lambda points: self._engine.submit(points),
            on_started=self._scan_started,
            on_complete=self._scan_received,
            on_prepared=self._scan_prepared,
        )
        self._ledger = Ledger(self._join, preprocess, setup.ledger_options(), self.metrics, ledger_events, keeper)
        self._intake = Intake(setup.make_codec(), preprocess, self._ledger, setup.intake_options(), self.metrics)
        events = EngineEvents(
            on_update=self.hub.publish_layer,
            on_stitched=self._ledger.mark_stitched,
            on_refused=self._ledger.refuse,
            on_finished=self._scan_finished,
            on_checkpoint=self._checkpoint,
            on_improved=self._scan_improved,
            frames_received=lambda scan_id: self._verdict(scan_id).received,
            on_left=self._scan_left,
        )
        store = None if self._journal is None else Store(self._journal.has, self._read_back)
        self._engine = Engine(setup.first_model, setup.engine_options(), self.metrics, events, store)
        self._generations = Generations(setup, config, self.metrics, self._engine)
        count_misfit = self.metrics.misfits.inc
        self._examiner = Diagnoses(setup, config, self.book, self._engine, self._generations, count_misfit).examiner
        self._engine.examiner = self._examiner
        self._finished = FinishedScans(config, self.book) if config.refine.engine != "own" else None
        self._last_verdict: dict[str, Verdict] = {}
        self._idle_ticks = 0
        self._stopping = threading.Event()
        intake = self._intake
        self._receivers = setup.make_receivers(
            intake.on_frame_message, intake.on_position_message, intake.on_metadata_message, intake.on_refused
        )
        self._view = StatusReport(
            setup,
            self.metrics,
            self.book,
            self._join,
            self._intake,
            self._ledger,
            self._engine,
            self._generations,
            self._receivers,
            self._journal,
            verdict_of=self._verdict,
            is_stopping=self._stopping.is_set,
        )
        self._view.health = Health(
            self._engine, self._intake, self._writer, self.book, self._journal, lambda: self._receivers
        )
        self._bind()
        self._ticker = threading.Thread(target=self._tick_until_stopped, name="status", daemon=True)
        self.metrics.watch_disk("output", config.output.directory)
        self.metrics.products_waiting.set_function(lambda: self._writer.waiting)
        if self._journal is not None:
            self.metrics.watch_disk("journal", self._journal.folder)
        self.metrics.build.info({"version": VERSION, "torch": torch.__version__, "device": str(setup.device)})

    def _bind(self) -> None:
        """Open every port; whatever was opened is closed again if one fails."""
        config = self._config
        for words in open_to_all(config.http):
            log.warning("%s", words)
        shares = share_out(Shares(config.http.max_connections, MOST_CONNECTIONS))
        self.publisher = ZmqPublisher(
            self.hub, config.publish.endpoint, curve=self._setup.publish_curve, most_connections=shares.updates
        )
        try:
            self._history = History(self.hub)
            http = config.http
            app = create_app(self._view, self.hub, http.max_viewers, http.viewer_bytes_per_s, history=self._history)
            count_refused = self.metrics.count_http_refused
            self.http = open_server(app, http, self._setup.http_token, self._setup.http_tls, count_refused, shares.http)
        except BaseException:
            self.publisher.close()
            raise
        self._sinks = Sinks(self.hub, self._setup.sinks, config.output.sinks, self.metrics.count_sink)
        self._view.sinks = self._sinks.status
        self._view.diagnosis = self._examiner.status
        self._view.viewers = lambda: self.publisher.subscribers + int(app.state.viewers.count)
        self._view.viewer_handshake_failures = lambda: self.publisher.handshake_failures

    def start(self) -> None:
        """Start every thread; returns when the daemon is ready for frames. Unfinished scans are played again meanwhile."""
        if self._journal is not None:
            self._journal.start()
            close_recorded(self._journal, self.book)
        self._sinks.start()
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
        self._generations.start()
        self._examiner.start()
        if self._finished is not None:
            self._finished.start()
        self._ticker.start()
        self._systemd.say("READY=1")
        log.info("ready: page %s, updates %s", self.http.url, self.publisher.bound_endpoint)

    def stop(self) -> None:
        """Stop receiving, finish what came, write products, tell viewers, close."""
        self._systemd.say("STOPPING=1")
        self._stopping.set()
        for receiver in self._receivers:
            receiver.stop()
        self._examiner.stop()
        self._generations.stop()
        self._intake.stop(end_scans=self._engine.is_alive)
        self._engine.stop(self._config.limits.stop_s if self._journal is not None else float("inf"))
        self._writer.stop()
        if self._finished is not None:
            self._finished.stop()
        if self._journal is not None:
            self._journal.stop()
        if self._ticker.is_alive():
            self._ticker.join()
        self._sinks.stop()
        self.hub.publish_status(self._view.status())
        self.publisher.close()
        self.http.stop()
        self._locks.release()

    @property
    def view(self) -> StatusReport:
        """The status report and the orders that HTTP can give."""
        return self._view

    def hanging(self) -> list[str]:
        """Return the names of threads that have not come round for a minute; waits for nothing.

        Without a journal the intake may wait so long for a slow engine.
        """
        names = self._view.health.hanging()
        return names if self._journal is not None or "engine" in names else []

    def addresses(self) -> dict[str, Any]:
        """Return where everything is, with real ports."""
        streams = {receiver.name: receiver.bound_endpoint for receiver in self._receivers}
        return {"http": self.http.url, "updates": self.publisher.bound_endpoint, "streams": streams}

    # the life of a scan

    def _scan_started(self, stored: StoredStart) -> None:
        scan_id, start = stored.scan_id, stored.start
        self.book.open(scan_id, stored.started)
        optics = self._setup.note_scan(scan_id, start.geometry)
        notes = (*start.notes, *optics.notes)
        self.book.change(scan_id, pixel_size_m=optics.object_pixel_size_m, notes=notes)
        for note in notes:
            log.warning("scan %s: %s", scan_id, note)
        if self._keeper is not None:
            self._keeper.note(scan_id, optics={name: getattr(optics, name) for name in NOTED_OPTICS})
        self._view.current = scan_id
        self.hub.publish_scan({"scan_id": scan_id, "state": "started", "expected": start.expected_frames})
        log.info("scan %s started, %s frames expected", scan_id, start.expected_frames or "an unknown number of")

    def _scan_prepared(self, scan_id: str, prepared: Prepared) -> None:
        """Note how the patterns of a scan are made, before its first one (intake's thread)."""
        record = self.book.get(scan_id)
        notes = tuple(dict.fromkeys((*(() if record is None else record.notes), *prepared.notes)))
        known = {"center_px": prepared.center_px, "center_from": prepared.center_from}
        masked = prepared.masked_pixels
        self.book.change(scan_id, **known, notes=notes, **({} if masked is None else {"masked_pixels": masked}))
        for note in prepared.notes:
            log.warning("scan %s: %s", scan_id, note)
        log.info("scan %s: beam at row %d, column %d (%s)", scan_id, *prepared.center_px, prepared.center_from)

    def _scan_received(self, scan_id: str) -> None:
        self.book.change(scan_id, state=ScanState.FINISHING)
        self._engine.finish(scan_id)

    def _scan_finished(self, result: ScanResult) -> None:
        """Close a scan whose pictures are final: product, record, verdict (engine's thread)."""
        scan_id = result.scan_id
        verdict = self._ledger.verdict(scan_id)
        self._last_verdict[scan_id] = verdict
        was_stopped = self._ledger.take_stopped(scan_id) or self._stopping.is_set()
        is_complete = verdict.is_complete and not self._join.was_cut_short(scan_id)
        ended_early = ScanState.STOPPED if was_stopped else ScanState.INCOMPLETE
        state = ScanState.COMPLETE if is_complete else ended_early
        ended = now_text()
        correction = self._engine.correction

        def on_written(path: Path | None) -> None:
            body = verdict_fields(verdict)
            record = self.book.get(scan_id)
            about = self._ledger.about(scan_id)
            energy_eV = self._setup.optics_of(scan_id).photon_energy_eV
            notes = (
                *(() if record is None else record.notes),
                *self._ledger.findings(scan_id),
                *run_notes(about, self._config.metadata, energy_eV),
                *_left_out(result),
                *_doubtful(result),
            )
            self.book.change(
                scan_id,
                state=state,
                ended=ended,
                **_figures(result),
                product=None if path is None else str(path),
                verdict=body,
                notes=notes,
                run=about,
            )
            self._last_verdict.pop(scan_id, None)
            self._ledger.release(scan_id)
            if path is not None or not result.indexes.size:
                self._put_away(scan_id, path, correction)
            self.metrics.count_scan(state, body)
            self._tell_ended(scan_id, result)
            log.info("scan %s %s: %s", scan_id, state, verdict_sentence(body))

        def on_late(path: Path) -> None:
            self.book.change(scan_id, product=str(path))
            self._put_away(scan_id, path, correction)
            self._tell_ended(scan_id, result)

        if result.indexes.size:
            folder = self.book.folder(scan_id)
            self._writer.finish(folder, lambda: self._product(result, ended), on_written, on_late)
        else:
            on_written(None)

    def _put_away(self, scan_id: str, product: Path | None, correction: Correction) -> None:
        """Close a scan that is safe on the disk; another is played again at the next start, and its product written then."""
        if not self.book.is_written(scan_id):
            return
        if self._journal is not None:
            self._journal.close(scan_id)
        if self._finished is not None and product is not None:
            self._finished.submit(scan_id, product, correction)

    def _tell_ended(self, scan_id: str, result: ScanResult) -> None:
        record = self.book.get(scan_id)
        if record is not None and record.verdict is not None:
            self.hub.publish_scan(
                {
                    "scan_id": scan_id,
                    "state": "ended",
                    "verdict": record.verdict,
                    "result": record.state,
                    "product": record.product,
                    "rfactors": result.rfactors,
                    "notes": list(record.notes),
                }
            )

    def _scan_improved(self, result: ScanResult) -> None:
        """Write a closed scan's product anew (engine's thread)."""
        scan_id, record = result.scan_id, self.book.get(result.scan_id)
        if record is None or record.product is None or not Path(record.product).exists() or self._stopping.is_set():
            return

        def on_written(path: Path | None) -> None:
            if path is not None:
                now = self.book.get(scan_id) or record
                kept = tuple(note for note in now.notes if not note.startswith(SUMMARY_BEGINNINGS))
                found = self.book.change(scan_id, **_figures(result), notes=(*kept, *_doubtful(result)))
                log.info("scan %s: improved after its end, R %.4f", scan_id, found.rfactor)

        self._writer.finish(self.book.folder(scan_id), lambda: self._product(result, record.ended), on_written)

    def _checkpoint(self, result: ScanResult) -> None:
        self._writer.checkpoint(self.book.folder(result.scan_id), lambda: self._product(result, None))

    def _read_back(self, scan_id: str, index: int) -> NDArray[Any] | None:
        """Return the counts ``(N, N)`` of a frame in the journal; None where it has none that fit the probe."""
        counts = None if self._journal is None else self._journal.read(scan_id, index)
        side = self._engine.active.probe.shape[-1]
        if counts is None or counts.shape == (side, side):
            return counts
        found = " x ".join(map(str, counts.shape))
        self.book.note(
            scan_id,
            f"its journal has frames of {found} px but [detector] size_px is {side}: they are refused; "
            f"ptycholive refine reads the journal",
        )
        return None

    def _scan_left(self, result: ScanResult, waiting: int) -> None:
        """Leave a scan whose frames are not all done to the next start (engine's thread)."""
        self._checkpoint(result)
        log.warning("scan %s: %d frames wait in the journal; the next start goes on with them", result.scan_id, waiting)

    def _product(self, result: ScanResult, ended: str | None) -> Product:
        record = self.book.get(result.scan_id)
        started = now_text() if record is None else record.started
        verdict = None if record is None else record.verdict  # of a closed scan
        return self._setup.make_product(
            result,
            verdict=verdict or verdict_fields(self._verdict(result.scan_id)),
            started=started,
            ended=ended,
            masked_pixels=None if record is None else record.masked_pixels,
        )

    def _verdict(self, scan_id: str) -> Verdict:
        kept = self._last_verdict.get(scan_id)
        return kept if kept is not None else self._ledger.verdict(scan_id)

    def _tick_until_stopped(self) -> None:
        while not self._stopping.wait(TICK_S):
            try:
                self._tick()
            except Exception:  # the watchdog is not fed then, which is right if it does not pass
                log.exception("the status could not be told")
                self.metrics.stage_failures.labels("status").inc()

    def _tick(self) -> None:
        self._view.tick()
        self._history.look()
        status = self._view.status()
        self.hub.publish_status(status)
        self.metrics.set_state(status["phase"], bool(status["degraded"]))
        self._idle_ticks = self._idle_ticks + 1 if status["phase"] == Phase.IDLE else 0
        if self._idle_ticks % TIDY_EVERY == TIDY_FIRST:
            tidy()
        self._systemd.say(f"STATUS={status['sentence']}", *["WATCHDOG=1"] * self._view.health.is_alive)


def _figures(result: ScanResult) -> dict[str, Any]:
    """Return what a scan's record says of its picture: how good it is, and which generation of the model made it."""
    return {
        "rfactor": product_rfactor(result.rfactors),
        "rfactor_network": result.rfactors.get("network"),
        "expected_correlation": None if result.certainty is None else result.certainty.expected_correlation,
        "doubts": tuple(as_plain(result.doubts)),
        "model_generation": result.model.generation,
    }


def _left_out(result: ScanResult) -> list[str]:
    """Return one sentence on frames that the refined layer does not use, if there are any."""
    if not result.left_out:
        return []
    some = ", ".join(map(str, result.left_out[:3])) + (", ..." if len(result.left_out) > 3 else "")
    count = len(result.left_out)
    return [
        f"the refined layer leaves out {count} frame{'s' * (count > 1)} ({some}) far brighter than the others, or not finite"
    ]


def _doubtful(result: ScanResult) -> list[str]:
    """Return the one line of what is doubtful, if anything is."""
    line = summary(result.doubts)
    return [] if line is None else [line]
