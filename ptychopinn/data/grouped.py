"""The groups of an experiment as one dictionary under PtychoPINN's names, and as a training file.

Axes are PtychoPINN's: groups, rows, columns, members; coordinates are x before y, and relative ones are centre minus position.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, from_numpy

from ptychopinn.contract.training_export import TrainingScan, group_coordinates
from ptychopinn.data.gather import ExperimentFrames, cut_patches

FLOAT32_ROUNDING = 1e-6
"""Relative rounding error of squared float32 amplitudes, within which they are whole photons."""


class Grouped(TypedDict):
    """Groups ``B`` of ``C`` frames of side ``N``, px."""

    diffraction: NDArray[np.float32]
    """Amplitudes ``(B, N, N, C)``, 0 = no data."""
    X_full: NDArray[np.float32]
    """The same, scaled so that the mean of the frames' energies is (N/2)^2."""
    coords_offsets: NDArray[np.float64]
    """Centres ``(B, 1, 2, 1)``."""
    coords_relative: NDArray[np.float64]
    """Centre minus position ``(B, 1, 2, C)``."""
    coords_nn: NDArray[np.float64]
    """Positions ``(B, 1, 2, C)``."""
    coords_start_offsets: NDArray[np.float64]
    coords_start_relative: NDArray[np.float64]
    coords_start_nn: NDArray[np.float64]
    """The same of the intended stage positions."""
    nn_indices: NDArray[np.int32]
    """Frames ``(B, C)``."""
    Y: NotRequired[NDArray[np.complex64]]
    """Truth ``(B, N, N, C)``, if it is known."""
    objectGuess: NotRequired[NDArray[np.complex64]]  # noqa: N815
    """Truth ``(H, W)``, if it is known."""


def grouped(frames: ExperimentFrames, members: NDArray[np.int64]) -> Grouped:
    """Return groups ``(B, C)`` of the frames of an experiment."""
    index = from_numpy(members)
    amplitude = np.moveaxis(frames.images[index].clamp_min(0).numpy(), 1, -1)
    energy = np.square(amplitude, dtype=np.float64).sum(axis=(1, 2)).mean()
    side = amplitude.shape[1]
    scale = np.float32(side / 2 / np.sqrt(max(energy, np.finfo(np.float32).tiny)))
    offsets, relative, positions = _coordinates(frames.positions_px, members)
    start_offsets, start_relative, start = _coordinates(frames.start_px, members)
    found: Grouped = {
        "diffraction": amplitude,
        "X_full": scale * amplitude,
        "coords_offsets": offsets,
        "coords_relative": relative,
        "coords_nn": positions,
        "coords_start_offsets": start_offsets,
        "coords_start_relative": start_relative,
        "coords_start_nn": start,
        "nn_indices": members.astype(np.int32),
    }
    if frames.label is not None:
        found["Y"] = np.moveaxis(frames.label[index].numpy(), 1, -1)
    elif frames.truth is not None:
        patches = cut_patches(frames.truth, frames.positions_px[index], side)
        found["Y"] = np.moveaxis(patches.numpy(), 1, -1)
    if frames.truth is not None:
        found["objectGuess"] = frames.truth.numpy()
    return found


Points = NDArray[np.float64]


def _coordinates(positions_px: Tensor, members: NDArray[np.int64]) -> tuple[Points, Points, Points]:
    """Return centres, centres minus positions, and positions."""
    made = group_coordinates(positions_px.numpy(), members)
    offsets, relative = made["coords_offsets"], made["coords_relative"]
    return offsets, relative, offsets - relative


def exported(frames: ExperimentFrames, probe: Tensor, members: NDArray[np.int64]) -> TrainingScan:
    """Return an experiment for a training file: its photons (whole, if their roots allow), its groups, its truth."""
    amplitude = frames.images.numpy()
    photons = np.square(np.maximum(amplitude, 0), dtype=np.float64)
    whole = np.rint(photons)
    are_whole = bool((np.abs(photons - whole) <= FLOAT32_ROUNDING * np.maximum(whole, 1)).all())
    counts = whole.astype(np.int64 if whole.max(initial=0) > np.iinfo(np.int32).max else np.int32)
    counts[amplitude < 0] = -1
    if not are_whole:
        counts = np.where(amplitude < 0, np.nan, photons).astype(np.float32)
    return TrainingScan(
        counts=counts,
        positions_px=frames.positions_px.numpy(),
        probe=probe.numpy(),
        object=None if frames.truth is None else frames.truth.numpy(),
        scan_index=frames.scan_index.numpy(),
        members=members,
    )
