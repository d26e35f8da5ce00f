"""The query ``box``: a fixed part of the object's frame."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

BOX_PATTERN = r"^-?\d+(\.\d+)?(,-?\d+(\.\d+)?){3}$"
"""Four numbers, as the description of the API says it; the sentence of a refusal comes with the picture."""
BOX_MAX_LENGTH = 100
BOX_WORDS = "A fixed part of the object's frame: top,left,bottom,right in micrometres."
BoxQuery = Annotated[
    str | None,
    Query(max_length=BOX_MAX_LENGTH, json_schema_extra={"pattern": BOX_PATTERN}, description=BOX_WORDS),
]


def box_um(text: str) -> tuple[float, float, float, float]:
    """Return (top, left, bottom, right), micrometres; raises ValueError with a sentence."""
    try:
        top, left, bottom, right = (float(part) for part in text.split(","))
    except ValueError as fault:
        raise ValueError(f"box {text!r} is not top,left,bottom,right in micrometres") from fault
    return top, left, bottom, right
