"""Groups of frames that arrive in any order: a growing neighbour index, and DiffractionGroup TensorDicts.

Neighbouring rows of a scan overlap, so the members of a group are found by position among ALL frames received so far. A
frame is first a group of its own (C = 1); with gridsize 2 it becomes the centre of one group of four as soon as its three
nearest neighbours overlap it.

Keys of a DiffractionGroup, C = gridsize^2 (coordinates in pixels, ``(y, x)``):

``images (B, C, N, N)`` float32 amplitude, -1 = no data; ``coords_global (B, C, 1, 2)``; ``coords_center (B, 1, 1, 2)``
mean of the members; ``coords_relative (B, C, 1, 2)`` = global - centre, all float32; ``nn_indices (B, C)`` int64 frame
indexes, the centre first; ``center_scan_id (B)``, ``experiment_id (B)`` int64; ``rms_scaling_constant`` and
``physics_scaling_constant`` ``(B, 1, 1, 1)`` float32, the amplitude regime's factors of the frames in the call.
The frames' indexes stay on the host, where they are used; all else is on the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ptychopinn.device import TINY, to_device
from ptychopinn.tensor_dict import TensorDict

HOST_KEYS = {"nn_indices", "center_scan_id"}
"""Keys that stay on the host: reading them back would wait for the device."""


class NeighbourIndex:
    """Nearest neighbours among a growing set of points: trees of doubling size, O(log^2 n) per point."""

    def __init__(self) -> None:
        self._trees: list[tuple[cKDTree, NDArray[np.int64]]] = []

    def __len__(self) -> int:
        return sum(len(keys) for _, keys in self._trees)

    def add(self, keys: Sequence[int], positions: NDArray[np.float64]) -> None:
        """Add points ``(n, 2)``."""
        if not len(keys):
            return
        new_keys, points = np.asarray(keys, dtype=np.int64), np.asarray(positions, dtype=np.float64)
        while self._trees and len(self._trees[-1][1]) <= 2 * len(new_keys):
            tree, old = self._trees.pop()
            new_keys, points = np.concatenate((old, new_keys)), np.concatenate((tree.data, points))
        self._trees.append((cKDTree(points), new_keys))

    def nearest(self, positions: NDArray[np.float64], k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return keys and distances ``(n, k)`` of the nearest points, nearest first; -1 and inf for missing points."""
        keys = np.full((len(positions), k), -1, dtype=np.int64)
        distances = np.full((len(positions), k), np.inf)
        for tree, names in self._trees:
            found, where = tree.query(positions, k=range(1, k + 1))
            names_or_none = np.append(names, -1)
            keys = np.concatenate((keys, names_or_none[where]), axis=1)
            distances = np.concatenate((distances, found), axis=1)
        order = np.lexsort((keys, distances), axis=1)[:, :k]
        return np.take_along_axis(keys, order, 1), np.take_along_axis(distances, order, 1)


@dataclass(slots=True)
class GroupFrame:
    """A frame: its index, ``amplitude (N, N)`` float32 (-1 = no data), ``position_px`` (y, x)."""

    index: int
    amplitude: NDArray[np.float32]
    position_px: tuple[float, float]


