"""Writes daemon/publish/page/colour-maps.json, the standard colour tables of page and figures, from matplotlib (by hand)."""

from __future__ import annotations

import json
from pathlib import Path

PATH = Path(__file__).parents[2] / "daemon" / "publish" / "page" / "colour-maps.json"
ABOUT = (
    "Standard colour tables: 256 colours as rrggbb. viridis, magma, inferno, plasma: van der Walt and Smith, CC0. cividis: "
    "Nunez, Anderton and Renslow, CC0. twilight: Bastian Bechtold, CC0. coolwarm: Kenneth Moreland, free of rights. "
    "Made by deploy/docs/make_colour_maps.py."
)
KINDS = {
    "viridis": "sequential",
    "magma": "sequential",
    "inferno": "sequential",
    "plasma": "sequential",
    "cividis": "sequential",
    "coolwarm": "diverging",
    "twilight": "cyclic",
}


def colour_maps() -> dict[str, object]:
    """Return the content of the file."""
    import matplotlib
    import numpy as np

    maps = {}
    for name, kind in KINDS.items():
        table = np.round(255 * matplotlib.colormaps[name](np.linspace(0, 1, 256))[:, :3]).astype(int)
        maps[name] = {"kind": kind, "hex": "".join(f"{part:02x}" for part in table.ravel())}
    return {"about": ABOUT, "maps": maps}


if __name__ == "__main__":
    PATH.write_text(json.dumps(colour_maps(), indent=1) + "\n", encoding="utf-8")
