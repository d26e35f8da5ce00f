"""The data set as training reads it: groups by number, of a whole store or of a part of it."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ptychopinn.config.sections import DataConfig
from ptychopinn.contract.training_export import Dialect, write_training_file
from ptychopinn.data.gather import ExperimentFrames, gather
from ptychopinn.data.grouped import Grouped, exported, grouped
from ptychopinn.data.store import ExperimentFacts, store_facts
from ptychopinn.errors import GeometryError
from ptychopinn.model.cnn_scaling import normalise_probe, soft_probe_mask
from ptychopinn.tensor_dict import TensorDict

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
        folder: Path | str,
        part: StorePart = "training",
        *,
        has_labels: bool = True,
        probe_mask_sigma_px: float | None = None,
    ) -> None:
        folder = Path(folder)
        facts = store_facts(folder)
        self.facts: list[ExperimentFacts] = facts["experiments"]
        self.config = DataConfig.of(facts["data"])
        self._has_labels = has_labels
        self._frames: list[ExperimentFrames] = []
        self._places: list[Tensor] = []
        self._experiment: Tensor
        self._members: Tensor
        self._given_probes: list[Tensor] = []
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
                    truth=optics.get("truth", None),
                    label=frames.get("label", None),
                    constants=about["constants"],
                )
            )
            self._given_probes.append(optics["probe"])
            members = groups["nn_indices"]
            chosen = members if part == "all" else members[groups["is_held_out"] == (part == "validation")]
            self._places.append(torch.as_tensor(chosen))
        self.__dict__.update(_groups_of(self._places))
        self.probes, self.probe_scaling = _normalised(self._given_probes, self.config, probe_mask_sigma_px)

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

    def experiment_subset(self, number: int) -> PtychoDataset:
        """Return the data set with the groups of one experiment only; its number stays the same.

        Raises
        ------
        GeometryError
            If there is no experiment of that number.
        """
        members = self._members_of(number)
        found = copy(self)
        found.__dict__.update(_groups_of([members if e == number else p[:0] for e, p in enumerate(self._places)]))
        return found

    def _members_of(self, experiment: int) -> Tensor:
        if not 0 <= experiment < len(self._frames):
            raise GeometryError(
                f"there is no experiment {experiment} of {len(self._frames)} (from 0); give a smaller number"
            )
        return self._places[experiment]

    def grouped(self, experiment: int = 0) -> Grouped:
        """Return the groups of one experiment under PtychoPINN's names, as its ``generate_grouped_data`` does."""
        members = self._members_of(experiment)
        return grouped(self._frames[experiment], members.numpy())

    def export_npz(self, path: Path | str, experiment: int = 0, dialect: Dialect = "ptychopinn") -> None:
        """Write the frames of one experiment and its groups as a training file, which PtychoPINN's loaders read."""
        members = self._members_of(experiment)
        scan = exported(self._frames[experiment], self._given_probes[experiment], members.numpy())
        write_training_file(Path(path), scan, dialect)

    def farthest_px(self) -> float:
        """Return the greatest distance, along an axis, of a member from its group's centre."""
        greatest = 0.0
        for frames, members in zip(self._frames, self._places, strict=True):
            if len(members):
                where = frames.positions_px[members]
                greatest = max(greatest, float((where - where.mean(1, keepdim=True)).abs().max()))
        return greatest


def _groups_of(places: list[Tensor]) -> dict[str, object]:
    """Return the groups of each experiment, and of all of them the experiment and the members."""
    experiment = torch.cat([torch.full((len(p),), e) for e, p in enumerate(places)])
    return {"_places": places, "_experiment": experiment, "_members": torch.cat(places)}


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
