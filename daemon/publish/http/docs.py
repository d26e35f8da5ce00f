"""The page at /docs: the OpenAPI description as plain HTML, without content from other hosts."""

from __future__ import annotations

import re
from html import escape

from daemon.publish.http.schema_words import BodyWords, Schema, answers, bodies

_EXTRA = (
    ("WS", "/api/v1/updates", "Live updates", "One binary msgpack array each: [topic, header, buffer, …]."),
    ("GET", "/api/v1/openapi.json", "This description for programs", "OpenAPI 3."),
)


def docs_page(description: Schema) -> str:
    """HTML of an OpenAPI description."""
    info = description.get("info", {})
    named = list(bodies(description))
    names = {body.name for body in named}
    rows = [
        _entry(method.upper(), path, operation, names)
        for path, methods in description.get("paths", {}).items()
        for method, operation in methods.items()
    ]
    rows += [_section(*extra, "") for extra in _EXTRA]
    shapes = [_body(body, names) for body in named]
    title = escape(f"{info.get('title', '')} API {info.get('version', '')}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="stylesheet" href="/page/docs.css"><link rel="icon" href="/page/icon.svg"></head>'
        f'<body class="docs"><main><h1>{title}</h1><p>{escape(info.get("description", ""))}</p>{"".join(rows)}'
        f"<h1>Bodies</h1>{''.join(shapes)}</main>"
        "</body></html>"
    )


def _entry(method: str, path: str, operation: Schema, names: set[str]) -> str:
    rows = "".join(_parameter(parameter) for parameter in operation.get("parameters", []))
    table = f"<table>{rows}</table>" if rows else ""
    words = operation.get("summary", ""), operation.get("description", "")
    return _section(method, path, *words, table + _answers(operation, names))


def _answers(operation: Schema, names: set[str]) -> str:
    lines = []
    for status, media_type, form in answers(operation):
        body = _linked(form, names) if media_type == "application/json" else escape(media_type)
        lines.append(f"<p>Answers {escape(status)}: {body}</p>")
    return "".join(lines)


def _body(body: BodyWords, names: set[str]) -> str:
    rows = "".join(
        f"<tr><td>{escape(field.name)}</td><td>{_linked(field.form, names)}</td><td>{escape(field.about)}</td></tr>"
        for field in body.fields
    )
    values = f"<p>{escape(', '.join(body.values))}</p>" if body.values else ""
    head = f'<h2 id="{escape(body.name)}"><code>{escape(body.name)}</code></h2>'
    return f"<section>{head}<p>{escape(body.about)}</p>{values}<table>{rows}</table></section>"


def _linked(form: str, names: set[str]) -> str:
    """Return the form of a value; names of bodies lead to them."""
    return re.sub(
        r"\w+", lambda word: f'<a href="#{word[0]}">{word[0]}</a>' if word[0] in names else word[0], escape(form)
    )


def _section(method: str, path: str, summary: str, text: str, table: str) -> str:
    head = f'<h2><span class="method">{escape(method)}</span> <code>{escape(path)}</code></h2>'
    return f"<section>{head}<p>{escape(summary)}. {escape(text)}</p>{table}</section>"


def _parameter(parameter: Schema) -> str:
    schema = parameter.get("schema", {})
    kind = " | ".join(schema["enum"]) if "enum" in schema else schema.get("type", "")
    default = f"default {schema['default']}" if schema.get("default") is not None else ""
    cells = (parameter.get("name", ""), parameter.get("in", ""), kind, default, parameter.get("description", ""))
    return "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in cells) + "</tr>"
