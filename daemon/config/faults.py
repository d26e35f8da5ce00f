"""Turns the errors of pydantic into one sentence that names every wrong key."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from daemon.config.sections import Config

WORDS = {
    "missing": "is missing",
    "path_type": "must be a path",
    "too_long": "has too many values",
    "too_short": "has too few values",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "string_type": "must be text",
    "model_type": "must be a table",
    "dict_type": "must be a table",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "bool_parsing": "must be true or false",
}
"""Texts for types of errors whose text by pydantic speaks of Python."""


COMPARISONS = {"greater than or equal to": "at least", "less than or equal to": "at most"}


def keys_at(place: Sequence[str]) -> list[str]:
    """Return the keys of a table; empty if there is no such table."""
    table: type[BaseModel] | None = Config
    for part in place:
        field = None if table is None else table.model_fields.get(part)
        table = None if field is None else _table(field.annotation)
    return [] if table is None else list(table.model_fields)


def _table(annotation: Any) -> type[BaseModel] | None:
    """Return the section that a key holds, also as one of a list; None for plain values."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def sentence_of(fault: ValidationError) -> str:
    """Return one sentence on all errors; those of one key are joined, as its alternatives are."""
    by_key: dict[str, list[str]] = {}
    for error in fault.errors():
        place = _key_of([str(part) for part in error["loc"] if not isinstance(part, int)])
        name = f"[{place[0]}] {'.'.join(place[1:])}".rstrip() if place else "configuration"
        by_key.setdefault(name, []).append(_words(error, place))
    return "; ".join(f"{name}{_joined(words)}" for name, words in by_key.items())


def _joined(words: list[str]) -> str:
    first, *others = dict.fromkeys(words)
    return " or".join([first, *(one.removeprefix(" must be") for one in others)])


def _key_of(place: list[str]) -> list[str]:
    """Return the place of the key whose value the error is about: pydantic appends the alternative that it tried."""
    for length in range(1, len(place)):
        if not keys_at(place[:length]):
            return place[:length]
    return place


def _words(error: ErrorDetails, place: list[str]) -> str:
    kind, message = error["type"], error["msg"]
    if kind == "extra_forbidden":
        thing = "key" if place[1:] else "section"
        near = difflib.get_close_matches(place[-1], keys_at(place[:-1]), 1)
        return f" is not a known {thing}" + (f"; did you mean {near[0]}?" if near else "")
    if kind == "missing" and isinstance(error["loc"][-1], int):
        return " has too few values"
    if kind in WORDS:
        return f" {WORDS[kind]}"
    if message.startswith("Input should "):
        words = message.removeprefix("Input should ")
        for long, short in COMPARISONS.items():
            words = words.replace(long, short)
        return f" must {words}"
    return f": {message.removeprefix('Value error, ')}"
