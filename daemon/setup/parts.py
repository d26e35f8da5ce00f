"""Makes the parts of the daemon from its configuration."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from daemon.config import Config
from daemon.engine.models import Models
from daemon.engine.options import EngineOptions
from daemon.intake.admission import SentPositions
from daemon.intake.position_files import LEAST_PATIENCE_S, PositionFiles
from daemon.intake.preprocess import Preprocess, PreprocessOptions
from daemon.intake.receivers import (
    OnRefused,
    make_bluesky_reader,
    make_frames_receiver,
    make_metadata_receiver,
    make_position_reader,
    make_positions_receiver,
)
from daemon.intake.registry import RegistryOptions
from daemon.intake.thread import IntakeOptions
from daemon.journal import Journal, Keeper, ScanNames
from daemon.messages import FitCheck
from daemon.optics.scan_optics import ScanOptics, scan_optics
from daemon.publish.http.server import tls_context
from daemon.setup.inputs import known_positions, make_folder, read_flatfield, read_mask, read_token
from daemon.setup.models import ModelLoader, device_of, first_probe
from daemon.setup.planned_box import BoxM, planned_box, positions_box
from daemon.sinks import open_sinks
from ptychopinn.physics.diffraction import propagate
from streams.codecs import CODECS, Codec
from streams.frame import NO_GEOMETRY, StreamGeometry
from streams.join.join import Join
from streams.sockets.receiver import MessageReceiver, OnMessage

HOLD_S = 5.0
"""Frames that wait for the centre of their scan are passed on if no frame has come for this time."""
LEAST_REACH_PX = 1024
"""A frame may lie so far from the others at once: a canvas of that size costs 40 MB."""

OpticsOf = Callable[[str], ScanOptics]
"""The optics of a scan, by its name."""


class Setup:
    """Makes the parts of the daemon; building it reads every file that the configuration names.

    Raises
    ------
    ConfigError, FileFormatError, ProbeMismatchError
        With one sentence.
    """

    def __init__(
        self,
        config: Config,
        wrap_models: Callable[[Models], Models] = lambda models: models,
        device: torch.device | None = None,
    ) -> None:
        self._config = config
        self.device = device or device_of(config)
        self.threads = config.model.threads or max(1, len(os.sched_getaffinity(0)) - 1)
        self.models = ModelLoader(config, self.device, wrap_models)
        probe, self._probe_pixel_size_m = first_probe(config)
        self.first_model = self.models.load(config.model.bundle, self.models.on_device(probe))
        self._mask = read_mask(config.detector)
        self._flatfield = read_flatfield(config.detector)
        self._positions_m = known_positions(config.positions)
        self._positions_box_m = positions_box(self._positions_m, config.mosaic.box_m)
        self.http_token = read_token(config.http.token_file)
        self.http_tls = tls_context(config.http.certificate_file, config.http.key_file)
        self.sinks = open_sinks(config.output.sinks)
        self.publish_curve = config.publish.curve("[publish]", is_server=True)
        make_folder(config.output.directory, "directory", "choose another")

    def optics_of(self, geometry: StreamGeometry = NO_GEOMETRY) -> ScanOptics:
        """Return the optics of a scan with this header; without a header, those known before a scan."""
        detector = self._config.detector
        side_px = detector.size_px * detector.binning
        return scan_optics(self._config.optics, side_px, self._probe_pixel_size_m, geometry)

    def planned_box_m(self, pixel_size_m: float | None) -> BoxM | None:
        """Return the part of the object that a scan with this object pixel will cover; None if that is not known before it."""
        return planned_box(self._positions_box_m, pixel_size_m and pixel_size_m * self._config.detector.size_px)

    def is_output_writable(self) -> bool:
        """Whether products can be written."""
        return os.access(self._config.output.directory, os.W_OK)

    @property
    def are_positions_late(self) -> bool:
        """Whether positions may come only at the end of a scan: the files of a Bluesky run are often closed then."""
        return self._config.positions.source == "bluesky"

    def make_codec(self) -> Codec:
        """Return the decoder of the frame stream."""
        frames = self._config.frames
        return CODECS[frames.format](
            channel=frames.channel,
            max_frame_bytes=frames.max_message_bytes,
            check_hash=frames.check_hash,
            expected_frames=frames.expected_frames,
            silence_s=frames.scan_timeout_s,
        )

    @property
    def own_folders(self) -> list[Path]:
        """Folders that no other daemon may work in: of products and of the journal."""
        journal = self._journal_folder
        return [self._config.output.directory, *([] if journal is None else [journal])]

    @property
    def _journal_folder(self) -> Path | None:
        output = self._config.output
        return None if output.journal == "off" else Path(output.journal or output.directory / "journal")

    def make_keeper(self) -> Keeper | None:
        """Return the keeper of the journal, None where there is none."""
        folder = self._journal_folder
        if folder is None:
            return None
        make_folder(folder, "journal", "choose another, or off")
        names = ScanNames(self._config.output.directory, folder)
        return Keeper(Journal(folder, self._config.limits.journal_bytes), names, self._config.positions.timeout_s)

    def make_join(self, is_taken: Callable[[str], bool], optics_of: OpticsOf, clock: Callable[[], float]) -> Join:
        """Return the join; ``is_taken`` says which names of scans are not given again."""
        limits = self._config.limits

        def reach_m(scan_id: str) -> float | None:
            pixel_size_m = optics_of(scan_id).object_pixel_size_m
            least_px = max(LEAST_REACH_PX, 4 * self._config.detector.size_px)
            return None if pixel_size_m is None else pixel_size_m * least_px

        return Join(
            position_timeout_s=self._config.positions.timeout_s,
            max_wait_s=limits.pending_s,
            max_pending_bytes=limits.pending_bytes,
            max_open_scans=limits.open_scans,
            is_taken=is_taken,
            reach_m=reach_m,
            clock=clock,
        )

    def intake_options(self) -> IntakeOptions:
        """Return the options of the intake."""
        config = self._config
        bluesky = make_bluesky_reader(config.positions, may_resume=True)
        patience_s = max(config.positions.timeout_s, LEAST_PATIENCE_S)
        folders = config.positions.resource_folders
        return IntakeOptions(
            queue_bytes=config.limits.queue_bytes,
            workers=config.limits.decode_workers,
            positions=SentPositions(config.positions.source == "frame", config.positions.factors_m),
            read_positions=make_position_reader(config.positions) if bluesky is None else bluesky.parse,
            resume_positions=None if bluesky is None else bluesky.resume,
            make_position_files=None if bluesky is None else partial(PositionFiles, bluesky, folders, patience_s),
        )

    def registry_options(self, clock: Callable[[], float]) -> RegistryOptions:
        """Return the options of the registry of scans."""
        fit_check = FitCheck.PENDING if self._config.diagnosis.enabled else FitCheck.OFF
        return RegistryOptions(
            self._config.frames.scan_timeout_s, self.optics_of, self._positions_m, clock, fit_check=fit_check
        )

    def make_preprocess(self) -> Preprocess:
        """Return the preprocessing of frames."""
        detector, limits = self._config.detector, self._config.limits
        return Preprocess(
            PreprocessOptions(
                orientation=detector.orientation,
                center_px=None if detector.center_px == "auto" else detector.center_px,
                size_px=detector.size_px,
                binning=detector.binning,
                mask=self._mask,
                flatfield=self._flatfield,
                saturation=detector.saturation,
                probe_pattern=propagate(self.first_model.probe).abs().square().sum(0).cpu().numpy(),
                hold_bytes=limits.queue_bytes,
                hold_s=min(HOLD_S, self._config.frames.scan_timeout_s / 2),
            )
        )

    def engine_options(
        self, optics_of: OpticsOf, light_of: Callable[[str, int], float | None] | None = None
    ) -> EngineOptions:
        """Return the options of the engine; ``light_of`` returns the beam monitor's value of a frame."""
        config = self._config
        return EngineOptions(
            pixel_size_m=lambda scan_id: optics_of(scan_id).object_pixel_size_m,
            batch_frames=config.model.batch_frames,
            batch_timeout_s=config.model.batch_timeout_s,
            gridsize=config.model.gridsize,
            max_side_px=config.mosaic.max_side_px,
            keep_patch_bytes=config.mosaic.keep_patch_bytes,
            box_m=config.mosaic.box_m,
            canvas_bytes=config.limits.canvas_bytes,
            canvas_folder=config.output.directory,
            refine=config.refine.enabled,
            refine_buffer_bytes=config.refine.buffer_bytes,
            refine_probe=config.refine.update_probe,
            refine_finish_s=config.refine.finish_s,
            refine_improve_s=config.refine.improve_s,
            refine_subpixel=config.refine.subpixel,
            refine_bound_px=config.refine.position_bound_px,
            refine_frame_light=config.refine.frame_light is True,
            light_of=light_of if config.refine.frame_light == "monitor" else None,
            refine_exposure_share=config.refine.exposure_share,
            refine_modes=None if config.refine.modes == "auto" else config.refine.modes,
            refine_finds_modes=config.refine.modes == "auto",
            refine_follows_drift=config.refine.beam_drift == "auto",
            moves_frames=config.finds_positions,
            publish_period_s=config.publish.period_s,
            checkpoint_s=config.output.checkpoint_s,
            queue_bytes=config.limits.queue_bytes,
        )

    def make_receivers(
        self, on_frame: OnMessage, on_position: OnMessage, on_metadata: OnMessage, on_refused: OnRefused
    ) -> list[MessageReceiver]:
        """Return the receivers of the frame stream, of positions and metadata if there are any; not started."""
        config = self._config
        others = make_positions_receiver(config, on_position), make_metadata_receiver(config, on_metadata)
        receivers = [make_frames_receiver(config, on_frame), *(other for other in others if other is not None)]
        for receiver in receivers:
            receiver.on_refused = partial(on_refused, receiver.name)
        return receivers
