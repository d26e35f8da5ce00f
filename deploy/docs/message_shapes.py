"""JSON schemas of the maps that the daemon sends, as an OpenAPI description has them."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter
from typing_extensions import get_original_bases, is_typeddict

TEMPLATE = "#/components/schemas/{model}"


def described(*shapes: Any) -> dict[str, Any]:
    """Return the schemas of typed dictionaries and of all that they contain."""
    inputs = [(shape.__name__, "serialization", TypeAdapter(shape)) for shape in shapes]
    _, found = TypeAdapter.json_schemas(inputs, ref_template=TEMPLATE)  # type: ignore[arg-type]
    schemas = found["$defs"]
    for shape in shapes:
        _inherit(schemas[shape.__name__]["properties"], shape)
    return {"components": {"schemas": schemas}}


def _inherit(properties: dict[str, Any], shape: Any) -> None:
    """Add the descriptions of inherited fields, which pydantic leaves out."""
    for base in get_original_bases(shape):
        if is_typeddict(base):
            known = TypeAdapter(base).json_schema(mode="serialization")["properties"]
            for name, field in known.items():
                if "description" in field:
                    properties[name].setdefault("description", field["description"])
            _inherit(properties, base)
