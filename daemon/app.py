"""The daemon composed: streams, intake, engine, publishers, files; its threads start and stop here."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial

import torch

from daemon.background.diagnosis.diagnoses import Diagnoses
from daemon.background.external.finished import FinishedScans
from daemon.background.learning import Generations
from daemon.background.learning.learning_actor import ActorProcess
from daemon.background.learning.learning_process import ChildProcess
from daemon.background.positions.finder import FinderOptions, PositionFinder
from daemon.background.positions.record import note_positions
from daemon.closing import ScanCloser
from daemon.cluster.engine import ClusterEngine, make_engine
from daemon.cluster.group import WorkerGroup
from daemon.cluster.live import Connect, cluster_config, connect_workers
from daemon.config import Config
from daemon.engine.backlog import BEHIND_S, Store
from daemon.engine.face import EngineFace
from daemon.engine.models import Models
from daemon.engine.ports import EngineEvents
from daemon.inspection.lookup import make_frame_lookup, make_probe_lookup, make_scan_reader
from daemon.intake.engine_scans import RegisteredScans
from daemon.intake.registry import ScanEvents, ScanRegistry
from daemon.intake.replay import counts_of
from daemon.intake.scan import Scan
from daemon.intake.thread import Intake
from daemon.journal import Keeper, ScanNames
from daemon.messages import Addresses
from daemon.metrics import Metrics
from daemon.outlets import Outlets
from daemon.publish.hub import UpdateHub
from daemon.results.disk import ResultDisk
from daemon.results.records import RecordFiles
from daemon.results.writer import ProductWriter
from daemon.service.allocator import configure_malloc
from daemon.service.systemd import Systemd
from daemon.setup import Setup
from daemon.status.health import Health
from daemon.status.report import StatusReport
from daemon.status_thread import StatusThread
from daemon.takeover import FolderLocks
from daemon.version import VERSION
from streams.frame import ScanStart

log = logging.getLogger(__name__)


class Daemon:
    """All parts of the daemon. Building it checks the whole configuration and binds every port.

    The other arguments are for tests: ``wrap_models`` is called with each pair of models before its use, ``clock`` gives
    the monotonic time of scans, s, ``disk`` writes the results, ``device`` replaces the configured one, and ``connect`` gives
    the workers of a cluster.

    Raises
    ------
    ConfigError, FileFormatError, ProbeMismatchError, EndpointError
        With one sentence: what, where, what to do.
    """

    def __init__(
        self,
        config: Config,
        wrap_models: Callable[[Models], Models] = lambda models: models,
        *,
        clock: Callable[[], float] = time.monotonic,
        disk: ResultDisk = ResultDisk(),
        device: torch.device | None = None,
        connect: Connect = connect_workers,
    ) -> None:
        configure_malloc()
        self._config = config = cluster_config(config)
        self._connect = connect
        self._setup = setup = Setup(config, wrap_models, device)
        self._locks = FolderLocks(*setup.own_folders)
        try:
            torch.set_num_threads(setup.threads)
            self._stopping = threading.Event()
            self._has_started = threading.Event()
            self._systemd = Systemd()
            self.metrics = Metrics()
            self.hub = UpdateHub()
            self.scans = self._make_registry(clock, disk)
            self._make_chain(disk)
            self._make_background()
            self._make_outside()
        except BaseException:
            self._locks.release()
            raise

    def _make_registry(self, clock: Callable[[], float], disk: ResultDisk) -> ScanRegistry:
        """Return the registry of scans, with the join and the journal."""
        setup, output = self._setup, self._config.output
        self._keeper: Keeper | None = setup.make_keeper()
        self._journal = None if self._keeper is None else self._keeper.journal
        names = ScanNames(output.directory) if self._keeper is None else self._keeper.names
        join = setup.make_join(names.is_taken, lambda scan_id: self.scans.optics_of(scan_id), clock)
        events = ScanEvents(partial(_tell_started, self.hub, self.metrics), lambda scan: self._engine.finish(scan.id))
        records = RecordFiles(output.directory, disk)
        return ScanRegistry(records, join, setup.registry_options(clock), events, self._keeper)

    def _make_chain(self, disk: ResultDisk) -> None:
        """Make the way of a frame: receivers, intake, engine."""
        setup, scans = self._setup, self.scans
        self._intake = Intake(
            setup.make_codec(),
            setup.make_preprocess(),
            scans,
            setup.intake_options(),
            metrics=self.metrics,
            on_points=lambda points: self._engine.submit(points),
        )
        closer = self._make_closer(disk)
        events = EngineEvents(
            on_update=self.hub.publish_layer,
            on_stitched=self._intake.mark_stitched,
            on_refused=self._intake.refuse,
            on_finished=closer.finish,
            on_checkpoint=closer.checkpoint,
            on_improved=closer.improve,
            frames_received=lambda scan_id: scans.verdict(scan_id).received,
            on_left=closer.leave,
            is_newest=lambda scan_id: scans.newest is not None and scans.newest.id == scan_id,
            on_positions=partial(note_positions, scans),
        )

        self._engine = make_engine(
            setup.first_model,
            setup.engine_options(scans.optics_of, scans.light),
            self.metrics,
            events,
            store=self._make_store(),
            scans=RegisteredScans(scans),
            workers=self._config.cluster.workers,
            connect=partial(self._connect, self._config),
        )
        intake = self._intake
        self._receivers = setup.make_receivers(
            intake.on_frame_message, intake.on_position_message, intake.on_metadata_message, intake.on_refused
        )

    def _make_store(self) -> Store | None:
        """Return where frames can be read back from: the journal, if there is one."""

        def side_px() -> int:
            return int(self._engine.active.probe.shape[-1])

        journal = self._journal
        return None if journal is None else Store(journal.has, partial(counts_of, self.scans, journal, side_px))

    def _make_closer(self, disk: ResultDisk) -> ScanCloser:
        """Return the closer of scans; make the writer of products."""
        self.writer = ProductWriter(
            self._config.output.keep_checkpoints,
            make_room=None if self._journal is None else self._journal.make_room,
            retry_others=self.scans.write_records,
            disk=disk,
        )
        self._finished = FinishedScans(self._config) if self._config.refine.engine != "own" else None
        return ScanCloser(
            self._config,
            self.scans,
            self.writer,
            self.hub,
            self.metrics,
            correction=lambda: self._engine.correction,
            is_stopping=self._stopping.is_set,
            on_product=None if self._finished is None else self._finished.submit,
        )

    def _make_background(self) -> None:
        """Make the background work: learning, diagnosis."""
        setup, config = self._setup, self._config
        engine = self._engine
        begin = partial(ActorProcess, engine.ray) if isinstance(engine, ClusterEngine) else ChildProcess
        self._generations = Generations(setup, config, self.metrics, engine, begin_process=begin)
        count_misfit = self.metrics.misfits.inc
        self._examiner = Diagnoses(config, self.scans, self._engine, self._generations, count_misfit).examiner
        self._engine.examiner = self._examiner
        self._positions = _make_finder(config, self._engine) if config.finds_positions else None

    def _make_outside(self) -> None:
        """Make the status, the metrics and every port."""
        self._view = StatusReport(
            setup=self._setup,
            metrics=self.metrics,
            scans=self.scans,
            intake=self._intake,
            engine=self._engine,
            generations=self._generations,
            receivers=self._receivers,
            journal=self._journal,
            is_stopping=self._stopping.is_set,
        )
        self._view.health = Health(
            engine=self._engine,
            intake=self._intake,
            writer=self.writer,
            records=self.scans.records,
            journal=self._journal,
            receivers=lambda: self._receivers,
            has_started=self._has_started.is_set,
        )
        self._open_outlets()
        self._status_thread = StatusThread(
            self._view, self._outlets, self.hub, metrics=self.metrics, systemd=self._systemd, stopping=self._stopping
        )
        metrics = self.metrics
        metrics.watch_disk("output", self._config.output.directory)
        metrics.products_waiting.set_function(lambda: self.writer.waiting)
        if self._journal is not None:
            metrics.watch_disk("journal", self._journal.folder)
        metrics.build.info({"version": VERSION, "torch": torch.__version__, "device": str(self._setup.device)})

    def _open_outlets(self) -> None:
        config = self._config
        reader = make_scan_reader(self._engine, self._view.product_path, self.hub)
        frames = make_frame_lookup(config, reader, self.scans, self._engine, self._journal)
        probes = make_probe_lookup(reader, self.scans, self._engine)
        self._outlets = Outlets(
            self._setup, config, self.hub, metrics=self.metrics, view=self._view, frames=frames, probes=probes
        )
        self.publisher, self.http = self._outlets.publisher, self._outlets.http
        self._view.diagnosis = self._examiner.status
        if isinstance(self._engine, ClusterEngine):
            _show_workers(self._engine.workers, self._view, self.metrics)

    def start(self) -> None:
        """Start every thread; returns when the daemon is ready for frames. Unfinished scans are played again meanwhile."""
        if self._journal is not None:
            self._journal.start()
        self.writer.start()
        self._outlets.start()
        self._engine.start()
        self._intake.start()
        try:
            self._engine.wait_until_warm()
            for receiver in self._receivers:
                receiver.start()
            self._has_started.set()
        except BaseException:
            self.stop()
            raise
        self._generations.start()
        self._examiner.start()
        if self._positions is not None:
            self._positions.start()
        if self._finished is not None:
            self._finished.start()
        self._status_thread.start()
        self._systemd.notify("READY=1")
        log.info("ready: page %s, updates %s", self.http.url, self.publisher.bound_endpoint)

    def stop(self) -> None:
        """Stop receiving, finish the received frames, write products, tell viewers, close."""
        self._systemd.notify("STOPPING=1")
        self._stopping.set()
        for receiver in self._receivers:
            receiver.stop()
        self._examiner.stop()
        if self._positions is not None:
            self._positions.stop()
        self._generations.stop()
        self._intake.stop(end_scans=self._engine.is_alive)
        self._engine.stop(self._config.limits.stop_s if self._journal is not None else float("inf"))
        self.writer.stop()
        if self._finished is not None:
            self._finished.stop()
        if self._journal is not None:
            self._journal.stop()
        self._status_thread.join()
        self._outlets.finish()
        self.hub.publish_status(self._view.status())
        self._outlets.close()
        self._locks.release()

    @property
    def view(self) -> StatusReport:
        """The status report and the orders that HTTP can give."""
        return self._view

    def hanging(self) -> list[str]:
        """Return the names of threads that have not come round for a minute; waits for nothing.

        Without a journal, the intake may wait longer than that for a slow engine.
        """
        names = self._view.health.hanging()
        return names if self._journal is not None or "engine" in names else []

    def addresses(self) -> Addresses:
        """Return where everything is, with real ports."""
        streams = {receiver.name: receiver.bound_endpoint for receiver in self._receivers}
        return {"http": self.http.url, "updates": self.publisher.bound_endpoint, "streams": streams}


def _make_finder(config: Config, engine: EngineFace) -> PositionFinder:
    """Return the search for true positions."""
    first = max(config.diagnosis.frames, config.optics.retrieve_frames * config.optics.is_retrieved)
    options = FinderOptions(config.refine.correct_positions == "on", first)
    finder = PositionFinder(options, lambda: engine.backlog_age_s > BEHIND_S, lambda: engine.is_finishing)
    engine.find_positions_with(finder)
    return finder


def _show_workers(workers: WorkerGroup, view: StatusReport, metrics: Metrics) -> None:
    """Show the workers in the status, and their engines in the metrics."""
    view.workers, view.health.cluster, metrics.exposed = workers.status, workers.troubles, workers.exposed


def _tell_started(hub: UpdateHub, metrics: Metrics, scan: Scan, start: ScanStart) -> None:
    metrics.start_scan()
    hub.publish_scan({"scan_id": scan.id, "state": "started", "expected": start.expected_frames})
