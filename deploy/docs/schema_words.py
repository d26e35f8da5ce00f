"""What a field's JSON schema allows, in words for a table."""

from __future__ import annotations

from typing import Any

KINDS = {
    "integer": "whole",
    "number": "number",
    "boolean": "true, false",
    "string": "text",
    "null": "none",
    "object": "table",
}
BOUNDS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}


def default_of(field: dict[str, Any]) -> str:
    """Return the default, or "none"."""
    value = field.get("default")
    if value in (None, ""):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`".replace("'", "")


def values_of(field: dict[str, Any]) -> str:
    """Return what values a field takes."""
    return " or ".join(_one(choice) for choice in field.get("anyOf", [field]))


def _one(choice: dict[str, Any]) -> str:
    if "enum" in choice or "const" in choice:
        return ", ".join(map(str, choice.get("enum", [choice.get("const")])))
    if "$ref" in choice:
        return "table"
    if choice.get("type") == "array":
        items = choice.get("prefixItems") or [choice["items"]]
        return f"list of {_one(items[0])}" if "prefixItems" not in choice else f"{len(items)} x {_one(items[0])}"
    words = ["path" if choice.get("format") == "path" else KINDS[choice["type"]]]
    words += [f"{word} {choice[key]:g}" for key, word in BOUNDS.items() if key in choice]
    if "multipleOf" in choice:
        words.append("even")
    return " ".join(words)
