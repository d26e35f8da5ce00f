"""Streaming loader: batches from frames that arrive one after the other, from a detector or a journal."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from ptychopinn.config.sections import DataConfig
from ptychopinn.data.dataset import GroupBatch
from ptychopinn.data.experiment import Experiment
from ptychopinn.data.gather import ExperimentFrames, gather
from ptychopinn.data.grouping import draw_groups
from ptychopinn.errors import GeometryError
from ptychopinn.model.cnn_scaling import normalise_probe
from ptychopinn.mosaic.groups import GroupFrame


class StreamDataset(IterableDataset[GroupBatch]):
    """Batches of groups around the newest frames; neighbours come from the last ``keep_frames`` frames.

    ``Trainer.fit`` trains on it until it ends, with ``Trainer.stream_config`` as its configuration.

    Parameters
    ----------
    frames
        Frames of one scan, for example ``daemon.journal.reading.group_frames`` of a journal.
    probe : (modes, N, N) complex64
    chunk_frames
        Number of new frames after which groups are drawn around them.
    """

    def __init__(
        self,
        frames: Iterable[GroupFrame],
        probe: Tensor,
        config: DataConfig,
        *,
        batch_size: int,
        seed: int,
        chunk_frames: int = 128,
        keep_frames: int = 4096,
    ) -> None:
        self._frames, self.config, self.batch_size = frames, config, batch_size
        self.probe = probe
        normalised, q = normalise_probe(probe, config.probe_scale)
        self._probe, self._scaling = normalised[None, None], torch.full((1, 1, 1, 1), q)
        self._rng = np.random.default_rng(seed)
        self._chunk_frames = chunk_frames
        self._kept: deque[GroupFrame] = deque(maxlen=keep_frames)

    def __iter__(self) -> Iterator[GroupBatch]:
        self._kept.clear()
        for chunk in _chunks(self._frames, self._chunk_frames):
            self._kept.extend(chunk)
            yield from self._batches(len(chunk))

    def _batches(self, new: int) -> Iterator[GroupBatch]:
        """Yield the groups drawn around the newest frames, in random order."""
        where = np.array([frame.position_px for frame in self._kept], dtype=np.float64)
        try:
            groups, centres = draw_groups(where, self.config, self._rng)
        except GeometryError:
            return  # there are too few frames yet
        groups = self._rng.permutation(groups[centres >= len(where) - new])
        amplitude = np.stack([frame.amplitude for frame in self._kept])
        scan = Experiment("stream", amplitude, where, self.probe.numpy())
        frames = ExperimentFrames.of(scan, self.config, np.arange(len(where)))
        numbers = torch.tensor([frame.index for frame in self._kept])
        for begin in range(0, len(groups), self.batch_size):
            members = torch.from_numpy(groups[begin : begin + self.batch_size])
            group = gather(frames, members, 0, self.config, has_labels=False)
            group["nn_indices"] = numbers[members]
            size = len(members)
            yield GroupBatch(group, self._probe.expand(size, -1, -1, -1, -1), self._scaling.expand(size, -1, -1, -1))


def _chunks(frames: Iterable[GroupFrame], size: int) -> Iterator[list[GroupFrame]]:
    found: list[GroupFrame] = []
    for frame in frames:
        found.append(frame)
        if len(found) == size:
            yield found
            found = []
    if found:
        yield found
