"""The five configurations together: read from files, tracked runs and dictionaries; checked and changed as a whole."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ptychopinn.config.check import CHANNEL_FIELDS, contradictions, settled, without_unused
from ptychopinn.config.mlflow_client import mlflow_client, one_line
from ptychopinn.config.section import Section
from ptychopinn.config.sections import DataConfig, DatagenConfig, InferenceConfig, ModelConfig, TrainingConfig
from ptychopinn.errors import ConfigurationError, FileFormatError

SECTIONS: dict[str, type[Section]] = {
    "data_config": DataConfig,
    "model_config": ModelConfig,
    "training_config": TrainingConfig,
    "inference_config": InferenceConfig,
    "datagen_config": DatagenConfig,
}
"""The sections in the order of :meth:`ConfigManager.to_tuple`."""
NOT_SECTIONS = ("ci_statistics", "schema_version")
"""Further entries of PtychoPINN's own files, which are ignored."""
FULL_FILE = "full_config.json"
"""Name of the file with all sections in a directory that PtychoPINN wrote."""

SectionValues = dict[str, object]
"""Values of one section by field name: numbers, strings, booleans, None, and lists of them."""
Configs = tuple[DataConfig, ModelConfig, TrainingConfig, InferenceConfig, DatagenConfig]


class ConfigManager:
    """The five configurations, always consistent.

    Raises
    ------
    ConfigurationError
        When it is created or updated, with one sentence for each wrong value.
    """

    def __init__(
        self,
        data_config: DataConfig | None = None,
        model_config: ModelConfig | None = None,
        training_config: TrainingConfig | None = None,
        inference_config: InferenceConfig | None = None,
        datagen_config: DatagenConfig | None = None,
    ) -> None:
        self.data_config = data_config or DataConfig()
        self._is_merging_stated = model_config is not None
        self.model_config = model_config or ModelConfig(object_big=self.data_config.C > 1)
        self.training_config = training_config or TrainingConfig()
        self.inference_config = inference_config or InferenceConfig()
        self.datagen_config = datagen_config or DatagenConfig()
        faults = list(contradictions(self.data_config, self.model_config, self.training_config))
        if faults:
            raise ConfigurationError("; ".join(faults))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ConfigManager:
        """Return the configurations of a dictionary of sections, named ``data_config``, ``data`` or ``DataConfig``."""
        sections: dict[str, Mapping[str, Any]] = {}
        faults = []
        for key, part in values.items():
            name = _section_name(key)
            if name is None and key not in NOT_SECTIONS:
                faults.append(_no_section(key))
            elif name is not None and not isinstance(part, Mapping):
                faults.append(f"{key} is not a table of names and values; write one")
            elif name is not None:
                sections[name] = part
        told, channel_faults = settled(sections)
        made: dict[str, Any] = {}  # the type of each section differs
        for name, section in SECTIONS.items():
            try:
                made[name] = section.of(told.get(name, {}))
            except ConfigurationError as fault:
                faults.append(str(fault))
        if faults or channel_faults:
            raise ConfigurationError("; ".join([*faults, *channel_faults]))
        found = cls(**made)
        found._is_merging_stated = "object_big" in sections.get("model_config", {})
        return found

    @classmethod
    def from_foreign(cls, values: Mapping[str, Any]) -> ConfigManager:
        """Return the configurations of a model that another program trained; unknown names are ignored."""
        known = {name: {field.name for field in fields(section)} for name, section in SECTIONS.items()}
        told: dict[str, SectionValues] = {}
        for key, part in values.items():
            name = _section_name(key)
            if name is not None and isinstance(part, Mapping):
                told[name] = {k: v for k, v in part.items() if k in known[name] or k in CHANNEL_FIELDS}
        return cls.from_dict(without_unused(told))

    @classmethod
    def from_tuple(cls, parts: Sequence[Section | Mapping[str, Any] | None]) -> ConfigManager:
        """Return the configurations of a tuple in the order of :meth:`to_tuple`; None and missing ones are defaults."""
        if len(parts) > len(SECTIONS):
            raise ConfigurationError(f"{len(parts)} configurations were given; there are {len(SECTIONS)}")
        sections = dict(zip(SECTIONS, parts, strict=False))
        return cls.from_dict({name: _values(part) for name, part in sections.items() if part is not None})

    @classmethod
    def from_json(cls, path: Path | str, overrides: Overrides = ()) -> ConfigManager:
        """Return the configurations of a JSON file, or of a ``configs`` directory of PtychoPINN."""
        path = Path(path)
        if path.is_dir():
            return cls._from_tree(_directory(path), path, overrides)
        return cls._from_tree(_parsed(path, json.loads, "JSON"), path, overrides)

    @classmethod
    def from_toml(cls, path: Path | str, overrides: Overrides = ()) -> ConfigManager:
        """Return the configurations of a TOML file."""
        return cls._from_tree(_parsed(Path(path), tomllib.loads, "TOML"), path, overrides)

    @classmethod
    def from_file(cls, path: Path | str, overrides: Overrides = ()) -> ConfigManager:
        """Return the configurations of a JSON or TOML file.

        Parameters
        ----------
        overrides
            A dictionary as in :meth:`from_dict`, or settings ``section.name=value`` with a TOML value (else it is text).
        """
        return (cls.from_toml if Path(path).suffix == ".toml" else cls.from_json)(path, overrides)

    @classmethod
    def from_mlflow(cls, run_id: str, tracking_uri: str | None = None, overrides: Overrides = ()) -> ConfigManager:
        """Return the configurations of a tracked run of this program or of PtychoPINN.

        Raises
        ------
        ConfigurationError
            If mlflow is not installed, or there is no such run, or it has no configuration.
        """
        client = mlflow_client(tracking_uri)
        try:
            parameters = client.get_run(run_id).data.params
        except Exception as fault:  # tracking stores raise errors of any kind
            raise ConfigurationError(f"mlflow run {run_id}: {one_line(fault)}") from fault
        tree = {}
        for section in SECTIONS.values():
            text = parameters.get(f"{section.__name__}_params")
            if text is not None:
                tree[section.__name__] = _parsed_text(text, json.loads, f"mlflow run {run_id}", "JSON")
        if not tree:
            raise ConfigurationError(f"mlflow run {run_id} has no configuration; give the run of a training")
        return cls._from_tree(tree, f"mlflow run {run_id}", overrides)

    @classmethod
    def _from_tree(cls, tree: Mapping[str, Any], where: object, overrides: Overrides) -> ConfigManager:
        merged = {_section_name(key) or key: part for key, part in tree.items()}
        for name, changes in _changes(overrides).items():
            part = merged.get(name, {})
            merged[name] = {**part, **changes} if isinstance(part, Mapping) else changes
        try:
            return cls.from_dict(merged)
        except ConfigurationError as fault:
            raise ConfigurationError(f"{where}: {fault}") from None

    def update(self, overrides: Overrides = (), **sections: Mapping[str, Any]) -> ConfigManager:
        """Change values by settings or as ``update(data_config={"N": 128})``; if one is wrong, none is changed.

        Returns
        -------
        ConfigManager
            This object.
        """
        changes = _changes({**_changes(overrides), **sections})
        unknown = [name for name in changes if name not in SECTIONS]
        if unknown:
            raise ConfigurationError(_no_section(unknown[0]))
        whole = {name: {**asdict(getattr(self, name)), **changes.get(name, {})} for name in SECTIONS}
        if "grid_size" not in changes.get("data_config", {}) and "C" in changes.get("data_config", {}):
            del whole["data_config"]["grid_size"]
        if not self._is_merging_stated and "object_big" not in changes.get("model_config", {}):
            del whole["model_config"]["object_big"]  # it follows from the new grid_size, as in a file
        self.__dict__.update(ConfigManager.from_dict(whole).__dict__)
        return self

    def to_tuple(self) -> Configs:
        """Return the sections: data, model, training, inference, datagen."""
        return (
            self.data_config,
            self.model_config,
            self.training_config,
            self.inference_config,
            self.datagen_config,
        )

    def to_dict(self) -> dict[str, SectionValues]:
        """Return the sections as dictionaries that JSON can store."""
        return {name: _plain(asdict(part)) for name, part in zip(SECTIONS, self.to_tuple(), strict=True)}

    def mlflow_parameters(self) -> dict[str, str]:
        """Return the parameters of a tracked run that :meth:`from_mlflow` and PtychoPINN read."""
        maps = self.to_dict()
        return {f"{section.__name__}_params": json.dumps(maps[name]) for name, section in SECTIONS.items()}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ConfigManager) and self.to_tuple() == other.to_tuple()

    __hash__ = None  # type: ignore[assignment]


