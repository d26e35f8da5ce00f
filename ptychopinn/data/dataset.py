"""The data set as training reads it: groups by number, of a whole store or of a part of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from tensordict import TensorDict
from torch import Tensor
from torch.utils.data import Dataset

from ptychopinn.config.sections import DataConfig
from ptychopinn.data.gather import ExperimentFrames, gather
from ptychopinn.data.store import ExperimentFacts, store_facts
from ptychopinn.model.cnn_scaling import normalise_probe, soft_probe_mask

StorePart = Literal["training", "validation", "all"]


class GroupBatch(NamedTuple):
    """Groups (:mod:`ptychopinn.data.gather`), normalised probes ``(B, 1, modes, N, N)``, and their q ``(B, 1, 1, 1)``."""

    group: TensorDict
    probe: Tensor
    probe_scaling: Tensor

    def to(self, device: torch.device | str) -> GroupBatch:
        """Return the batch on a device."""
        return GroupBatch(self.group.to(device), self.probe.to(device), self.probe_scaling.to(device))


class PtychoDataset(Dataset[GroupBatch]):
    """Groups of a store; an index, a slice or a list of indices gives a :class:`GroupBatch`.

    Parameters
    ----------
    part
        Groups for training, held out for validation, or all.
    has_labels
        Whether groups have ``label_amp`` and ``label_phase``.
    probe_mask_sigma_px
        Softness of the disk within which the mean modulus of the probe is taken, px; None: no disk.
    """

    def __init__(
        self,
        folder: Path,
        part: StorePart = "training",
        *,
        has_labels: bool = True,
        probe_mask_sigma_px: float | None = None,
    ) -> None:
        facts = store_facts(folder)
        self.facts: list[ExperimentFacts] = facts["experiments"]
        self.config = DataConfig.of(facts["data"])
        self._has_labels = has_labels
        self._frames: list[ExperimentFrames] = []
        self._places: list[Tensor] = []
        probes: list[Tensor] = []
        for number, about in enumerate(self.facts):
            frames, optics, groups = (
                TensorDict.load_memmap(folder / f"{number:03d}" / name) for name in ("frames", "optics", "groups")
            )
            self._frames.append(
                ExperimentFrames(
                    images=frames["images"],
                    positions_px=frames["positions_px"],
                    start_px=frames["start_px"],
                    scan_index=frames["scan_index"],
                    truth=optics["truth"] if about["has_truth"] else None,
                    constants=about["constants"],
                )
            )
            probes.append(optics["probe"])
            members = groups["nn_indices"]
            chosen = members if part == "all" else members[groups["is_held_out"] == (part == "validation")]
            self._places.append(torch.as_tensor(chosen))
        self._experiment = torch.cat([torch.full((len(p),), e) for e, p in enumerate(self._places)])
        self._members = torch.cat(self._places)
        self.probes, self.probe_scaling = _normalised(probes, self.config, probe_mask_sigma_px)

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> GroupBatch:
        numbers = torch.arange(len(self))[index].reshape(-1)
        experiments = self._experiment[numbers]
        parts, order = [], []
        for experiment in sorted(set(experiments.tolist())):
            mine = torch.nonzero(experiments == experiment)[:, 0]
            members = self._members[numbers[mine]]
            parts.append(
                gather(self._frames[experiment], members, experiment, self.config, has_labels=self._has_labels)
            )
            order.append(mine)
        group = parts[0]
        if len(parts) > 1:
            group = TensorDict.cat(parts)[torch.cat(order).argsort()]
        return GroupBatch(group, self.probes[experiments][:, None], self.probe_scaling[experiments])

    def __getitems__(self, indices: Sequence[int]) -> GroupBatch:
        """Return a batch, as loaders ask for one."""
        return self[list(indices)]

    def farthest_px(self) -> float:
        """Return the greatest distance, along an axis, of a member from its group's centre."""
        greatest = 0.0
        for frames, members in zip(self._frames, self._places, strict=True):
            if len(members):
                where = frames.positions_px[members]
                greatest = max(greatest, float((where - where.mean(1, keepdim=True)).abs().max()))
        return greatest


def _normalised(probes: list[Tensor], config: DataConfig, sigma_px: float | None) -> tuple[Tensor, Tensor]:
    """Return normalised probes ``(experiments, modes, N, N)``, missing modes 0, and their q ``(experiments, 1, 1, 1)``."""
    mask = None if sigma_px is None else soft_probe_mask(config.N, sigma_px)
    most = max(len(probe) for probe in probes)
    out = torch.zeros(len(probes), most, config.N, config.N, dtype=torch.complex64)
    scaling = torch.ones(len(probes), 1, 1, 1)
    for number, probe in enumerate(probes):
        found, q = normalise_probe(probe, config.probe_scale, mask) if config.probe_normalize else (probe, 1.0)
        out[number, : len(probe)] = found
        scaling[number] = q
    return out, scaling
