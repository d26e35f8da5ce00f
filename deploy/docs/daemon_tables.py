"""Tables of the daemon's public face: configuration, verbs, metrics, REST, the header of a picture."""

from __future__ import annotations

from typing import Any, Protocol, cast

from schema_words import default_of, values_of
from typer.testing import CliRunner

from daemon.cli.main import app
from daemon.config import Config
from daemon.metrics import Metrics
from daemon.publish.http.interface import DaemonView, create_app
from daemon.publish.hub import UpdateHub
from daemon.publish.snapshot import LayerUpdate
from daemon.publish.wire import full_header, layer_header

WIDTH = {"COLUMNS": "110", "TERMINAL_WIDTH": "110", "NO_COLOR": "1", "TERM": "dumb"}
HEADER_WORDS = {
    "schema_version": "version of the messages",
    "scan_id": "which scan",
    "sequence": "number of the message on this socket",
    "time_ns": "when the picture was taken, since 1970",
    "layer": "`network` or `refined`",
    "shape": "[H, W] of the whole picture",
    "dtype": "of the object",
    "origin_px": "[y, x] of pixel (0, 0) in the object's own frame",
    "pixel_size_m": "side of a pixel, or null",
    "frames_stitched": "frames in this picture's scan that are stitched",
    "frames_received": "frame messages received, duplicates and refused ones too",
    "model_generation": "generation of the newest model that has predicted a frame of it",
    "rfactor": "R-factor of the layer, or null before there is one",
    "complete": "true in a scan's last picture, and in better ones that follow its end",
}


class _Named(Protocol):
    """What a metric says of itself."""

    _name: str
    _type: str
    _labelnames: tuple[str, ...]
    _documentation: str


def configuration_tables() -> str:
    """Return a table for each section."""
    schema = Config.model_json_schema()
    parts = [_section(f"[{name}]", field, schema) for name, field in schema["properties"].items()]
    sinks = {"$ref": "#/$defs/SinkOptions"}
    optics = {"zone_plate": "ZonePlate", "pinhole": "Pinhole", "kb": "KbMirrors"}
    parts += [_section(f"[optics.{key}]", {"$ref": f"#/$defs/{name}"}, schema) for key, name in optics.items()]
    return "\n".join([*parts, _section("[[output.sinks]]", sinks, schema)])


def _section(title: str, field: dict[str, Any], schema: dict[str, Any]) -> str:
    section = schema["$defs"][field["$ref"].rsplit("/", 1)[1]]
    needed = section.get("required", [])
    lines = [f"### `{title}` {section['description'].splitlines()[0]}\n"]
    lines.append("| key | default | values | what |\n|---|---|---|---|")
    for name, about in section["properties"].items():
        default = "must be given" if name in needed else default_of(about)
        lines.append(f"| `{name}` | {default} | {values_of(about)} | {about.get('description', '')} |")
    return "\n".join([*lines, ""])


def cli_help() -> str:
    """Return the help of every verb."""
    parts = []
    for verb in verbs():
        done = CliRunner().invoke(app, [*verb, "--help"], prog_name="ptycholive", env=WIDTH, terminal_width=110)
        if done.exit_code:
            raise RuntimeError(f"no help for {' '.join(verb)}: {done.output}")
        parts.append(f"## {' '.join(verb)}\n\n```text\n{done.output.strip()}\n```\n")
    return "\n".join(parts)


def verbs() -> list[list[str]]:
    """Return every verb, those of two words too, in the order of the help."""
    plain = [[_name(one)] for one in app.registered_commands]
    for group in app.registered_groups:
        inner = group.typer_instance
        if inner is not None:
            plain += [[str(group.name), _name(one)] for one in inner.registered_commands]
    return plain


def _name(command: Any) -> str:
    return str(command.name or command.callback.__name__)


def metrics_table() -> str:
    """Return a row for each metric."""
    metrics = [cast(_Named, one) for one in vars(Metrics()).values() if hasattr(one, "describe")]
    lines = ["| metric | kind | labels | what |\n|---|---|---|---|"]
    for metric in metrics:
        kind = metric._type  # noqa: SLF001
        name = metric._name + {"counter": "_total", "info": "_info"}.get(kind, "")  # noqa: SLF001
        labels = ", ".join(f"`{label}`" for label in metric._labelnames)  # noqa: SLF001
        lines.append(f"| `{name}` | {kind} | {labels} | {metric._documentation} |")  # noqa: SLF001
    return "\n".join([*lines, ""])


def rest_tables() -> str:
    """Return a part for each route."""
    paths = create_app(cast(DaemonView, None), UpdateHub()).openapi()["paths"]
    parts = []
    for path, methods in paths.items():
        for method, operation in methods.items():
            parts.append(f"### `{method.upper()} {path}`\n")
            about = operation.get("description", "")
            parts.append(f"{operation['summary']}. {about}".strip() + "\n")
            parts += _parameters(operation.get("parameters", []))
            parts.append(_answers(operation["responses"]) + "\n")
    return "\n".join(parts)


def _parameters(parameters: list[dict[str, Any]]) -> list[str]:
    queries = [one for one in parameters if one["in"] == "query"]
    if not queries:
        return []
    lines = ["| parameter | default | values | what |\n|---|---|---|---|"]
    for one in queries:
        schema = one["schema"]
        lines.append(f"| `{one['name']}` | {default_of(schema)} | {values_of(schema)} | {one.get('description', '')} |")
    return [*lines, ""]


def _answers(responses: dict[str, Any]) -> str:
    kinds = [
        f"{status} {kind}" for status, one in responses.items() if status < "300" for kind in one.get("content", {})
    ]
    refusals = [f"{status}" for status in responses if status >= "400"]
    return f"Answers {', '.join(kinds)}; refuses with {', '.join(refusals)}."


def picture_table() -> str:
    """Return a row for each field of a picture's header."""
    update = LayerUpdate("star", "refined", (4, 4), (0, 0), 1e-8, 1, 1, 0, 0.15, False, (), 0)
    header = full_header(layer_header(update), 1)
    lines = ["| field | form | what |\n|---|---|---|"]
    lines += [f"| `{name}` | {_form(header[name])} | {HEADER_WORDS[name]} |" for name in sorted(header)]
    return "\n".join([*lines, ""])


def _form(value: object) -> str:
    if isinstance(value, list):
        return f"{len(value)} x {_form(value[0])}"
    return {bool: "true, false", int: "whole", float: "number", str: "text"}[type(value)]