class GroupBuilder:
    """Makes DiffractionGroups of one scan.

    Parameters
    ----------
    gridsize
        1 or 2.
    reach_px
        Greatest distance of a neighbour from the centre (N / 2 means half a patch of overlap).
    keep_frames
        Number of frames kept for later groups (gridsize 2). The oldest are dropped; a centre whose neighbour was dropped
        stays a single frame.
    """

    def __init__(self, gridsize: int, reach_px: float, device: torch.device, keep_frames: int = 4096) -> None:
        if gridsize not in (1, 2):
            raise ValueError(f"gridsize is {gridsize}; use 1 or 2")
        self.members = gridsize**2
        self._reach_px = reach_px
        self._device = device
        self._keep_frames = keep_frames
        self._index = NeighbourIndex()
        self._frames: dict[int, GroupFrame] = {}
        self._alone: set[int] = set()

    def position_px(self, index: int) -> tuple[float, float]:
        """Return the position of a frame that is kept for later groups."""
        return self._frames[index].position_px

    def move(self, places: Mapping[int, tuple[float, float]]) -> None:
        """Take other positions of frames that are kept for later groups."""
        self._frames |= {i: replace(self._frames[i], position_px=p) for i, p in places.items() if i in self._frames}
        self._index = NeighbourIndex()
        self._index.add(list(self._frames), np.array([f.position_px for f in self._frames.values()], dtype=np.float64))

    def add(self, frames: Sequence[GroupFrame], images: NDArray[np.float32] | None = None) -> list[TensorDict]:
        """Add frames; return them as single groups and, for gridsize 2, the groups that they complete.

        ``images (B, N, N)`` are the frames' amplitudes where they are in one array already, which saves a copy.
        """
        if not frames:
            return []
        out = [self._group([[frame] for frame in frames], images)]
        if self.members > 1:
            complete = self._complete(frames)
            if complete:
                out.append(self._group(complete))
        return out

    def again(self, indexes: Sequence[int]) -> list[TensorDict]:
        """Return the groups around frames that are kept: of four where complete, else single ones."""
        kept = [self._frames[i] for i in indexes if i in self._frames]
        complete = self._groups_around([f for f in kept if f.index not in self._alone])
        centres = {group[0].index for group in complete}
        single = [[f] for f in kept if f.index not in centres]
        return [self._group(groups) for groups in (complete, single) if groups]

    def _complete(self, frames: Sequence[GroupFrame]) -> list[list[GroupFrame]]:
        positions = np.array([f.position_px for f in frames], dtype=np.float64)
        self._index.add([f.index for f in frames], positions)
        self._frames.update((f.index, f) for f in frames)
        self._alone.update(f.index for f in frames)
        near, distance = self._index.nearest(positions, 4 * self.members)
        touched = set(near[distance <= self._reach_px].tolist()) & self._alone
        centres = [self._frames[i] for i in sorted(touched) if i in self._frames]
        groups = self._groups_around(centres)
        self._alone.difference_update(group[0].index for group in groups)
        for old in list(self._frames)[: max(0, len(self._frames) - self._keep_frames)]:
            del self._frames[old]
            self._alone.discard(old)
        return groups

    def _groups_around(self, centres: Sequence[GroupFrame]) -> list[list[GroupFrame]]:
        """Return the complete groups, each with its centre first."""
        groups: list[list[GroupFrame]] = []
        if not centres:
            return groups
        keys, reach = self._index.nearest(np.array([c.position_px for c in centres]), self.members)
        for centre, row, far in zip(centres, keys.tolist(), reach[:, -1].tolist(), strict=True):
            if far <= self._reach_px and all(k in self._frames for k in row):
                groups.append([centre, *(self._frames[k] for k in row if k != centre.index)][: self.members])
        return groups

    def _group(self, groups: list[list[GroupFrame]], images: NDArray[np.float32] | None = None) -> TensorDict:
        batch, members = len(groups), len(groups[0])
        frames = list(chain.from_iterable(groups))
        if images is None:
            images = np.stack([f.amplitude for f in frames])
        images = images.reshape(batch, members, *images.shape[1:])
        where = np.array([f.position_px for f in frames], dtype=np.float32).reshape(batch, members, 1, 2)
        centre = where.mean(axis=1, keepdims=True, dtype=np.float32)
        indices = np.array([f.index for f in frames], dtype=np.int64).reshape(batch, members)
        valid = np.maximum(images, 0).ravel()
        energy = float(valid @ valid) / (batch * members)
        total = float(valid.sum()) / (batch * members)
        rms = np.full((batch, 1, 1, 1), images.shape[-1] / max(energy, TINY) ** 0.5, dtype=np.float32)
        physics = np.full((batch, 1, 1, 1), 1.0 / max(total, TINY), dtype=np.float32)
        arrays = {
            "images": images,
            "coords_global": where,
            "coords_center": centre,
            "coords_relative": where - centre,
            "nn_indices": indices,
            "center_scan_id": indices[:, 0].copy(),
            "experiment_id": np.zeros(batch, dtype=np.int64),
            "rms_scaling_constant": rms,
            "physics_scaling_constant": physics,
        }
        group = {k: torch.from_numpy(v) if k in HOST_KEYS else to_device(v, self._device) for k, v in arrays.items()}
        return TensorDict(group, batch_size=[batch])