Overrides = Mapping[str, Any] | Sequence[str]


def _section_name(key: str) -> str | None:
    for name, section in SECTIONS.items():
        if key in (name, name.removesuffix("_config"), section.__name__):
            return name
    return None


def _no_section(key: str) -> str:
    short = [name.removesuffix("_config") for name in SECTIONS]
    near = difflib.get_close_matches(key, [*SECTIONS, *short], 1)
    return f"{key} is not a section; " + (
        f"did you mean {near[0]}?" if near else f"the sections are {', '.join(SECTIONS)}"
    )


def _values(part: Section | Mapping[str, Any]) -> Mapping[str, Any]:
    return asdict(part) if isinstance(part, Section) else part


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def _changes(overrides: Overrides) -> dict[str, SectionValues]:
    if isinstance(overrides, Mapping):
        return {_section_name(key) or key: dict(part) for key, part in overrides.items()}
    changes: dict[str, SectionValues] = {}
    for setting in overrides:
        place, equals, text = setting.partition("=")
        section, dot, field = place.strip().partition(".")
        if not (equals and dot and field):
            raise ConfigurationError(f'"{setting}" is not section.name=value')
        try:
            value = tomllib.loads(f"value = {text.strip()}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        changes.setdefault(_section_name(section) or section, {})[field] = value
    return changes


def _parsed(path: Path, parse: Any, kind: str) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as fault:
        raise FileFormatError(f"{path}: cannot be read ({fault.strerror}); give a configuration file") from None
    except UnicodeDecodeError:
        raise FileFormatError(f"{path}: not a text file; give a configuration file") from None
    return _parsed_text(text, parse, path, kind)


def _parsed_text(text: str, parse: Any, where: object, kind: str) -> Mapping[str, Any]:
    try:
        tree = parse(text)
    except ValueError as fault:
        raise FileFormatError(f"{where}: not valid {kind} ({fault}); correct it") from None
    if not isinstance(tree, Mapping):
        raise FileFormatError(f"{where}: has no sections; write data_config, model_config and so on")
    return tree


def _directory(path: Path) -> Mapping[str, Any]:
    """Return the sections in the ``configs`` directory of a run: from the full file, else from one file for each section."""
    if (path / FULL_FILE).exists():
        return _parsed(path / FULL_FILE, json.loads, "JSON")
    found = {name: path / f"{name}.json" for name in SECTIONS if (path / f"{name}.json").exists()}
    if not found:
        raise FileFormatError(
            f"{path}: has neither {FULL_FILE} nor data_config.json; give the configs directory of a run"
        )
    return {name: _parsed(file, json.loads, "JSON") for name, file in found.items()}
