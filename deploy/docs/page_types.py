"""TypeScript types of the maps that the viewer page receives, from ``daemon.messages``: ``make docs`` writes them.

``make page-lint`` checks the page's code against them, so a field that is renamed on one side alone fails there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from message_shapes import described

from daemon import messages

PATH = Path(__file__).parents[1] / "page-tools" / "messages.d.ts"
KINDS = {"integer": "number", "number": "number", "boolean": "boolean", "string": "string", "null": "null"}
SHAPES = (
    messages.ComparisonFields,
    messages.DeltaHeader,
    messages.DemoFaultFields,
    messages.FrameFields,
    messages.FrameMap,
    messages.PictureFields,
    messages.ProbeFields,
    messages.ScanEndedHeader,
    messages.ScanFields,
    messages.ScanPath,
    messages.ScanStartedHeader,
    messages.SnapshotHeader,
    messages.StatusHeader,
)
HEAD = """// Made by deploy/docs/page_types.py (make docs) from ptycholive_client/messages; do not edit.

declare namespace Wire {
"""
TAIL = """
  type ScanHeader = ScanStartedHeader | ScanEndedHeader;
  type PictureHeader = SnapshotHeader | DeltaHeader;
  type StatusMessage = { topic: "status"; header: StatusHeader; buffers: Uint8Array[] };
  type ScanMessage = { topic: "scan"; header: ScanHeader; buffers: Uint8Array[] };
  type SnapshotMessage = { topic: "snapshot"; header: SnapshotHeader; buffers: Uint8Array[] };
  type DeltaMessage = { topic: "delta"; header: DeltaHeader; buffers: Uint8Array[] };
  type PictureMessage = SnapshotMessage | DeltaMessage;
  type Message = StatusMessage | ScanMessage | PictureMessage;
}
"""


def page_types() -> str:
    """Return the text of the file."""
    schemas = described(*SHAPES)["components"]["schemas"]
    return HEAD + "\n".join(_declared(name, schema) for name, schema in sorted(schemas.items())) + TAIL


def _declared(name: str, schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return f"  type {name} = {_form(schema)};\n"
    lines = [f"  interface {name} {{"]
    for field, about in schema["properties"].items():
        if "description" in about:
            lines.append(f"    /** {about['description']} */")
        mark = "" if field in schema.get("required", ()) else "?"
        lines.append(f"    {field}{mark}: {_form(about)};")
    return "\n".join([*lines, "  }\n"])


def _form(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " | ".join(_form(part) for part in schema["anyOf"])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema or "const" in schema:
        return " | ".join(json.dumps(value) for value in schema.get("enum", [schema.get("const")]))
    if "prefixItems" in schema:
        return f"[{', '.join(_form(part) for part in schema['prefixItems'])}]"
    if schema.get("type") == "array":
        items = _form(schema["items"])
        return f"({items})[]" if " | " in items else f"{items}[]"
    if schema.get("type") == "object":
        values = schema.get("additionalProperties")
        return f"Record<string, {_form(values) if isinstance(values, dict) else 'unknown'}>"
    return KINDS.get(schema.get("type", ""), "unknown")
