"""Checks of a file against its contract; one sentence for each violation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.contract.table import Contract, Entry, Rule, matches

KINDS = {
    "real": ("uif", "real numbers"),
    "integer": ("ui", "whole numbers"),
    "complex": ("c", "complex numbers"),
    "flag": ("bui", "true or false"),
    "text": ("SUOT", "text"),
}
"""Type codes of NumPy for each kind, and its name."""
GROUP_TOLERANCE_PX = 1e-3
"""Greatest deviation of a group's coordinates from its members' positions, px; float32 rounds by less."""

Sizes = dict[str, tuple[int, str]]
"""The length of each letter in this file, and the entry that defined it."""


def violations(contract: Contract, entries: Mapping[str, Entry]) -> list[str]:
    """Return the violations of a contract in a file; empty if there are none."""
    found: list[str] = []
    sizes: Sizes = {}
    for rule in contract.rules:
        names = matches(entries, rule.name)
        if not names and rule.is_required:
            found.append(f"{rule.name} is missing; write {_form(rule)}")
        for name in names:
            found += _entry_faults(rule, name, entries[name], sizes)
    for alternatives in contract.one_of:
        if not any(name in entries for name in alternatives):
            found.append(f"none of {', '.join(alternatives)} is present; write one")
    if not found:
        for check in contract.checks:
            found += CHECKS[check](entries)
    return found


def _form(rule: Rule) -> str:
    shapes = " or ".join(_shape_text(shape) for shape in rule.shapes)
    return f"{KINDS[rule.kind][1]} {shapes}" + (f", {rule.unit}" if rule.unit else "")


def _shape_text(shape: tuple[Any, ...]) -> str:
    if not shape:
        return "(one value)"
    return f"({', '.join(str(length).rstrip('*') for length in shape)}{',' if len(shape) == 1 else ''})"


def _entry_faults(rule: Rule, name: str, entry: Entry, sizes: Sizes) -> Iterator[str]:
    codes, words = KINDS[rule.kind]
    if entry.dtype.kind not in codes:
        yield f"{name} is {entry.dtype}; write {words}"
        return
    fault = _shape_fault(rule, name, entry.shape, sizes)
    if fault is not None:
        yield fault
        return
    if rule.rules:
        values = entry.read()
        for word in rule.rules:
            fault = RULES[word](values)
            if fault is not None:
                yield f"{name} {fault}"


def _shape_fault(rule: Rule, name: str, shape: tuple[int, ...], sizes: Sizes) -> str | None:
    """Return the error of a shape; if it is right, store the lengths that it defines."""
    line = _in_line(rule, shape)
    rivals = [wanted for wanted in rule.shapes if len(wanted) == len(line)]
    wrong = message = f"{name} has the shape {shape}; write {' or '.join(map(_shape_text, rule.shapes))}"
    for wanted in rivals:
        settled: Sizes = {}
        fault = ""
        for length, letter in zip(line, wanted, strict=True):
            key = (
                f"{letter}{name.rsplit('/', 1)[0]}" if isinstance(letter, str) and letter.endswith("*") else str(letter)
            )
            known = (letter, "") if isinstance(letter, int) else sizes.get(key) or settled.get(key)
            if known is None:
                settled[key] = (length, name)
            elif known[0] != length:
                by = f" as {known[1]} has it" if known[1] and known[1] != name else ""
                fault = f"{wrong}, with {str(letter).rstrip('*')} = {known[0]}{by}" if by else wrong
                break
        if not fault:
            sizes.update(settled)
            return None
        message = fault
    return message


def _in_line(rule: Rule, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape with the rule's number of axes: trailing axes of length 1 are dropped, a raster becomes one axis."""
    most = max(len(wanted) for wanted in rule.shapes)
    while len(shape) > max(most, 1) and shape[-1] == 1:
        shape = shape[:-1]
    while len(shape) > max(most, 1):
        shape = (shape[0] * shape[1], *shape[2:])
    return shape


def _not_finite(values: NDArray[Any]) -> str | None:
    if values.dtype.kind not in "fc":
        return None
    bad = int((~np.isfinite(values)).sum())
    return f"has {bad} values that are not finite; write numbers" if bad else None


def _negative(values: NDArray[Any]) -> str | None:
    bad = int((values < 0).sum()) if values.dtype.kind in "if" else 0
    return f"has {bad} values below 0; write 0 or more" if bad else None


def _dark(values: NDArray[Any]) -> str | None:
    if values.dtype.kind == "c":
        return None if values.any() else "is zero everywhere; write the wave field"
    return None if (values > 0).any() else "has no photon; write the measured counts"


def _not_positive(values: NDArray[Any]) -> str | None:
    good = np.isfinite(values).all() and (values > 0).all() and values.size > 0
    return None if good else f"is {np.array2string(values, threshold=4)}; write a number above 0"


def _repeated(values: NDArray[Any]) -> str | None:
    twice = values.size - np.unique(values).size
    return f"has {twice} repeated numbers; number each frame once" if twice else None


def _unordered(values: NDArray[Any]) -> str | None:
    return "is not ascending; sort the frames by it" if values.size > 1 and (np.diff(values) < 0).any() else None


RULES: dict[str, Callable[[NDArray[Any]], str | None]] = {
    "finite": _not_finite,
    "not_negative": _negative,
    "lit": _dark,
    "positive": _not_positive,
    "unique": _repeated,
    "ascending": _unordered,
}


def _group_faults(entries: Mapping[str, Entry]) -> Iterator[str]:
    """Compare the coordinates of groups with the positions of their members."""
    keys = ("coords_offsets", "coords_relative")
    present = [key for key in keys if key in entries]
    if not present:
        return
    if len(present) == 1:
        yield f"{present[0]} is present without {keys[present[0] == keys[0]]}; write both or neither"
        return
    offsets, relative = (entries[key].read().astype(np.float64) for key in keys)
    positions = np.stack([entries[key].read().astype(np.float64) for key in ("xcoords", "ycoords")])
    groups, members = relative.shape[0], relative.shape[-1]
    if "nn_indices" in entries:
        index = entries["nn_indices"].read().astype(np.int64)
    elif members == 1 and groups == positions.shape[1]:
        index = np.arange(groups)[:, None]
    else:
        yield f"nn_indices is missing; write the frames (g, C) of the {groups} groups of {members}"
        return
    if index.size and index.max() >= positions.shape[1]:
        yield f"nn_indices names frame {index.max()} but there are {positions.shape[1]}; number them from 0"
        return
    wanted = positions[:, index].transpose(1, 0, 2)[:, None]
    bad = int((np.abs(offsets - relative - wanted).max(axis=(1, 2, 3)) > GROUP_TOLERANCE_PX).sum())
    if bad:
        yield (
            f"coords_offsets - coords_relative is not the members' (x, y) in {bad} of {groups} groups; "
            "write centre, and centre minus position"
        )


CHECKS: dict[str, Callable[[Mapping[str, Entry]], Iterator[str]]] = {"groups": _group_faults}
