"""From a configuration to the parts of the chain; everything that can be wrong with files and optics is found here."""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from daemon.config import Config
from daemon.engine.models import ActiveModel, Models
from daemon.engine.scan import EngineOptions, ScanResult
from daemon.errors import ConfigError
from daemon.files import LiveGroup, Product
from daemon.files.positions_file import read_positions
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
from daemon.intake.registry import LedgerOptions
from daemon.intake.thread import IntakeOptions
from daemon.journal import Journal, Keeper, ScanNames
from daemon.optics.probe_source import probe_from_file, probe_from_optics
from daemon.optics.scan_optics import ScanOptics, scan_optics
from daemon.publish.http.server import tls_context
from daemon.sinks import open_sinks
from daemon.version import VERSION
from ptychopinn.detector.geometry import crop
from ptychopinn.device import choose_device
from ptychopinn.diagnosis.plausibility import summary
from ptychopinn.errors import FileFormatError, ProbeMismatchError
from ptychopinn.model import Lift, Model
from ptychopinn.model.bundle import Bundle, build_network, find_bundle, model_for, read_bundle
from ptychopinn.physics.diffraction import propagate
from ptychopinn.workflow.half_precision import with_dtype
from streams.codecs import CODECS, Codec
from streams.frame import NO_GEOMETRY, StreamGeometry
from streams.join.join import Join
from streams.position_sources.positions import raster_positions, spiral_positions
from streams.sockets.receiver import OnMessage, Source

log = logging.getLogger(__name__)

KEPT_OPTICS = 64
HOLD_S = 5.0
LEAST_REACH_PX = 1024
"""A frame may lie so far from the others at once: a canvas of that size costs 40 MB."""


