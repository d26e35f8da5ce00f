"""``init``: listen to a stream, show what comes, ask for the rest, write a configuration that passes the checks."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import typer
from numpy.typing import NDArray

from daemon.attach.answers import Asker, read_choice
from daemon.attach.heard_stream import HeardStream, Socket, hear
from daemon.attach.wizard import Answers, make_config, read_endpoint
from daemon.cli.watch import half_blocks
from daemon.errors import ConfigError
from ptycholive_client.drawing import coloured, sequential_map
from streams.codecs import CODECS

PICTURE_LINES = 24
"""Height of the pattern in the terminal, lines."""
WIDEST_COLUMNS = 80


@dataclass(frozen=True, slots=True)
class InitOptions:
    """The options of the verb, as they were typed; None: not given."""

    endpoint: str | None
    socket: Socket | None
    format: str | None
    wait_s: float
    answers: Answers
    output: Path
    replaces: bool
    asks: bool
    as_json: bool


def run_init(options: InitOptions) -> None:
    """Write the configuration and print its path, or JSON with what was found."""
    if options.output.exists() and not options.replaces:
        raise ConfigError(f"{options.output} exists already; choose another name, or replace it with --force")
    asker = Asker(_ask if options.asks else None, _say)
    endpoint = asker.take(
        options.endpoint, "--endpoint", "Address of the frame stream (tcp://HOST:PORT)", read_endpoint
    )
    frame_format = options.format
    if frame_format is not None:
        read = read_choice(*CODECS)
        frame_format = asker.take(frame_format, "--format", "", read)
    _say(f"Listening at {endpoint} for up to {options.wait_s:g} s; a scan must be running.")
    heard = hear(endpoint, options.socket, frame_format, options.wait_s)
    _show(heard)
    made = make_config(endpoint, heard, options.answers, asker, options.output.absolute().parent)
    options.output.write_text(made.text, encoding="utf-8")
    _say(f"Frames: {made.frames}\nNow run: ptycholive check --config {options.output}")
    found = {"config": str(options.output), "found": made.found, **made.tree}
    typer.echo(json.dumps(found, default=str) if options.as_json else str(options.output))


def _ask(question: str, default: str | None) -> str:
    try:
        return str(typer.prompt(question, default=default, err=True))
    except typer.Abort as end:
        raise EOFError from end


def _say(words: str) -> None:
    typer.echo(words, err=True)


def _show(heard: HeardStream) -> None:
    rows, columns = heard.form["shape"]
    socket = "" if heard.format in ("pva", "merlin") else f" over a {heard.socket.upper()} socket"
    rate = heard.form["rate_hz"]
    speed = "" if rate is None else f", {rate:.0f} frames/s"
    _say(f"Found: {heard.format}{socket}, {rows} x {columns} px, {heard.form['dtype']}{speed}.")
    if sys.stderr.isatty():
        width = min(WIDEST_COLUMNS, shutil.get_terminal_size().columns)
        _say(half_blocks(_pattern_colours(heard), width, PICTURE_LINES))
    _say(
        f"Mean of {heard.frames} frames: {heard.counts.sum():.0f} counts, {heard.counts.max():.3g} in the brightest pixel."
    )


def _pattern_colours(heard: HeardStream) -> NDArray[np.uint8]:
    logarithm = np.log1p(heard.counts)
    colours = coloured(logarithm, 0.0, float(logarithm.max(initial=0)), sequential_map())
    return np.concatenate([colours, np.where(heard.bad, 0, 255).astype(np.uint8)[..., None]], axis=-1)
