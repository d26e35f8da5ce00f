"""``watch``: a viewer in the terminal that prints a line for each update, or draws the picture in half blocks."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import typer
from numpy.typing import NDArray

from daemon.cli.remote import read_token_file
from daemon.client import Viewer, ViewerEvent
from daemon.config.base import is_endpoint
from daemon.errors import ConfigError
from daemon.messages import LayerName, StatusHeader
from daemon.publish.png import View, layer_colours
from daemon.publish.snapshot import LayerCanvas
from daemon.status.sentences import verdict_sentence
from ptycholive_client.web_updates import is_web
from streams.sockets.keys import KeyFiles, read_keys

PICTURE_PERIOD_S = 0.25
"""Shortest time between two drawings, s: terminals are slow."""
UPPER_HALF = "▀"
HOME, CLEAR, PLAIN = "\x1b[H", "\x1b[2J", "\x1b[0m"
OTHERS_LINES = 2
"""Lines of the terminal that the picture leaves free, for the status and the prompt."""


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """The options of the verb."""

    save: Path | None
    timeout_s: float
    once: bool
    keys: KeyFiles
    token_file: Path | None
    as_json: bool
    picture: View | None = None
    layer: LayerName = "refined"


def run_watch(endpoint: str, options: WatchOptions) -> None:
    """Print a line for each update, or draw the picture; save the last pictures of each scan on request."""
    save, picture, ending = options.save, options.picture, Ending()
    if save is not None:
        save.mkdir(parents=True, exist_ok=True)
    with _viewer(endpoint, options) as viewer:
        if picture is None or options.as_json:
            shown = _lines(viewer.events(), options.as_json)
        else:
            shown = _frames(viewer, picture, options.layer)
        for text, event in shown:
            if text:
                typer.echo(text)
            has_ended = ending.take(event)
            if event.picture is not None and event.picture.complete and save is not None:
                _save(save, event.picture)
            if options.once and has_ended:
                return


def _viewer(endpoint: str, options: WatchOptions) -> Viewer:
    if not (urlsplit(endpoint).hostname if is_web(endpoint) else is_endpoint(endpoint)):
        raise ConfigError(
            f"{endpoint!r} is not a valid endpoint. Example: tcp://127.0.0.1:5556, or the page's http://127.0.0.1:8080"
        )
    curve, token = read_keys(options.keys, False, "watch"), read_token_file(options.token_file)
    return Viewer(endpoint, options.timeout_s, curve=curve, token=token)


class Ending:
    """Tells the end of a scan from the news of an earlier one's end, which a viewer gets first when it joins later."""

    def __init__(self) -> None:
        self._is_first = True

    def take(self, event: ViewerEvent) -> bool:
        """Take an event; return whether a scan has ended since this viewer joined."""
        if event.topic != "scan":
            return False
        is_first, self._is_first = self._is_first, False
        return _has_ended(event) and not is_first


def _has_ended(event: ViewerEvent) -> bool:
    return event.topic == "scan" and event.header["state"] == "ended"


def _lines(events: Iterator[ViewerEvent], as_json: bool) -> Iterator[tuple[str, ViewerEvent]]:
    last: dict[str, str] = {}
    for event in events:
        if as_json:
            yield json.dumps({"topic": event.topic, **event.header}), event
            continue
        kind = event.topic if event.picture is None else event.picture.layer
        line = _line(event)
        yield ("" if last.get(kind) == line else line), event
        last[kind] = line


def _frames(viewer: Viewer, view: View, layer: LayerName) -> Iterator[tuple[str, ViewerEvent]]:
    """Yield the picture below a status line, redrawn in place a few times a second and at the end."""
    words, next_at = "", 0.0
    typer.echo(CLEAR if sys.stdout.isatty() else "", nl=False)
    for event in viewer.events():
        words, canvas = _line(event) or words, event.picture
        is_due = canvas is not None and (canvas.complete or time.monotonic() >= next_at)
        shown = _shown(viewer, event.header["scan_id"], layer) if is_due or _has_ended(event) else None
        if shown is None:
            yield "", event
            continue
        next_at = time.monotonic() + PICTURE_PERIOD_S
        size = shutil.get_terminal_size()
        blocks = half_blocks(cropped(layer_colours(shown, view)[0]), size.columns, size.lines - OTHERS_LINES)
        home = HOME if sys.stdout.isatty() else ""
        yield f"{home}{words[: size.columns - 1]:{size.columns - 1}}\n{blocks}", event


