"""Tables of the daemon's public face: configuration, verbs, metrics, REST, headers of messages."""

from __future__ import annotations

import re
from typing import Any, cast

from message_shapes import described
from prometheus_client import CollectorRegistry
from schema_words import default_of, values_of
from typer.testing import CliRunner

from daemon.cli.main import app
from daemon.config import Config
from daemon.messages import DeltaHeader, ScanEndedHeader, ScanStartedHeader, SnapshotHeader
from daemon.metrics import Metrics
from daemon.publish.http.interface import DaemonView, create_app
from daemon.publish.http.schema_words import BodyWords, answers, bodies
from daemon.publish.hub import UpdateHub
from streams.refusal_reasons import RefusalReason

WIDTH = {"COLUMNS": "110", "TERMINAL_WIDTH": "110", "NO_COLOR": "1", "TERM": "dumb"}


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
    known = vars(Metrics()).values()
    metrics = [one for one in known if hasattr(one, "collect") and not isinstance(one, CollectorRegistry)]
    lines = ["| metric | kind | labels | what |\n|---|---|---|---|"]
    for metric in metrics:
        (family,) = metric.collect()
        name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
        labels = ", ".join(f"`{label}`" for label in getattr(metric, "_labelnames", ()))
        lines.append(f"| `{name}` | {family.type} | {labels} | {family.documentation} |")
    return "\n".join([*lines, "", *_refusal_table(), ""])


def _refusal_table() -> list[str]:
    """Return the lines of the part about refusal reasons."""
    rows = [f"| `{reason}` | {reason.sentence} |" for reason in RefusalReason]
    intro = (
        "The account of a scan and `ptycholive_frames_refused_total` use these words; the "
        "[run book](../how-to/run-book.md#framesbeinglost) has the remedies."
    )
    return ["## Reasons of refused frames and messages", "", intro, "", "| reason | meaning |", "|---|---|", *rows]


def rest_tables() -> str:
    """Return a part for each route, then one for each body."""
    description = create_app(cast(DaemonView, None), UpdateHub()).openapi()
    named = list(bodies(description))
    names = {body.name for body in named}
    parts = []
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            parts.append(f"### `{method.upper()} {path}`\n")
            about = operation.get("description", "")
            parts.append(f"{operation['summary']}. {about}".strip() + "\n")
            parts += _parameters(operation.get("parameters", []))
            parts.append(_answers(operation, names) + "\n")
    parts.append("## Bodies\n")
    return "\n".join([*parts, *(_body(body, names) for body in named)])


def _body(body: BodyWords, names: set[str]) -> str:
    lines = [f"### {body.name}\n", f"{body.about}\n"]
    if body.values:
        return "\n".join([*lines, ", ".join(f"`{value}`" for value in body.values) + "\n"])
    return "\n".join([*lines, *_rows(body, names), ""])


def _rows(body: BodyWords, names: set[str], page: str = "") -> list[str]:
    rows = [f"| `{field.name}` | {_linked(field.form, names, page)} | {field.about} |" for field in body.fields]
    return ["| field | form | what |\n|---|---|---|", *rows]


def _linked(form: str, names: set[str], page: str = "") -> str:
    return re.sub(r"\w+", lambda word: f"[{word[0]}]({page}#{word[0].lower()})" if word[0] in names else word[0], form)


def _parameters(parameters: list[dict[str, Any]]) -> list[str]:
    queries = [one for one in parameters if one["in"] == "query"]
    if not queries:
        return []
    lines = ["| parameter | default | values | what |\n|---|---|---|---|"]
    for one in queries:
        schema = one["schema"]
        lines.append(f"| `{one['name']}` | {default_of(schema)} | {values_of(schema)} | {one.get('description', '')} |")
    return [*lines, ""]


def _answers(operation: dict[str, Any], names: set[str]) -> str:
    good = [
        f"{status} with {_linked(form, names)}" if kind == "application/json" else f"{status} {kind}"
        for status, kind, form in answers(operation)
    ]
    refusals = [status for status in operation["responses"] if status >= "400"]
    return f"Answers {', '.join(good)}; refuses with {', '.join(refusals)}."


def header_tables() -> str:
    """Return a table of the header of each topic; that of a status is the body of the REST route."""
    shapes = (
        ("`scan` at the start", ScanStartedHeader),
        ("`scan` at the end", ScanEndedHeader),
        ("`snapshot`", SnapshotHeader),
        ("`delta`", DeltaHeader),
    )
    parts = []
    for title, shape in shapes:
        found = {body.name: body for body in bodies(described(shape))}
        parts += [f"### Header of {title}\n", *_rows(found[shape.__name__], set(found), "rest.md"), ""]
    return "\n".join(parts)
