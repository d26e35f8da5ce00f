"""Groups of frames as TensorDicts; each frame is stored once.

Keys, C members of a group, coordinates ``(y, x)`` in pixels:

``images (B, C, N, N)`` float32 amplitude, -1 = no data; ``coords_global``, ``coords_relative`` (global - centre),
``coords_start_relative`` ``(B, C, 1, 2)``, ``coords_center``, ``coords_start_center`` ``(B, 1, 1, 2)`` float32; ``start``: the
intended stage positions; ``nn_indices (B, C)`` int64 frames of their experiment; ``experiment_id (B,)`` int32,
``scan_index (B,)`` int64; ``label_amp``, ``label_phase`` ``(B, C, N, N)`` float32, those of an empty object without a truth;
``rms_scaling_constant``, ``physics_scaling_constant``, ``rms_input_scale``, ``mean_measured_intensity`` ``(B, 1, 1, 1)``
float32, see :mod:`ptychopinn.model.cnn_scaling`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.config.sections import DataConfig
from ptychopinn.data.experiment import Experiment
from ptychopinn.model.cnn_scaling import CountStatistics, Normalize, amplitude_factors, factors_of_chunks
from ptychopinn.tensor_dict import TensorDict

CHUNK_FRAMES = 64
"""Number of frames that are scaled together: 4 MiB of 128 px, so that no second copy of a scan is made."""
CONSTANTS = ("rms_scaling_constant", "physics_scaling_constant", "rms_input_scale", "mean_measured_intensity")


@dataclass(frozen=True, slots=True, eq=False)
class ExperimentFrames:
    """The frames of one experiment, in memory or mapped from disk, and its scaling constants.

    ``images (n, N, N)`` float32; ``positions_px``, ``start_px`` ``(n, 2)`` float64; ``scan_index (n,)`` int64; ``truth``
    ``(H, W)`` and ``label`` ``(n, N, N)`` complex64 or None; ``constants`` the values of :data:`CONSTANTS`.
    """

    images: Tensor
    positions_px: Tensor
    start_px: Tensor
    scan_index: Tensor
    truth: Tensor | None
    constants: Mapping[str, float]
    label: Tensor | None = None

    @classmethod
    def of(cls, scan: Experiment, config: DataConfig, training_frames: NDArray[np.int64]) -> ExperimentFrames:
        """Return the frames of a scan; the constants of the count regime come from its training frames only."""
        images = torch.from_numpy(scan.amplitude)
        where = torch.from_numpy(scan.positions_px)
        start = where if scan.start_px is None else torch.from_numpy(scan.start_px)
        index = torch.zeros(len(images), dtype=torch.int64)
        index = index if scan.scan_index is None else torch.from_numpy(scan.scan_index)
        truth = None if scan.object is None else torch.from_numpy(scan.object)
        return cls(
            images=images,
            positions_px=where,
            start_px=start,
            scan_index=index,
            truth=truth,
            label=None if scan.label is None else torch.from_numpy(scan.label),
            constants=scaling_constants(images, config, training_frames),
        )


def scaling_constants(images: Tensor, config: DataConfig, training_frames: NDArray[np.int64]) -> dict[str, float]:
    """Return the scaling constants of amplitudes ``(n, N, N)``.

    Those of the amplitude regime are over all frames, those of the count regime over the training frames, if there are any.
    """
    rms, physics = factors_of_chunks(_known(images), _over_all(config), config.data_scaling)
    training = torch.from_numpy(training_frames) if len(training_frames) else torch.arange(len(images))
    parts = (
        images[training[k : k + CHUNK_FRAMES]].clamp_min(0).square_() for k in range(0, len(training), CHUNK_FRAMES)
    )
    statistics = CountStatistics.of_chunks(parts)
    values = (rms, physics, statistics.rms_input_scale, statistics.mean_measured_intensity)
    return dict(zip(CONSTANTS, values, strict=True))


def _known(images: Tensor) -> Iterator[Tensor]:
    """Yield the frames in parts, 0 = no data."""
    for first in range(0, len(images), CHUNK_FRAMES):
        yield images[first : first + CHUNK_FRAMES].clamp_min(0)


def _over_all(config: DataConfig) -> Normalize:
    return "None" if config.normalize == "None" else "Batch"


def gather(
    frames: ExperimentFrames, members: Tensor, experiment: int, config: DataConfig, *, has_labels: bool = True
) -> TensorDict:
    """Return the groups with these ``members (B, C)``; with ``has_labels`` also ``label_amp``, ``label_phase``."""
    batch = len(members)
    images = frames.images[members]
    found = {"images": images, "nn_indices": members, "scan_index": frames.scan_index[members[:, 0]]}
    found["experiment_id"] = torch.full((batch,), experiment, dtype=torch.int32)
    where = frames.positions_px[members][:, :, None]
    start = frames.start_px[members][:, :, None]
    found["coords_global"] = where.float()
    for name, points in (("coords_", where), ("coords_start_", start)):
        centre = points.mean(1, keepdim=True)
        found[name + "center"], found[name + "relative"] = centre.float(), (points - centre).float()
    found |= {name: images.new_full((batch, 1, 1, 1), value) for name, value in frames.constants.items()}
    if config.normalize == "Group":
        rms, physics = amplitude_factors(images.clamp_min(0), "Group", config.data_scaling)
        found |= {"rms_scaling_constant": rms, "physics_scaling_constant": physics}
    if has_labels:
        found["label_amp"], found["label_phase"] = _labels(frames, members, images, config)
    return TensorDict(found, batch_size=[batch])


def _labels(frames: ExperimentFrames, members: Tensor, images: Tensor, config: DataConfig) -> tuple[Tensor, Tensor]:
    """Return amplitude and phase ``(B, C, N, N)`` of the truth at each frame; 1 and 0 outside the truth."""
    if frames.label is not None:
        patches = frames.label[members]
    elif frames.truth is not None:
        patches = cut_patches(frames.truth, frames.positions_px[members], images.shape[-1])
    else:
        return torch.ones_like(images), torch.zeros_like(images)
    phase = patches.angle()
    if config.phase_subtraction:
        phase = phase - phase.mean((-2, -1), keepdim=True)
    return patches.abs(), phase


def cut_patches(picture: Tensor, where: Tensor, side_px: int) -> Tensor:
    """Return patches ``(..., N, N)`` complex64 of a picture ``(H, W)``, pixel N/2 at positions ``(..., 2)`` [y, x], pixels.

    Between pixels the picture is interpolated linearly, as PtychoPINN does; outside it is 1.
    """
    corner = where.floor()
    dy, dx = (where - corner).to(picture.real.dtype)[..., None, None].unbind(-3)
    first = corner.long() - side_px // 2
    rows, columns = ((first[..., axis, None] + torch.arange(side_px + 1, device=where.device)) for axis in (0, 1))
    height, width = picture.shape
    has_rows, has_columns = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    found = picture[rows.clamp(0, height - 1)[..., :, None], columns.clamp(0, width - 1)[..., None, :]]
    found = torch.where(has_rows[..., :, None] & has_columns[..., None, :], found, 1.0)
    upper = (1 - dx) * found[..., :-1, :-1] + dx * found[..., :-1, 1:]
    lower = (1 - dx) * found[..., 1:, :-1] + dx * found[..., 1:, 1:]
    return (1 - dy) * upper + dy * lower
