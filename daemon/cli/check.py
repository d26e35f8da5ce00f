"""``check``: what would stop a scan from being seen, found before beam time."""

from __future__ import annotations

import json

import typer

from daemon.config import Config
from daemon.setup import Setup
from streams.transport import probe


def run_check(config: Config, wait_s: float, as_json: bool) -> None:
    """Print OK, SILENT or ERROR for each part; exit 0, or 4 if an endpoint is silent or in error."""
    setup = Setup(config)  # a wrong probe, mask or position file ends here, with its sentence
    modes, side = setup.probe.shape[0], setup.probe.shape[-1]
    optics = config.optics
    found = {
        "probe": ("OK", f"{optics.probe_file}: {modes} mode(s) of {side} px, pixel {setup.pixel_size_m * 1e9:.3f} nm"),
        "device": ("OK", f"{setup.device}, {setup.threads} thread(s)"),
        "output": ("OK", f"{config.output.directory} can be written to"),
        "frames": _listen(config.frames.endpoint, config.frames.socket, wait_s),
    }
    if config.positions.source == "native" and config.positions.endpoint is not None:
        found["positions"] = _listen(config.positions.endpoint, config.positions.socket, wait_s)
    if as_json:
        typer.echo(json.dumps({name: {"result": word, "detail": text} for name, (word, text) in found.items()}))
    else:
        for name, (word, text) in found.items():
            typer.echo(f"{word:7}{name}: {text}")
    if any(word != "OK" for word, _ in found.values()):
        raise typer.Exit(4)


def _listen(endpoint: str, socket: str, wait_s: float) -> tuple[str, str]:
    answer = probe(endpoint, socket, wait_s)
    if answer == "ok":
        return "OK", f"{endpoint} sends"
    if answer == "silent":
        return "SILENT", f"nothing came from {endpoint} within {wait_s:g} s; without a scan that is normal"
    return "ERROR", answer.removeprefix("error: ")
