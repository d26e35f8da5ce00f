"""``convert``: a file of one kind to one of another."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from daemon.cli.batch import at_file
from daemon.cli.scan_input import say_doubts
from daemon.errors import ConfigError
from daemon.files import Product, read_probe
from daemon.files.conversion import KINDS, SUFFIXES, read_any, with_more, write_kind


def run_convert(
    data: Path,
    output: Path,
    kind: str | None,
    *,
    probe: Path | None = None,
    pixel_size_m: float | None = None,
    as_json: bool,
) -> None:
    """Read ``data``, whatever it is, and write it as ``kind``, or as what the name of ``output`` asks for."""
    chosen = kind or SUFFIXES.get(output.suffix.lower())
    if chosen not in KINDS:
        said = f"--to {kind}" if kind else f"the name {output.name} does not say the kind; --to"
        raise ConfigError(f"{said}: choose one of {', '.join(KINDS)}")
    with at_file(data):
        content = read_any(data)
        if not isinstance(content, Product):
            say_doubts(content, data)
            given = None if probe is None else read_probe(probe).probe
            content = with_more(content, probe=given, pixel_size_m=pixel_size_m)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise ConfigError(f"{output.parent} cannot be made ({fault.strerror}); choose another place") from fault
    with at_file(data):
        write_kind(output, content, chosen)
    frames = len(content.indexes)
    if as_json:
        typer.echo(json.dumps({"input": str(data), "output": str(output), "kind": chosen, "frames": frames}))
    else:
        typer.echo(f"{output}: {chosen}, {frames} frames")
