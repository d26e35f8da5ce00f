"""Inference with a model: patches, and pictures of scans, files and running streams."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ptychopinn.config import legacy
from ptychopinn.config.manager import ConfigManager
from ptychopinn.config.sections import InferenceConfig
from ptychopinn.data.experiment import Experiment
from ptychopinn.data.training_file import read_training_file
from ptychopinn.device import choose_device
from ptychopinn.errors import ConfigurationError, GeometryError
from ptychopinn.model import Model
from ptychopinn.model.ptycho_model import PtychoModel, one_probe
from ptychopinn.mosaic.mosaic import Mosaic
from ptychopinn.physics.probe_units import photon_factor, unit_sentence
from ptychopinn.physics.scan_check import check_spread
from ptychopinn.workflow.inference import choose_batch, companions, reconstruct, single_group
from ptychopinn.workflow.reassembly import Picture, patch_weight

log = logging.getLogger(__name__)
StreamedFrame = tuple[ArrayLike, Sequence[float]]
"""A frame of a stream: amplitudes ``(N, N)``, -1 = no data, and its position [y, x], pixels."""
KEPT_FRAMES = 1024
"""Number of newest frames of a stream that are searched for neighbours, for networks that take groups."""


class InferenceEngine:
    """Predicts with a model; the batch size is measured once.

    A probe in other units than photons is scaled to the brightest frame, with a warning.

    Parameters
    ----------
    model
        None: ``model_path`` of the InferenceConfig.
    configs
        Its InferenceConfig gives ``patch_weighting``, the greatest ``batch_size``, ``experiment_number`` and, for a cnn,
        ``middle_trim``. None: whole patches weighted by the probe.
    device
        ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.

    Raises
    ------
    ConfigurationError
        If there is no such device, or no model is given.
    """

    def __init__(
        self, model: PtychoModel | None = None, configs: ConfigManager | None = None, *, device: str = "auto"
    ) -> None:
        self._inference = InferenceConfig() if configs is None else configs.inference_config
        self._model = model = _named(self._inference) if model is None else model
        self._configs = configs
        try:
            self._device = choose_device(device)
        except (ValueError, RuntimeError) as fault:
            raise ConfigurationError(f"device {device}: {str(fault).splitlines()[0]}") from fault
        self._batches: dict[int, int] = {}
        known = configs or model.stated_configs()
        if known is not None:
            legacy.update_params(known, is_inference=True)

    def predict(self, images: ArrayLike, *, probe: ArrayLike, batch: int | None = None) -> NDArray[np.complex64]:
        """Return patches ``(B, C, N, N)`` complex64 of amplitudes ``(B, C, N, N)`` or ``(B, N, N)``; -1 = no data.

        Groups with as many frames as the network takes are predicted together; other frames one by one.
        """
        amplitude = torch.as_tensor(np.asarray(images, dtype=np.float32))
        amplitude = amplitude[:, None] if amplitude.ndim == 3 else amplitude
        modes = self._probe(probe)
        side = modes.shape[-1]
        if amplitude.ndim != 4 or tuple(amplitude.shape[-2:]) != (side, side):
            raise GeometryError(
                f"images of shape {tuple(amplitude.shape)} do not fit a probe of {side} px; give (B, C, {side}, {side})"
            )
        modes = _in_photons(modes, amplitude.flatten(0, 1))
        model = self._model.for_probe(modes)
        groups = amplitude if amplitude.shape[1] == model.members else amplitude.flatten(0, 1)[:, None]
        size = batch or self._batch(model, side)
        parts = [self._predicted(model, groups[begin : begin + size]) for begin in range(0, len(groups), size)]
        patches: NDArray[np.complex64] = torch.cat(parts).reshape(amplitude.shape).numpy()
        return patches

    def predict_and_stitch(
        self, images: ArrayLike, positions_px: ArrayLike, *, probe: ArrayLike, looks: int = 1
    ) -> Picture:
        """Return the picture of a scan: amplitudes ``(n, N, N)``, -1 = no data, at positions ``(n, 2)`` [y, x], pixels.

        Parameters
        ----------
        looks
            Number of looks; further ones start from the stitched neighbours (lift only).
        """
        amplitude = torch.as_tensor(np.asarray(images, dtype=np.float32))
        where = np.asarray(positions_px, dtype=np.float64)
        modes = self._probe(probe)
        side = modes.shape[-1]
        if tuple(amplitude.shape) != (len(where), side, side) or where.shape[1:] != (2,):
            raise GeometryError(
                f"images {tuple(amplitude.shape)}, positions {where.shape} and a probe of {side} px do not fit together; "
                f"give (n, {side}, {side}) and (n, 2)"
            )
        check_spread(where)
        modes = _in_photons(modes, amplitude)
        model = self._model.for_probe(modes)
        found = reconstruct(
            model,
            modes,
            amplitude.to(self._device),
            where,
            looks=looks,
            batch=self._batch(model, side),
            weight=self._weight(modes),
        )
        picture = Picture.of_reconstruction(found, len(where))
        return picture if self._configs is None else replace(picture, window_px=self._inference.window)

    def predict_files(
        self,
        paths: Iterable[Path | str] | None = None,
        *,
        probe: ArrayLike | None = None,
        looks: int = 1,
        read: Callable[[Path], Experiment] = read_training_file,
    ) -> Iterator[tuple[Experiment, Picture]]:
        """Yield scan and picture of each file; of several scans in a file each, or that of ``experiment_number``.

        Parameters
        ----------
        paths
            None: ``test_data_file`` of the InferenceConfig.
        probe
            Replaces the probe of the files.
        read
            Function that reads a file; by default it reads training files (NPZ).
        """
        named = self._inference.test_data_file
        if paths is None and named is None:
            raise ConfigurationError("no scan is given; give paths, or test_data_file in the InferenceConfig")
        for path in [named] if paths is None else paths:
            whole, number = read(Path(str(path))), self._inference.experiment_number
            for scan in whole.scans() if number is None else [whole.of_scan(number)]:
                own = scan.probe if probe is None else probe
                try:
                    picture = self.predict_and_stitch(scan.amplitude, scan.positions_px, probe=own, looks=looks)
                except GeometryError as fault:
                    raise GeometryError(f"{Path(str(path)).with_name(scan.name)}: {fault}") from fault
                yield scan, picture

    def predict_stream(
        self, frames: Iterable[StreamedFrame], *, probe: ArrayLike, every: int = 64
    ) -> Iterator[Picture]:
        """Yield the growing picture after every ``every`` frames and at the end of the stream.

        Frames are predicted as they arrive; only the memory of the picture grows.

        Raises
        ------
        GeometryError
            If a frame is not of the probe's size.
        """
        modes, chunks = self._probe(probe), _chunks(frames, every)
        first = next(chunks, None)
        if first is None:
            return
        modes = _in_photons(modes, torch.stack([torch.as_tensor(np.asarray(frame)) for frame, _ in first]))
        model, mosaic = self._model.for_probe(modes), Mosaic(self._weight(modes))
        kept = _NewestFrames(model.members, modes.shape[-1])
        total, refused = 0, dict[int, str]()
        for chunk in chain([first], chunks):
            groups, places = kept.add(chunk)
            patches = self._predicted(model, groups)[:, 0].to(self._device)
            refused |= mosaic.add(range(total, total + len(chunk)), patches, places)
            total += len(chunk)
            yield Picture.of(mosaic, total - len(refused), refused=dict(refused))

    def _predicted(self, model: Model, groups: Tensor) -> Tensor:
        return model.predict(single_group(groups.to(self._device))).cpu()

    def _probe(self, probe: ArrayLike) -> Tensor:
        return one_probe(torch.as_tensor(np.asarray(probe))).to(self._device)

    def _weight(self, modes: Tensor) -> Tensor:
        if self._configs is None:
            return patch_weight(modes)
        wanted = self._inference
        trim = None if self._model.size_px is None else min(wanted.middle_trim, modes.shape[-1])
        return patch_weight(modes, wanted.patch_weighting, trim)

    def _batch(self, model: Model, size_px: int) -> int:
        if size_px not in self._batches:
            self._batches[size_px] = choose_batch(model, size_px, self._device)
        most = self._batches[size_px] if self._configs is None else self._inference.batch_size
        return min(self._batches[size_px], most)


def _in_photons(modes: Tensor, amplitude: Tensor) -> Tensor:
    """Return a probe in photons, by the rule of all entry points."""
    factor = photon_factor(modes, amplitude)
    if factor != 1.0:
        log.warning("%s", unit_sentence(modes, amplitude))
    return modes * factor


def _named(inference: InferenceConfig) -> PtychoModel:
    if inference.model_path is None:
        raise ConfigurationError("no model is given; give one, or model_path in the InferenceConfig")
    return PtychoModel.load(inference.model_path)


class _NewestFrames:
    """The newest frames of a stream, among which the neighbours of new frames are found."""

    def __init__(self, members: int, side_px: int) -> None:
        self._members, self._side = members, side_px
        self._frames = torch.zeros(0, side_px, side_px)
        self._places = np.zeros((0, 2))

    def add(self, chunk: Sequence[StreamedFrame]) -> tuple[Tensor, NDArray[np.float64]]:
        """Return the groups ``(B, C, N, N)`` around new frames, which are the first of their groups, and positions ``(B, 2)``."""
        frames = torch.stack([torch.as_tensor(np.asarray(frame, dtype=np.float32)) for frame, _ in chunk])
        places = np.asarray([place for _, place in chunk], dtype=np.float64)
        if tuple(frames.shape[1:]) != (self._side, self._side) or places.shape != (len(frames), 2):
            raise GeometryError(
                f"frames of the stream are {tuple(frames.shape[1:])} at {places.shape[1:]} numbers a place; "
                f"give ({self._side}, {self._side}) and [y, x]"
            )
        if self._members == 1:
            return frames[:, None], places
        self._frames = torch.cat((self._frames, frames))[-KEPT_FRAMES:]
        self._places = np.concatenate((self._places, places))[-KEPT_FRAMES:]
        return self._frames[companions(self._places, places, self._members)], places


def _chunks(frames: Iterable[StreamedFrame], size: int) -> Iterator[list[StreamedFrame]]:
    chunk: list[StreamedFrame] = []
    for frame in frames:
        chunk.append(frame)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
