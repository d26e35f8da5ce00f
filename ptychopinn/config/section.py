"""Base class of the five configurations: checked on creation, one sentence for each wrong value."""

from __future__ import annotations

import difflib
import functools
import typing
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from ptychopinn.errors import ConfigurationError

Sections = dict[str, dict[str, object]]
"""Values by section and name, before they are checked."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A frozen dataclass whose values have the declared types and ranges.

    Raises
    ------
    ConfigurationError
        On creation, with one sentence for each wrong value.
    """

    def __post_init__(self) -> None:
        try:
            checked = type(self).checking_model().model_validate(asdict(self))
        except ValidationError as fault:
            raise ConfigurationError("; ".join(_sentences(type(self).__name__, fault))) from None
        for field in fields(self):
            object.__setattr__(self, field.name, getattr(checked, field.name))

    @classmethod
    @functools.cache
    def checking_model(cls) -> type[BaseModel]:
        """Return the pydantic model of the fields, which also gives their JSON schema."""
        hints = typing.get_type_hints(cls, include_extras=True)
        parts: dict[str, Any] = {}
        for field in fields(cls):
            default = field.default if field.default_factory is MISSING else field.default_factory()
            parts[field.name] = (hints[field.name], default)
        config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())
        return create_model(cls.__name__, __config__=config, __doc__=cls.__doc__, **parts)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Return the section with these values; an unknown name is an error that suggests the nearest known one."""
        known = [field.name for field in fields(cls)]
        unknown = [name for name in values if name not in known]
        if unknown:
            raise ConfigurationError("; ".join(_unknown(cls.__name__, str(name), known) for name in unknown))
        return cls(**values)


def _unknown(section: str, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"{section} has no {name}" + (f"; did you mean {near[0]}?" if near else "; leave it out")


def _sentences(section: str, fault: ValidationError) -> list[str]:
    told: dict[str, str] = {}
    for error in fault.errors():
        name = str(error["loc"][0])
        words = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
        told.setdefault(name, f"{section}.{name} is {error['input']!r} but {words}")
    return list(told.values())
