"""``convert``: write a data file or product in another format."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from daemon.cli.batch import at_file
from daemon.cli.scan_input import print_doubts
from daemon.errors import ConfigError
from daemon.files import Product, read_probe
from daemon.files.conversion import KINDS, SUFFIXES, read_any, with_more, write_kind
from ptychopinn.contract.training_rules import DOMAINS


def run_convert(
    data: Path,
    output: Path,
    kind: str | None,
    *,
    probe: Path | None = None,
    pixel_size_m: float | None = None,
    domain: str | None = None,
    scan: int | None = None,
    as_json: bool,
) -> None:
    """Read ``data`` and write it in the format ``kind``, or in that of the extension of ``output``."""
    chosen = kind or SUFFIXES.get(output.suffix.lower())
    if chosen not in KINDS:
        known = ", ".join(KINDS)
        if kind:
            raise ConfigError(f"--to {kind} is not a known format; choose one of {known}")
        raise ConfigError(
            f"the extension of {output.name} does not determine the format; give --to with one of {known}"
        )
    if domain is not None and domain not in DOMAINS:
        raise ConfigError(f"--measurement-domain {domain} is not known; choose one of {', '.join(DOMAINS)}")
    with at_file(data):
        content = read_any(data, domain or "", scan)
        if not isinstance(content, Product):
            print_doubts(content, data)
            given = None if probe is None else read_probe(probe).probe
            content = with_more(content, probe=given, pixel_size_m=pixel_size_m)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise ConfigError(f"{output.parent} cannot be created ({fault.strerror}); choose another place") from fault
    with at_file(data):
        write_kind(output, content, chosen)
    frames = len(content.indexes)
    if as_json:
        typer.echo(json.dumps({"input": str(data), "output": str(output), "kind": chosen, "frames": frames}))
    else:
        typer.echo(f"{output}: {chosen}, {frames} frames")
