"""Colour tables of pictures by name: our own, and the standard ones that the page draws with too."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from daemon.publish.png import cyclic_map, grey_map, sequential_map

MapName = Literal[
    "sequential", "cyclic", "grey", "viridis", "magma", "inferno", "plasma", "cividis", "coolwarm", "twilight"
]
NAMES: tuple[MapName, ...] = get_args(MapName)
_PATH = Path(__file__).parent / "page" / "colour-maps.json"


@cache
def colour_table(name: MapName, *, is_inverted: bool = False) -> NDArray[np.uint8]:
    """Return (256, 3) sRGB."""
    own = {"sequential": sequential_map, "cyclic": cyclic_map, "grey": grey_map}
    if name in own:
        table = own[name]()
    else:
        text = json.loads(_PATH.read_text(encoding="utf-8"))["maps"][name]["hex"]
        table = np.frombuffer(bytes.fromhex(text), dtype=np.uint8).reshape(256, 3)
    return np.ascontiguousarray(table[::-1]) if is_inverted else table
