"""Reads the configuration: a TOML file, then the environment, then ``--set``; unknown keys are refused.

``PTYCHOLIVE_SECTION__KEY=value`` and ``--set section.key=value`` are parsed as TOML values, otherwise as text.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from daemon.config.base import Encrypted
from daemon.config.sections import Config
from daemon.errors import ConfigError

ENVIRONMENT_PREFIX = "PTYCHOLIVE_"


def load_config(path: Path, settings: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> Config:
    """Return the configuration of a TOML file, changed by the environment and by ``section.key=value`` settings.

    A relative input file is looked for where the program runs, then beside the configuration.

    Raises
    ------
    ConfigError
        With one sentence: the file, the key, and what to do.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise ConfigError(f"{path} cannot be read ({fault.strerror}); give the configuration's path") from fault
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise ConfigError(f"{path} is not TOML: {fault}") from fault
    for name, text in sorted((environment or {}).items()):
        if name.startswith(ENVIRONMENT_PREFIX) and "__" in name:
            section, _, key = name.removeprefix(ENVIRONMENT_PREFIX).partition("__")
            _put(tree, section.lower(), _field_name(section.lower(), key), text, f"the environment's {name}")
    for setting in settings:
        name, equals, text = setting.partition("=")
        section, dot, key = name.strip().partition(".")
        if not (equals and dot and key):
            raise ConfigError(f'--set "{setting}" is not section.key=value')
        _put(tree, section, key, text, f'--set "{setting}"')
    try:
        config = Config.model_validate(tree)
    except ValidationError as fault:
        raise ConfigError(f"{path}: {_sentence(fault)}") from fault
    return _with_found_files(config, path.parent)


def _put(tree: dict[str, Any], section: str, key: str, text: str, where: str) -> None:
    table = tree.setdefault(section, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: {section} is not a section of the configuration")
    try:
        table[key] = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        table[key] = text


def _field_name(section: str, key: str) -> str:
    """Return the field that an environment variable means, whatever its case."""
    names = _keys((section,))
    return next((name for name in names if name.lower() == key.lower()), key.lower())


def _keys(place: Sequence[str | int]) -> list[str]:
    model: Any = Config
    for part in place:
        field = model.model_fields.get(str(part))
        model = None if field is None else field.annotation
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return []
    return list(model.model_fields)


def _sentence(fault: ValidationError) -> str:
    parts = []
    for error in fault.errors():
        place = [str(part) for part in error["loc"] if not isinstance(part, int)]
        name = f"[{place[0]}] {'.'.join(place[1:])}".rstrip() if place else "configuration"
        if error["type"] == "extra_forbidden":
            near = difflib.get_close_matches(place[-1], _keys(place[:-1]), 1)
            parts.append(f"{name} is not a known key" + (f"; did you mean {near[0]}?" if near else ""))
        elif error["type"] == "missing":
            parts.append(f"{name} is missing")
        else:
            parts.append(f"{name}: {error['msg'].removeprefix('Value error, ')}")
    return "; ".join(dict.fromkeys(parts))


def _with_found_files(config: Config, beside: Path) -> Config:
    changes: dict[str, Any] = {}
    places: list[tuple[str, str]] = [("optics", "probe_file"), ("positions", "file"), ("detector", "mask_file")]
    places.append(("detector", "flatfield_file"))
    places += [("http", "token_file"), ("http", "certificate_file"), ("http", "key_file")]
    places += [(part, key) for part in ("frames", "positions", "metadata", "publish") for key in Encrypted.model_fields]
    for section, key in places:
        part = changes.get(section, getattr(config, section))
        value = getattr(part, key)
        if value is None or value.exists():
            continue
        if not (beside / value).exists():
            raise ConfigError(f"[{section}] {key}: there is no file {value} here or beside the configuration")
        changes[section] = part.model_copy(update={key: beside / value})
    bundle = config.model.bundle
    if not Path(bundle).is_file() and (beside / bundle).is_file():
        changes["model"] = config.model.model_copy(update={"bundle": str(beside / bundle)})
    return config.model_copy(update=changes)
