"""Loaders: selection of the groups of a batch, and two ways to load them.

The order depends only on the seed and the epoch. It is divided among the processes of a distributed training and can start
at any batch, so that an interrupted epoch resumes at its position.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import astuple, dataclass
from typing import Any, TypedDict, cast

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from ptychopinn.data.dataset import GroupBatch, PtychoDataset


@dataclass(frozen=True, slots=True)
class WorkerRank:
    """Number of a process (worker) of a distributed training, and the number of workers."""

    rank: int = 0
    workers: int = 1

    @classmethod
    def current(cls) -> WorkerRank:
        """Return that of this process; rank 0 of 1 unless ``torch.distributed`` is initialised."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return cls(torch.distributed.get_rank(), torch.distributed.get_world_size())
        return cls()


class GroupSampler(Sampler[list[int]]):
    """Yields the indices of one batch after the other.

    Each worker gets ``batch_size`` groups in a step; all workers have the same number of batches.

    Parameters
    ----------
    seed
        None: the order of the data set.
    """

    def __init__(self, groups: int, batch_size: int, *, seed: int | None, worker: WorkerRank | None = None) -> None:
        self._groups, self._batch_size, self._seed, self._given_worker = groups, batch_size, seed, worker
        self.epoch = 0
        self.begin = 0

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return -(-self._groups // (self._batch_size * self._worker().workers))

    def set_epoch(self, epoch: int) -> None:
        """Select the order of an epoch."""
        self.epoch = epoch

    def _worker(self) -> WorkerRank:
        """Return the given worker, else the current one: ``torch.distributed`` may be initialised after the loader is created."""
        return self._given_worker or WorkerRank.current()

    def __iter__(self) -> Iterator[list[int]]:
        order = np.arange(self._groups)
        if self._seed is not None:
            order = np.random.default_rng((self._seed, self.epoch)).permutation(self._groups)
        rank, workers = astuple(self._worker())
        step = self._batch_size * workers
        begin, self.begin = self.begin, 0
        for number in range(begin, len(self)):
            part = order[number * step : (number + 1) * step]
            part = np.resize(part, -(-len(part) // workers) * workers)  # the last step: as many for each worker
            yield part[rank::workers].tolist()


class LoaderState(TypedDict):
    """State of a :class:`TensorDictLoader`."""

    epoch: int
    batch: int


class TensorDictLoader:
    """Iterates over batches in this process, directly from the memory-mapped files.

    It stores its position: a new loader with the :meth:`state_dict` of another continues after the same batch.

    Parameters
    ----------
    ahead
        Number of batches that threads read while others are used; 0: none.
    """

    def __init__(
        self,
        dataset: PtychoDataset,
        batch_size: int,
        *,
        seed: int | None,
        worker: WorkerRank | None = None,
        device: torch.device | str = "cpu",
        ahead: int = 0,
    ) -> None:
        self._ahead = ahead
        self.dataset = dataset
        self._sampler = GroupSampler(len(dataset), batch_size, seed=seed, worker=worker)
        self._device = device
        self._done = 0

    def __len__(self) -> int:
        return len(self._sampler)

    def set_epoch(self, epoch: int) -> None:
        """Select the order of an epoch."""
        self._sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[GroupBatch]:
        self._done = self._sampler.begin
        for batch in self._batches():
            self._done += 1
            yield batch.to(self._device)
        self._done = 0

    def _batches(self) -> Iterator[GroupBatch]:
        if not self._ahead:
            yield from (self.dataset[indices] for indices in self._sampler)
            return
        with ThreadPoolExecutor(self._ahead, thread_name_prefix="read-ahead") as threads:
            waiting: deque[Future[GroupBatch]] = deque()
            try:
                for indices in self._sampler:
                    waiting.append(threads.submit(self.dataset.__getitem__, indices))
                    if len(waiting) > self._ahead:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for one in waiting:
                    one.cancel()

    def state_dict(self) -> LoaderState:
        """Return the epoch and the number of its batches that were yielded."""
        return {"epoch": self._sampler.epoch, "batch": self._done % len(self)}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Continue after the batches that were yielded."""
        known = cast(LoaderState, state)
        self._sampler.epoch, self._sampler.begin = known["epoch"], known["batch"]


def torch_loader(
    dataset: PtychoDataset, batch_size: int, *, seed: int | None, workers: int = 0
) -> DataLoader[GroupBatch]:
    """Return a torch DataLoader over batches; ``workers`` processes read ahead."""
    sampler = GroupSampler(len(dataset), batch_size, seed=seed)
    return DataLoader(dataset, batch_sampler=sampler, collate_fn=_as_it_is, num_workers=workers)


def _as_it_is(batch: Any) -> Any:
    return batch