class Setup:
    """What a configuration means on this machine.

    Raises
    ------
    ConfigError, FileFormatError, ProbeMismatchError
        With one sentence.
    """

    def __init__(self, config: Config, wrap_models: Callable[[Models], Models] = lambda models: models) -> None:
        self._config = config
        self._wrap_models = wrap_models
        try:
            self.device = choose_device(config.model.device)
        except (ValueError, RuntimeError) as fault:
            raise ConfigError(f"[model] device: {str(fault).splitlines()[0]}") from fault
        self.threads = config.model.threads or max(1, len(os.sched_getaffinity(0)) - 1)
        self._optics: OrderedDict[str, ScanOptics] = OrderedDict()
        self.first_model = self.load_model(config.model.bundle, self._first_probe())
        self._mask = self._read_mask()
        self._flatfield = self._read_flatfield()
        self._positions_m = self._read_positions()
        self.http_token = _read_token(config.http.token_file)
        self.http_tls = tls_context(config.http.certificate_file, config.http.key_file)
        self.sinks = open_sinks(config.output.sinks)
        self.publish_curve = config.publish.curve("[publish]", is_server=True)
        self._make_output()

    def _first_probe(self) -> torch.Tensor:
        """Return the probe to start with."""
        options, size_px = self._config.optics, self._config.detector.size_px
        self._probe_pixel_size_m: float | None = None
        if options.probe_file is None:
            probe = probe_from_optics(options, self.optics_of(), size_px)
        else:
            probe, self._probe_pixel_size_m = probe_from_file(options.probe_file, size_px)
            known = self.optics_of()
            if known.notes and known.object_pixel_size_m is not None:
                raise ProbeMismatchError(f"{options.probe_file}: {known.notes[-1]}")
        return torch.from_numpy(probe).to(self.device)

    def load_model(self, name: str, probe: torch.Tensor) -> ActiveModel:
        """Return the model of a bundle, given by name or path, for a probe; ``none`` is the lift alone."""
        path = find_bundle(name)
        bundle = None if path is None else read_bundle(path)
        return self._model_of(bundle, Path(name) if path is None else path, probe)

    def with_probe(self, model: ActiveModel, probe: NDArray[np.complex64]) -> ActiveModel:
        """Return a model for another probe ``(modes, N, N)``."""
        tensor = torch.from_numpy(np.ascontiguousarray(probe, dtype=np.complex64)).to(self.device)
        return self._model_of(model.bundle, Path(self._config.model.bundle), tensor)

    def _model_of(self, bundle: Bundle | None, path: Path, probe: torch.Tensor) -> ActiveModel:
        sharp: Model | None = None
        if bundle is not None:
            sharp, refused = with_dtype(
                model_for(build_network(bundle, path), bundle, path, probe, self._config.model.gridsize),
                self._config.model.dtype,
            )
            if refused:
                log.warning("the model %s stays in float32: %s", bundle.name, refused)
        quick = Lift(probe, projections=self._config.model.projections)
        return ActiveModel(bundle, self._wrap_models(Models(quick, sharp)), probe)

    def optics_of(self, scan_id: str | None = None) -> ScanOptics:
        """Return the optics of a scan that has started, else what is known without a stream's header."""
        known = None if scan_id is None else self._optics.get(scan_id)
        return self._resolve(NO_GEOMETRY) if known is None else known

    def note_scan(self, scan_id: str, geometry: StreamGeometry) -> ScanOptics:
        """Take in what the header of a scan says; return the scan's optics."""
        found = self._optics[scan_id] = self._resolve(geometry)
        while len(self._optics) > KEPT_OPTICS:
            self._optics.popitem(last=False)
        return found

    def _resolve(self, geometry: StreamGeometry) -> ScanOptics:
        detector = self._config.detector
        side_px = detector.size_px * detector.binning
        return scan_optics(self._config.optics, side_px, self._probe_pixel_size_m, geometry)

    def _read_mask(self) -> NDArray[np.bool_] | None:
        path, detector = self._config.detector.mask_file, self._config.detector
        if path is None:
            return None
        mask = np.asarray(_read_array(path, "mask") != 0)
        if mask.shape != (detector.size_px, detector.size_px) and detector.center_px != "auto":
            crop(mask, detector.center_px, detector.size_px, detector.binning)
        return mask

    def _read_flatfield(self) -> NDArray[np.float32] | None:
        path, detector = self._config.detector.flatfield_file, self._config.detector
        if path is None:
            return None
        flatfield = _read_array(path, "flat field").astype(np.float32)
        if detector.center_px != "auto":
            crop(flatfield, detector.center_px, detector.size_px, detector.binning)
        return flatfield

    def _read_positions(self) -> NDArray[np.float64] | None:
        options = self._config.positions
        if options.source == "raster" and options.shape is not None and options.step_m is not None:
            positions_m = raster_positions(options.shape, options.step_m, options.snake)
        elif options.source == "spiral" and options.count is not None and options.step_m is not None:
            positions_m = spiral_positions(options.count, options.step_m)
        elif options.source == "file" and options.file is not None:
            positions_m = read_positions(options.file)
        else:
            return None
        return np.asarray(positions_m * np.array(options.factors_m))

    def _make_output(self) -> None:
        directory = self._config.output.directory
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise ConfigError(f"[output] directory {directory} cannot be made ({fault.strerror})") from fault
        if not self.is_output_writable():
            raise ConfigError(f"[output] directory {directory} cannot be written to; choose another")

    def is_output_writable(self) -> bool:
        """Whether products can be written."""
        return os.access(self._config.output.directory, os.W_OK)

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
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise ConfigError(f"[output] journal {folder} cannot be made ({fault.strerror}); choose another") from fault
        if not os.access(folder, os.W_OK):
            raise ConfigError(f"[output] journal {folder} cannot be written to; choose another, or off")
        names = ScanNames(self._config.output.directory, folder)
        return Keeper(Journal(folder, self._config.limits.journal_bytes), names, self._config.positions.timeout_s)

    def make_join(self, is_taken: Callable[[str], bool]) -> Join:
        """Return the join; ``is_taken`` says which names of scans are not given again."""
        limits = self._config.limits
        return Join(
            position_timeout_s=self._config.positions.timeout_s,
            max_wait_s=limits.pending_s,
            max_pending_bytes=limits.pending_bytes,
            max_open_scans=limits.open_scans,
            is_taken=is_taken,
            reach_m=self._reach_m,
        )

    def _reach_m(self, scan_id: str) -> float | None:
        pixel_size_m = self.optics_of(scan_id).object_pixel_size_m
        return None if pixel_size_m is None else pixel_size_m * max(LEAST_REACH_PX, 4 * self._config.detector.size_px)

    def intake_options(self) -> IntakeOptions:
        """Return what the intake needs."""
        config = self._config
        bluesky = make_bluesky_reader(config.positions, may_resume=True)
        patience_s = max(config.positions.timeout_s, LEAST_PATIENCE_S)
        folders = config.positions.resource_folders
        return IntakeOptions(
            queue_bytes=config.limits.queue_bytes,
            workers=config.limits.decode_workers,
            use_frame_positions=config.positions.source == "frame",
            read_positions=make_position_reader(config.positions) if bluesky is None else bluesky.parse,
            resume_positions=None if bluesky is None else bluesky.resume,
            make_position_files=None if bluesky is None else partial(PositionFiles, bluesky, folders, patience_s),
        )

    def ledger_options(self) -> LedgerOptions:
        """Return what the ledger needs."""
        config = self._config
        return LedgerOptions(
            scan_timeout_s=config.frames.scan_timeout_s,
            positions_m=self._positions_m,
            use_frame_positions=config.positions.source == "frame",
            position_factors=config.positions.factors_m,
        )

    def make_preprocess(self) -> Preprocess:
        """Return what makes patterns of frames."""
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

    def engine_options(self) -> EngineOptions:
        """Return what the engine needs."""
        config = self._config
        return EngineOptions(
            pixel_size_m=lambda scan_id: self.optics_of(scan_id).object_pixel_size_m,
            batch_frames=config.model.batch_frames,
            batch_timeout_s=config.model.batch_timeout_s,
            gridsize=config.model.gridsize,
            max_side_px=config.mosaic.max_side_px,
            keep_patch_bytes=config.mosaic.keep_patch_bytes,
            refine=config.refine.enabled,
            refine_buffer_bytes=config.refine.buffer_bytes,
            refine_probe=config.refine.update_probe,
            refine_finish_s=config.refine.finish_s,
            refine_improve_s=config.refine.improve_s,
            refine_subpixel=config.refine.subpixel,
            refine_bound_px=config.refine.position_bound_px,
            publish_period_s=config.publish.period_s,
            checkpoint_s=config.output.checkpoint_s,
            queue_bytes=config.limits.queue_bytes,
        )

    def make_product(
        self,
        result: ScanResult,
        *,
        verdict: Mapping[str, Any],
        started: str,
        ended: str | None,
        masked_pixels: int | None = None,
    ) -> Product:
        """Return the product of a result: the refined object where there is one, else the network's mosaic."""
        optics = self.optics_of(result.scan_id)
        pixel_size_m = (optics.object_pixel_size_m or 1.0) * result.pixel_ratio  # without one no frame gets here
        is_refined = result.refined is not None and result.refined_origin_px is not None
        corrections_m = None if result.offsets_px is None else result.offsets_px * pixel_size_m
        live = LiveGroup(
            network=result.network,
            network_weight=result.network_weight,
            network_origin_px=result.network_origin_px,
            refined_weight=result.refined_weight,
            position_corrections_m=corrections_m,
            verdict=verdict,
            rfactors=result.rfactors,
            certainty={} if result.certainty is None else result.certainty._asdict(),
            configuration=self._config.model_dump_json(indent=1),
            model_name=result.model.name,
            model_sha256=result.model.sha256,
            model_generation=result.model.generation,
            started=started,
            ended=ended or "",
            doubts=summary(result.doubts) or "",
            masked_pixels=masked_pixels,
        )
        return Product(
            name=result.scan_id,
            comments=f"Ptycholive {VERSION}, {'refined' if is_refined else 'network'} layer",
            indexes=result.indexes,
            positions_m=result.positions_px * pixel_size_m + (0.0 if corrections_m is None else corrections_m),
            probe=result.probe,
            pixel_size_m=pixel_size_m,
            photon_energy_eV=optics.photon_energy_eV,
            detector_distance_m=optics.detector_distance_m,
            object=result.refined if result.refined is not None else result.network,
            object_origin_px=result.refined_origin_px or result.network_origin_px,
            live=live,
        )

    def make_receivers(
        self, on_frame: OnMessage, on_position: OnMessage, on_metadata: OnMessage, on_refused: OnRefused
    ) -> list[Source]:
        """Return the receivers of the frame stream, of positions and metadata if there are any; not started."""
        config = self._config
        others = make_positions_receiver(config, on_position), make_metadata_receiver(config, on_metadata)
        receivers = [make_frames_receiver(config, on_frame), *(other for other in others if other is not None)]
        for receiver in receivers:
            receiver.on_refused = partial(on_refused, receiver.name)
        return receivers


def _read_array(path: Path, what: str) -> NDArray[Any]:
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as fault:
        raise FileFormatError(f"{path} is not an NPY {what} ({fault}); write one with numpy.save") from fault
    if not isinstance(found, np.ndarray) or found.ndim != 2 or found.dtype.kind not in "buif":
        raise FileFormatError(f"{path} holds no {what} of (rows, columns); write one with numpy.save")
    return found


def _read_token(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        token = path.read_text(encoding="utf-8").split("\n", 1)[0].strip()
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigError(f"[http] token_file {path} cannot be read: {fault}") from fault
    if not token:
        raise ConfigError(f"[http] token_file {path} is empty; write a token into its first line")
    return token
