"""The answers of a person and the configuration that is made of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar, get_args

from daemon.attach.quantities import quantities, quantity
from daemon.config.input import PositionKind
from daemon.errors import ConfigError

Value = TypeVar("Value")
TomlValue = bool | int | float | str | Path | Sequence["TomlValue"] | Mapping[str, "TomlValue"] | None
Tree = dict[str, dict[str, TomlValue]]
"""A configuration by section and key."""
ProbeKind = Literal["file", "zone-plate", "pinhole"]
PROBE_KINDS: tuple[ProbeKind, ...] = get_args(ProbeKind)
POSITION_KINDS: tuple[PositionKind, ...] = get_args(PositionKind)
MOST_TRIES = 5
"""Wrong answers to one question before the command ends."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Takes a value that was given, else asks for it, else takes the default.

    Attributes
    ----------
    ask
        Asks a question, with a default, and returns the answer, or raises ``EOFError``; None: nobody can be asked.
    say
        Takes sentences about the stream and the answers.
    has_options
        Whether a value that was given is named by its option of the command line, else by its question.
    """

    ask: Callable[[str, str | None], str] | None
    say: Callable[[str], None]
    has_options: bool = True

    def take(
        self,
        given: str | None,
        option: str,
        question: str,
        read: Callable[[str], Value],
        *,
        default: str | None = None,
    ) -> Value:
        """Return a value; `read` raises ``ValueError`` with a sentence.

        Raises
        ------
        ConfigError
            If an option is wrong, or a value is missing and nobody can be asked.
        """
        name = option if self.has_options else question
        if given is not None:
            return _checked(read, given, name)
        if self.ask is None:
            if default is None and self.has_options:
                raise ConfigError(f"{option} is missing ({question}); give it, or leave out --yes to be asked")
            if default is None:
                raise ConfigError(f"{question}: the answer is missing")
            return _checked(read, default, name)
        for _ in range(MOST_TRIES):
            try:
                answer = self.ask(question, default)
            except EOFError as end:
                raise ConfigError(f"the answer to {question!r} is missing; give {option}") from end
            try:
                return read(answer)
            except ValueError as fault:
                self.say(f"  {fault}")
        raise ConfigError(f"{MOST_TRIES} answers to {question!r} were wrong; give {option}")


def _checked(read: Callable[[str], Value], text: str, name: str) -> Value:
    try:
        return read(text)
    except ValueError as fault:
        raise ConfigError(f"{name}: {fault}") from fault


def read_positive(unit: str) -> Callable[[str], float]:
    """Return a reader of a quantity above 0 in eV or m."""

    def read(text: str) -> float:
        value = quantity(text, unit)
        if value <= 0:
            raise ValueError(f"{text!r} must be above 0")
        return value

    return read


def read_choice(*names: str) -> Callable[[str], str]:
    """Return a reader of one of some words."""

    def read(text: str) -> str:
        if text.strip() not in names:
            raise ValueError(f"{text!r} is not one of {', '.join(names)}")
        return text.strip()

    return read


def read_file(text: str) -> Path:
    """Return the absolute path of a file that exists."""
    path = Path(text.strip()).expanduser()
    if not path.is_file():
        raise ValueError(f"{path} does not exist")
    return path.absolute()


def read_side(text: str) -> int:
    """Return a side of the pattern."""
    try:
        side = int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number") from None
    if side < 16 or side % 2:
        raise ValueError(f"{side} is not an even number from 16 on")
    return side


def read_centre(text: str) -> tuple[int, int] | Literal["auto"]:
    """Return row and column, or auto."""
    if text.strip() == "auto":
        return "auto"
    try:
        row, column = (int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"{text!r} is not ROW,COLUMN or auto") from None
    return row, column


def read_shape(text: str) -> tuple[int, int]:
    """Return rows and columns of ``40x60``."""
    try:
        rows, columns = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise ValueError(f"{text!r} is not ROWSxCOLUMNS. Example: 40x60") from None
    if rows < 1 or columns < 1:
        raise ValueError(f"{text!r} has no position")
    return rows, columns


def read_step(text: str) -> tuple[float, float]:
    """Return the steps in y and x, m, of ``0.5`` or ``0.5, 0.4`` micrometres."""
    y, x = quantities(text, ("um", "um"), 1)
    return y, x or y


def read_zone_plate(text: str) -> dict[str, float]:
    """Return ``[optics] zone_plate`` of outermost zone width, diameter, central stop, defocus."""
    names = ("outermost_zone_width_m", "diameter_m", "central_stop_m", "defocus_m")
    return dict(zip(names, quantities(text, ("nm", "um", "um", "um"), 2), strict=True))


def read_pinhole(text: str) -> dict[str, float]:
    """Return ``[optics] pinhole`` of diameter, distance."""
    return dict(zip(("diameter_m", "distance_m"), quantities(text, ("um", "mm"), 1), strict=True))


def toml_text(tree: Tree, head: Sequence[str]) -> str:
    """Return a configuration as TOML, with comment lines at its head. A value ``None`` is left out."""
    parts = [f"# {line}" for line in head]
    for section, keys in tree.items():
        parts += ["", f"[{section}]"]
        parts += [f"{name} = {_toml_value(value)}" for name, value in keys.items() if value is not None]
    return "\n".join(parts) + "\n"


def _toml_value(value: TomlValue) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_toml_value(part)}" for name, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml_value(part) for part in value) + "]"
    if isinstance(value, float):
        text = f"{value:.12g}"
        return text if any(sign in text for sign in ".en") else f"{text}.0"
    if isinstance(value, int):
        return str(value)
    return json.dumps(str(value), ensure_ascii=False)  # a basic string of TOML has JSON's escapes
