"""``watch``: a viewer in the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import typer

from daemon.client import Viewer
from daemon.snapshot import LayerCanvas
from daemon.status import verdict_sentence
from streams.keys import KeyFiles, read_keys


def run_watch(endpoint: str, save: Path | None, timeout_s: float, once: bool, keys: KeyFiles, as_json: bool) -> None:
    """Print a line for each update; keep the last pictures of each scan in a directory if one is given."""
    if save is not None:
        save.mkdir(parents=True, exist_ok=True)
    with Viewer(endpoint, timeout_s, curve=read_keys(keys, False, "watch")) as viewer:
        for topic, header, canvas in viewer.events():
            line = json.dumps({"topic": topic, **header}) if as_json else _line(topic, header)
            if line:
                typer.echo(line)
            if canvas is not None and canvas.complete and save is not None:
                _save(save, canvas)
            if once and topic == "scan" and header.get("state") == "ended":
                return


def _line(topic: str, header: dict[str, Any]) -> str:
    if topic == "status":
        return str(header.get("sentence") or "")
    if topic == "scan":
        account = verdict_sentence(header["verdict"]) if header.get("verdict") else ""
        return f"scan {header['scan_id']} {header.get('result') or header['state']} {account}".rstrip()
    rfactor = header.get("rfactor")
    quality = "" if rfactor is None else f", R {rfactor:.4f}"
    return f"{header['scan_id']} {header['layer']}: {header['frames_stitched']} frames{quality}"


def _save(directory: Path, canvas: LayerCanvas) -> None:
    np.save(directory / f"{canvas.scan_id}.{canvas.layer}.npy", canvas.object)
    about = {
        "origin_px": canvas.origin_px,
        "pixel_size_m": canvas.pixel_size_m,
        "frames_stitched": canvas.frames_stitched,
    }
    (directory / f"{canvas.scan_id}.{canvas.layer}.json").write_text(json.dumps(about))
