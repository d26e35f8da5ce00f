"""Keys of groups (TensorDicts) and of training files: axes, order, unit, number type, and the counterpart in PtychoPINN.

``keys.json`` is the one table; the reference page shows it, and ``validate`` checks data sets against it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ptychopinn.tensor_dict import TensorDict


@dataclass(frozen=True, slots=True)
class GroupKey:
    """One entry of the groups; a letter in ``axes`` means the same length in all entries."""

    name: str
    dtype: str
    axes: tuple[int | str, ...]
    order: str
    unit: str
    upstream: str


@functools.cache
def group_keys() -> dict[str, GroupKey]:
    """Return the entries of groups by name."""
    table = _table()["groups"]
    return {
        name: GroupKey(name, row["dtype"], tuple(row["axes"]), row["order"], row["unit"], upstream=row["upstream"])
        for name, row in table.items()
    }


@functools.cache
def file_keys() -> dict[str, str]:
    """Return the counterpart in PtychoPINN of each key of training files."""
    found: dict[str, str] = _table()["files"]
    return found


def group_violations(group: TensorDict) -> Iterator[str]:
    """Yield one sentence for each violation of the table in groups."""
    sizes: dict[str, int] = {}
    for name in group.keys():  # noqa: SIM118  (iteration over a TensorDict goes along its first axis)
        known = group_keys().get(str(name))
        if known is None:
            yield f"{name} is not a key of groups"
            continue
        value = group[name]
        if value.dtype != getattr(torch, known.dtype):
            yield f"{name} is {str(value.dtype).removeprefix('torch.')}; write {known.dtype}"
        fits = len(value.shape) == len(known.axes) and all(
            length == (axis if isinstance(axis, int) else sizes.setdefault(axis, length))
            for length, axis in zip(value.shape, known.axes, strict=True)
        )
        if not fits:
            yield f"{name} has the shape {tuple(value.shape)}; write ({', '.join(map(str, known.axes))})"
    if "coords_global" in group and "coords_center" in group and "coords_relative" in group:
        error = (group["coords_global"] - group["coords_center"] - group["coords_relative"]).abs().max()
        if not float(error) <= float(group["coords_global"].abs().max()) * 1e-5 + 1e-5:  # float32 rounds by less
            yield "coords_relative is not position minus centre; write it so"


def _table() -> dict[str, Any]:
    """Return the parsed table: groups as rows, files as sentences."""
    table: dict[str, Any] = json.loads(Path(__file__).with_name("keys.json").read_text(encoding="utf-8"))
    return table