def _shown(viewer: Viewer, scan_id: str | None, layer: LayerName) -> LayerCanvas | None:
    if scan_id is None:
        return None
    other: LayerName = "network" if layer == "refined" else "refined"
    return viewer.states.get((scan_id, layer)) or viewer.states.get((scan_id, other))


def cropped(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the part ``(H, W, 4)`` of a picture that is not transparent: the canvas is larger than the scan."""
    seen = colours[..., 3] > 0
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    return colours[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if rows.size else colours[:0]


def half_blocks(colours: NDArray[np.uint8], columns: int, lines: int) -> str:
    """Return a picture as text in 24-bit colours, two pixels for each character.

    Parameters
    ----------
    colours
        (H, W, 4) RGBA; transparent pixels show the background of the terminal.
    columns, lines
        Size of the text; the picture keeps its aspect ratio.
    """
    height, width = colours.shape[:2]
    if not height or not width:
        return ""
    scale = max(width / max(1, columns), height / max(1, 2 * lines))
    rows = np.minimum((np.arange(max(1, int(height / scale))) * scale).astype(int), height - 1)
    across = np.minimum((np.arange(max(1, int(width / scale))) * scale).astype(int), width - 1)
    small = colours[np.ix_(rows, across)]
    if len(small) % 2:
        small = np.concatenate([small, np.zeros_like(small[:1])])
    return "\n".join(_block_line(above, below) for above, below in zip(small[::2], small[1::2], strict=True))


def _block_line(above: NDArray[np.uint8], below: NDArray[np.uint8]) -> str:
    parts, last = [], ""
    for (r, g, b, a), (s, h, c, o) in zip(above.tolist(), below.tolist(), strict=True):
        front = f"38;2;{r};{g};{b}" if a else ""
        back = f"48;2;{s};{h};{c}" if o else "49"
        if not a and o:
            front, back, sign = f"38;2;{s};{h};{c}", "49", "▄"
        else:
            sign = UPPER_HALF if a else " "
        code = f"\x1b[{front};{back}m" if front else f"\x1b[{back}m"
        parts.append(sign if code == last else code + sign)
        last = code
    return "".join(parts) + PLAIN


def _line(event: ViewerEvent) -> str:
    if event.topic == "status":
        return _status_line(event.header)
    if event.topic == "scan":
        news = event.header
        if news["state"] == "started":
            return f"scan {news['scan_id']} started"
        return f"scan {news['scan_id']} {news['result']} {verdict_sentence(news['verdict'])}"
    header = event.header
    rfactor = header["rfactor"]
    quality = "" if rfactor is None else f", R {rfactor:.4f}"
    return f"{header['scan_id']} {header['layer']}: {header['frames_stitched']} frames{quality}"


def _status_line(header: StatusHeader) -> str:
    if header["phase"] != "scanning":
        return header["sentence"]
    latency = header["latency_s"]
    delay = "" if latency is None else f", {1000 * latency:.0f} ms latency"
    rates = f"{header['receive_rate_hz']:.1f} received/s, {header['stitch_rate_hz']:.1f} stitched/s"
    return f"{header['sentence']} {rates}{delay}."


def _save(directory: Path, canvas: LayerCanvas) -> None:
    np.save(directory / f"{canvas.scan_id}.{canvas.layer}.npy", canvas.object)
    about = {
        "origin_px": canvas.origin_px,
        "pixel_size_m": canvas.pixel_size_m,
        "frames_stitched": canvas.frames_stitched,
    }
    (directory / f"{canvas.scan_id}.{canvas.layer}.json").write_text(json.dumps(about))
