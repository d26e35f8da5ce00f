"""From a configuration to the parts of the chain; everything that can be wrong with files and optics is found here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from daemon.config import Config
from daemon.errors import ConfigError
from daemon.files import LiveGroup, Product, read_probe
from daemon.files.positions_file import read_positions
from daemon.intake import IntakeOptions
from daemon.scans import ScanBook
from daemon.version import VERSION
from daemon.work import EngineOptions, Models, ScanResult
from ptychopinn.bundle import Bundle, find_bundle, load_model
from ptychopinn.device import choose_device
from ptychopinn.errors import FileFormatError, ProbeMismatchError
from ptychopinn.geometry import crop, object_pixel_size_m
from ptychopinn.model import build_model
from ptychopinn.model.network import LiftNet
from streams.codecs import CODECS, Codec
from streams.join import Join
from streams.positions import raster_positions
from streams.transport import OnMessage, Receiver

PIXEL_TOLERANCE = 0.01


class Setup:
    """What a configuration means on this machine.

    Raises
    ------
    ConfigError, FileFormatError, ProbeMismatchError
        With one sentence.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        try:
            self.device = choose_device(config.model.device)
        except (ValueError, RuntimeError) as fault:
            raise ConfigError(f"[model] device: {str(fault).splitlines()[0]}") from fault
        self.threads = config.model.threads or max(1, len(os.sched_getaffinity(0)) - 1)
        self.pixel_size_m = _pixel_size_m(config)
        self.probe = self._read_probe()
        self.models, self.bundle = self.load_models(config.model.bundle)
        self._mask = self._read_mask()
        self._positions_m = self._read_positions()
        self.http_token = _read_token(config.http.token_file)
        self._make_output()

    def _read_probe(self) -> torch.Tensor:
        path, size_px = self._config.optics.probe_file, self._config.detector.size_px
        found = read_probe(path)
        side = found.probe.shape[-1]
        if side != size_px or found.probe.shape[-2] != size_px:
            raise ProbeMismatchError(
                f"the probe in {path} is {found.probe.shape[-2]} x {side} px but [detector] size_px is {size_px}; "
                "crop the patterns to the probe's size, or take another probe"
            )
        if found.pixel_size_m and abs(found.pixel_size_m / self.pixel_size_m - 1) > PIXEL_TOLERANCE:
            raise ProbeMismatchError(
                f"the probe in {path} has pixels of {found.pixel_size_m * 1e9:.3f} nm but the optics give "
                f"{self.pixel_size_m * 1e9:.3f} nm; correct [optics], or take the probe of this geometry"
            )
        if not np.isfinite(found.probe).all() or not found.probe.any():
            raise FileFormatError(f"{path}: the probe is empty or not finite; retrieve it again")
        return torch.from_numpy(np.ascontiguousarray(found.probe, dtype=np.complex64)).to(self.device)

    def load_models(self, name: str) -> tuple[Models, Bundle | None]:
        """Return the models of a bundle, given by name or path; ``none`` is the lift alone."""
        projections = self._config.model.projections
        quick = build_model("lift", self.probe, projections=projections)
        path = find_bundle(name)
        if path is None:
            return Models(quick, None), None
        model, bundle = load_model(path, self.probe, projections)
        return Models(quick, model) if isinstance(model, LiftNet) else Models(model, None), bundle

    def _read_mask(self) -> NDArray[np.bool_] | None:
        path, detector = self._config.detector.mask_file, self._config.detector
        if path is None:
            return None
        try:
            mask = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as fault:
            raise FileFormatError(f"{path} is not an NPY mask ({fault}); write one with numpy.save") from fault
        if mask.ndim == 2 and mask.shape != (detector.size_px, detector.size_px):
            mask = crop(mask, detector.center_px, detector.size_px)
        if mask.shape != (detector.size_px, detector.size_px):
            raise FileFormatError(f"{path} has the shape {mask.shape}, not that of the crop or of the oriented frame")
        return np.asarray(mask != 0)

    def _read_positions(self) -> NDArray[np.float64] | None:
        options = self._config.positions
        if options.source == "raster" and options.shape is not None and options.step_m is not None:
            positions_m = raster_positions(options.shape, options.step_m, options.snake)
        elif options.source == "file" and options.file is not None:
            positions_m = read_positions(options.file)
        else:
            return None
        return np.asarray(positions_m * np.array(self._position_factors))

    @property
    def model_name(self) -> str:
        """Name of the active model."""
        return "lift" if self.bundle is None else f"{self.bundle.name} {self.bundle.sha256[:8]}"

    @property
    def _position_factors(self) -> tuple[float, float]:
        options = self._config.positions
        factor_y, factor_x = (-options.scale if axis in options.flips else options.scale for axis in ("y", "x"))
        return factor_y, factor_x

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
        return CODECS[frames.format](channel=frames.channel, max_frame_bytes=frames.max_message_bytes)

    def make_join(self, book: ScanBook) -> Join:
        """Return the join; names of scans whose folder exists are not given again."""
        limits = self._config.limits
        return Join(
            position_timeout_s=self._config.positions.timeout_s,
            max_wait_s=limits.pending_s,
            max_pending_bytes=limits.pending_bytes,
            max_open_scans=limits.open_scans,
            is_taken=lambda scan_id: book.folder(scan_id).exists(),
        )

    def intake_options(self) -> IntakeOptions:
        """Return what the intake needs."""
        config = self._config
        return IntakeOptions(
            orientation=config.detector.orientation,
            center_px=config.detector.center_px,
            size_px=config.detector.size_px,
            queue_bytes=config.limits.queue_bytes,
            scan_timeout_s=config.frames.scan_timeout_s,
            workers=config.limits.decode_workers,
            positions_m=self._positions_m,
            use_frame_positions=config.positions.source == "frame",
            position_factors=self._position_factors,
        )

    def engine_options(self) -> EngineOptions:
        """Return what the engine needs."""
        config = self._config
        return EngineOptions(
            pixel_size_m=self.pixel_size_m,
            batch_frames=config.model.batch_frames,
            batch_timeout_s=config.model.batch_timeout_s,
            gridsize=config.model.gridsize,
            max_side_px=config.mosaic.max_side_px,
            keep_patch_bytes=config.mosaic.keep_patch_bytes,
            refine=config.refine.enabled,
            refine_buffer_bytes=config.refine.buffer_bytes,
            refine_finish_s=config.refine.finish_s,
            publish_period_s=config.publish.period_s,
            checkpoint_s=config.output.checkpoint_s,
            mask=self._mask,
            saturation=config.detector.saturation,
            queue_bytes=config.limits.queue_bytes,
        )

    def make_product(
        self, result: ScanResult, *, verdict: Mapping[str, Any], started: str, ended: str | None, generation: int
    ) -> Product:
        """Return the product of a result: the refined object where there is one, else the network's mosaic."""
        optics = self._config.optics
        is_refined = result.refined is not None and result.refined_origin_px is not None
        live = LiveGroup(
            network=result.network,
            network_weight=result.network_weight,
            network_origin_px=result.network_origin_px,
            refined_weight=result.refined_weight,
            verdict=verdict,
            rfactors=result.rfactors,
            configuration=self._config.model_dump_json(indent=1),
            model_name=self.model_name,
            model_sha256="" if self.bundle is None else self.bundle.sha256,
            model_generation=generation,
            started=started,
            ended=ended or "",
        )
        return Product(
            name=result.scan_id,
            comments=f"Ptycholive {VERSION}, {'refined' if is_refined else 'network'} layer",
            indexes=result.indexes,
            positions_m=result.positions_px * self.pixel_size_m,
            probe=self.probe.cpu().numpy(),
            pixel_size_m=self.pixel_size_m,
            photon_energy_eV=optics.photon_energy_eV,
            detector_distance_m=optics.detector_distance_m,
            object=result.refined if result.refined is not None else result.network,
            object_origin_px=result.refined_origin_px or result.network_origin_px,
            live=live,
        )

    def make_receivers(self, on_frame: OnMessage, on_position: OnMessage) -> list[Receiver]:
        """Return the frame stream's receiver and, for a native position stream, that one's; not started."""
        frames, positions = self._config.frames, self._config.positions
        wanted = [("frames", frames.endpoint, frames.socket, on_frame)]
        if positions.source == "native" and positions.endpoint is not None:
            wanted.append(("positions", positions.endpoint, positions.socket, on_position))
        return [
            Receiver(name, endpoint, socket, on_message, max_message_bytes=frames.max_message_bytes)
            for name, endpoint, socket, on_message in wanted
        ]


def _pixel_size_m(config: Config) -> float:
    optics = config.optics
    if optics.object_pixel_size_m is not None:
        return optics.object_pixel_size_m
    if None in (three := (optics.photon_energy_eV, optics.detector_distance_m, optics.detector_pixel_size_m)):
        raise ConfigError("[optics]: the object pixel is not known")
    energy_eV, distance_m, detector_pixel_m = (float(value) for value in three if value is not None)
    return object_pixel_size_m(energy_eV, distance_m, detector_pixel_m, config.detector.size_px)


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
