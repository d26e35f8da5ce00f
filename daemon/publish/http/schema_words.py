"""The parts of an OpenAPI description in words, for the page at /docs and the reference pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

KINDS = {
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "string": "text",
    "null": "null",
    "object": "map",
}

Schema = Mapping[str, Any]


class FieldWords(NamedTuple):
    """One field of a body."""

    name: str
    form: str
    about: str


class BodyWords(NamedTuple):
    """One body; ``values`` are those of an enum, which has no fields."""

    name: str
    about: str
    fields: list[FieldWords]
    values: list[str]


def bodies(description: Schema) -> Iterator[BodyWords]:
    """Yield every named body of a description."""
    for name, schema in description.get("components", {}).get("schemas", {}).items():
        needed = schema.get("required", ())
        fields = [
            FieldWords(field, form_of(part) + ("" if field in needed else " (optional)"), _about(part, description))
            for field, part in schema.get("properties", {}).items()
        ]
        yield BodyWords(name, schema.get("description", ""), fields, list(schema.get("enum", ())))


def form_of(schema: Schema) -> str:
    """Return the form of a value: a kind, or the name of a body."""
    if "anyOf" in schema:
        return " or ".join(form_of(part) for part in schema["anyOf"])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema or "const" in schema:
        return ", ".join(map(str, schema.get("enum", [schema.get("const")])))
    if "prefixItems" in schema:
        return f"{len(schema['prefixItems'])} x {form_of(schema['prefixItems'][0])}"
    if schema.get("type") == "array":
        return f"list of {form_of(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), Mapping):
        return f"map of {form_of(schema['additionalProperties'])}"
    return KINDS.get(schema.get("type", ""), "any value")


def answers(operation: Schema) -> Iterator[tuple[str, str, str]]:
    """Yield status, media type and form of the body of each good answer."""
    for status, answer in operation["responses"].items():
        for media_type, content in answer.get("content", {}).items():
            if status < "300":
                yield status, media_type, form_of(content.get("schema", {}))


def _about(field: Schema, description: Schema) -> str:
    if "description" in field:
        return str(field["description"])
    if "$ref" not in field:
        return ""
    body = description["components"]["schemas"][form_of(field)]
    return str(body.get("description", ""))
