"""The page at /docs: the OpenAPI description as plain HTML, without anything from other hosts."""

from __future__ import annotations

from html import escape
from typing import Any

_EXTRA = (
    ("WS", "/api/v1/updates", "Live updates", "One binary msgpack array each: [topic, header, buffer, …]."),
    ("GET", "/api/v1/openapi.json", "This description for programs", "OpenAPI 3."),
)


def docs_page(description: dict[str, Any]) -> str:
    """HTML of an OpenAPI description."""
    info = description.get("info", {})
    rows = [
        _entry(method.upper(), path, operation)
        for path, methods in description.get("paths", {}).items()
        for method, operation in methods.items()
    ]
    rows += [_section(*extra, "") for extra in _EXTRA]
    title = escape(f"{info.get('title', '')} API {info.get('version', '')}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="stylesheet" href="/page/style.css"><link rel="icon" href="/page/icon.svg"></head>'
        f'<body class="docs"><main><h1>{title}</h1><p>{escape(info.get("description", ""))}</p>{"".join(rows)}</main>'
        "</body></html>"
    )


def _entry(method: str, path: str, operation: dict[str, Any]) -> str:
    rows = "".join(_parameter(parameter) for parameter in operation.get("parameters", []))
    table = f"<table>{rows}</table>" if rows else ""
    return _section(method, path, operation.get("summary", ""), operation.get("description", ""), table)


def _section(method: str, path: str, summary: str, text: str, table: str) -> str:
    head = f'<h2><span class="method">{escape(method)}</span> <code>{escape(path)}</code></h2>'
    return f"<section>{head}<p>{escape(summary)}. {escape(text)}</p>{table}</section>"


def _parameter(parameter: dict[str, Any]) -> str:
    schema = parameter.get("schema", {})
    kind = " | ".join(schema["enum"]) if "enum" in schema else schema.get("type", "")
    default = f"default {schema['default']}" if schema.get("default") is not None else ""
    cells = (parameter.get("name", ""), parameter.get("in", ""), kind, default, parameter.get("description", ""))
    return "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in cells) + "</tr>"
