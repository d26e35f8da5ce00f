"""The tables of the contract, and finding the one for a file."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ORDER = (
    "nexus",
    "cxi",
    "ptyd",
    "ptyr",
    "patterns",
    "product",
    "npz-ptychopinn",
    "npz-diff3d",
    "npz-diffraction",
    "npz-tike",
    "npz-probe",
)
"""Kinds of files, in the order in which a file is compared with them."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An array or attribute of a file, which is read on demand."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[], NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Rule:
    """The requirements on one entry; ``*`` in its name matches any name."""

    name: str
    kind: str
    shapes: tuple[tuple[int | str, ...], ...]
    is_required: bool
    rules: tuple[str, ...]
    unit: str
    about: str


@dataclass(frozen=True, slots=True)
class Contract:
    """The contract of one kind of file.

    ``recognised_by`` are entries that must all be present (``a|b``: one of them); of each group in ``one_of`` one must be.
    """

    kind: str
    title: str
    recognised_by: tuple[str, ...]
    rules: tuple[Rule, ...]
    one_of: tuple[tuple[str, ...], ...]
    checks: tuple[str, ...]


@functools.cache
def contracts() -> dict[str, Contract]:
    """Return all contracts by kind."""
    return {kind: _contract(kind, Path(__file__).with_name(f"{kind}.json")) for kind in ORDER}


def contract_of(entries: Mapping[str, Entry]) -> Contract | None:
    """Return the contract for a file with these entries; None if there is none."""
    for contract in contracts().values():
        if all(any(matches(entries, name) for name in names.split("|")) for names in contract.recognised_by):
            return contract
    return None


def matches(names: Iterable[str], pattern: str) -> list[str]:
    """Return the names that match ``pattern``, which may contain ``*``."""
    if "*" not in pattern:
        return [pattern] if pattern in names else []
    depth = pattern.count("/")
    return [n for n in names if n.count("/") == depth and ("@" in pattern or "@" not in n) and fnmatchcase(n, pattern)]


def _contract(kind: str, path: Path) -> Contract:
    table = json.loads(path.read_text(encoding="utf-8"))
    rules = (
        Rule(
            name=name,
            kind=entry["kind"],
            shapes=tuple(tuple(shape) for shape in entry["shapes"]),
            is_required=entry["required"],
            rules=tuple(entry.get("rules", ())),
            unit=entry.get("unit", ""),
            about=entry["about"],
        )
        for name, entry in table["entries"].items()
    )
    return Contract(
        kind=kind,
        title=table["title"],
        recognised_by=tuple(table["recognised_by"]),
        rules=tuple(rules),
        one_of=tuple(tuple(names) for names in table.get("one_of", ())),
        checks=tuple(table.get("checks", ())),
    )
