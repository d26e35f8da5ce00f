"""Reads the configuration: a TOML file, then the environment, then ``--set``; unknown keys are refused.

``PTYCHOLIVE_SECTION__KEY=value`` and ``--set section.key=value`` are parsed as TOML values, otherwise as text.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from daemon.config.base import Encrypted
from daemon.config.faults import keys_at, sentence_of
from daemon.config.sections import Config
from daemon.errors import ConfigError

ENVIRONMENT_PREFIX = "PTYCHOLIVE_"


def load_config(path: Path, settings: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> Config:
    """Return the configuration of a TOML file, overridden by the environment and by ``section.key=value`` settings.

    A relative path of an input file is looked for in the working directory, then beside the configuration.

    Raises
    ------
    ConfigError
        With one sentence: the file, the key, and what to do.
    """
    tree = _read_tree(path)
    _apply_environment(tree, environment or {})
    _apply_settings(tree, settings)
    try:
        config = Config.model_validate(tree)
    except ValidationError as fault:
        raise ConfigError(f"{path}: {sentence_of(fault)}") from fault
    return _with_found_files(config, path.parent)


def _read_tree(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise ConfigError(f"{path} cannot be read ({fault.strerror}); give the path of the configuration") from fault
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise ConfigError(f"{path} is not valid TOML: {fault}") from fault


def _apply_environment(tree: dict[str, Any], environment: Mapping[str, str]) -> None:
    for name, text in sorted(environment.items()):
        if name.startswith(ENVIRONMENT_PREFIX) and "__" in name:
            section, _, key = name.removeprefix(ENVIRONMENT_PREFIX).partition("__")
            where = f"environment variable {name}"
            _set_value(tree, section.lower(), _field_name(section.lower(), key), text, where)


def _apply_settings(tree: dict[str, Any], settings: Sequence[str]) -> None:
    for setting in settings:
        name, equals, text = setting.partition("=")
        section, dot, key = name.strip().partition(".")
        if not (equals and dot and key):
            raise ConfigError(f'--set "{setting}" must have the form section.key=value')
        _set_value(tree, section, key, text, f'--set "{setting}"')


def _set_value(tree: dict[str, Any], section: str, key: str, text: str, where: str) -> None:
    """Set a value, parsed as TOML if it can be; ``where`` names its origin in the error."""
    table = tree.setdefault(section, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: {section} is not a section of the configuration")
    try:
        table[key] = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        table[key] = text


def _field_name(section: str, key: str) -> str:
    """Return the key that an environment variable means; case is ignored."""
    names = keys_at((section,))
    return next((name for name in names if name.lower() == key.lower()), key.lower())


INPUT_FILES = (
    ("optics", "probe_file"),
    ("positions", "file"),
    ("detector", "mask_file"),
    ("detector", "flatfield_file"),
    ("http", "token_file"),
    ("http", "certificate_file"),
    ("http", "key_file"),
    *((section, key) for section in ("frames", "positions", "metadata", "publish") for key in Encrypted.model_fields),
)
"""Section and key of every input file."""


def _with_found_files(config: Config, beside: Path) -> Config:
    """Return the configuration with the paths of the input files as found. Raises :class:`ConfigError` for a missing one."""
    changes: dict[str, Any] = {}
    for section, key in INPUT_FILES:
        part = changes.get(section, getattr(config, section))
        value = getattr(part, key)
        if value is None or value.exists():
            continue
        if not (beside / value).exists():
            raise ConfigError(
                f"[{section}] {key}: the file {value} does not exist in the working directory or beside the configuration"
            )
        changes[section] = part.model_copy(update={key: beside / value})
    bundle = config.model.bundle
    if not Path(bundle).is_file() and (beside / bundle).is_file():
        changes["model"] = config.model.model_copy(update={"bundle": str(beside / bundle)})
    return config.model_copy(update=changes)
