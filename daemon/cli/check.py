"""``check``: what would stop a scan from being seen, found before beam time."""

from __future__ import annotations

import json
import shutil
import socket as sockets
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import typer

from daemon.cli.exit_codes import ExitCode, exit_code
from daemon.cli.listening import Finding, Heard, describe_frames, describe_positions, listen
from daemon.cli.running import daemon_status, daemon_url
from daemon.config import Config
from daemon.errors import DaemonError
from daemon.intake.receivers import make_frames_receiver, make_positions_receiver, shared_streams
from daemon.service.secret_files import open_to_all
from daemon.setup import Setup
from ptychopinn.errors import ReconstructionError
from streams.errors import StreamError
from streams.sockets.receiver import OnMessage, Source

FEW = 4
GOOD = ("OK", "WARN")
LEAST_FREE_BYTES = 1 << 30
Findings = dict[str, Finding]
Make = Callable[[OnMessage], Source]
Describe = Callable[[Config, Heard], Finding]


def run_check(config: Config, wait_s: float, as_json: bool) -> None:
    """Print OK, WARN, SILENT or ERROR for each part; exit 0, 4 for an endpoint, 2 or 3 for the configuration or a file."""
    found, code = _check_parts(config)
    status = daemon_status(config)
    if status is None:
        found |= {
            "publish": _free_port(config.publish.endpoint),
            "http": _free_port(f"//{config.http.host}:{config.http.port}"),
        }
        found |= _listen(config, wait_s)
    else:
        found |= _ask(config, status)
    if as_json:
        typer.echo(json.dumps({name: _plain(each) for name, each in found.items()}))
    else:
        for name, each in found.items():
            typer.echo(f"{each.word:7}{name}: {each.detail}")
    if code or any(each.word not in GOOD for each in found.values()):
        raise typer.Exit(code or ExitCode.ENDPOINT)


def _plain(finding: Finding) -> dict[str, Any]:
    seen = {"seen": finding.seen} if finding.seen else {}
    return {"result": finding.word, "detail": finding.detail, **seen}


def _check_parts(config: Config) -> tuple[Findings, ExitCode]:
    """Return the findings on keys and files, and the exit code that the first fault gives."""
    found: Findings = {}
    code = ExitCode.GOOD
    keys = {
        "frames": (config.frames, config.frames.endpoint.startswith("@")),
        "positions": (config.positions, str(config.positions.endpoint).startswith("@")),
        "publish": (config.publish, True),
    }
    for name, (section, is_server) in keys.items():
        try:
            curve = section.curve(f"[{name}]", is_server=is_server)
        except StreamError as fault:
            found[f"keys of {name}"] = Finding("ERROR", str(fault))
            code = code or exit_code(fault)
        else:
            if curve is not None:
                found[f"keys of {name}"] = Finding("OK", f"complete; this end's public key is {curve.public.decode()}")
    try:
        setup = Setup(config)
    except (DaemonError, ReconstructionError, StreamError) as fault:
        if f"keys of {str(fault)[1:].partition(']')[0]}" not in found:
            found["setup"] = Finding("ERROR", str(fault))
        return found, code or exit_code(fault)
    return found | _describe(config, setup), code


def _probe_words(config: Config) -> str:
    """Return where the probe comes from."""
    source = config.optics.probe_file or "a guess from the optics"
    return f"{source}, to be retrieved from the first frames" if config.optics.is_retrieved else str(source)


def _describe(config: Config, setup: Setup) -> Findings:
    modes, side = setup.first_model.probe.shape[0], setup.first_model.probe.shape[-1]
    pixel_m = setup.optics_of().object_pixel_size_m
    pixel = "known when the stream tells its optics" if pixel_m is None else f"{pixel_m * 1e9:.3f} nm"
    directory = config.output.directory
    free = shutil.disk_usage(directory).free
    is_full = free < LEAST_FREE_BYTES
    rights = open_to_all(config.http)
    secrets = {"secrets": Finding("WARN", "; ".join(rights))} if rights else {}
    return secrets | {
        "probe": Finding("OK", f"{_probe_words(config)}: {modes} mode(s) of {side} px, pixel {pixel}"),
        "model": Finding("OK", setup.first_model.name),
        "device": Finding("OK", f"{setup.device}, {setup.threads} thread(s)"),
        "output": Finding(
            "ERROR" if is_full else "OK",
            f"{directory} can be written to, {free / 1e9:.1f} GB free" + ("; that is too little" if is_full else ""),
            {"free_bytes": free},
        ),
    }


def _free_port(endpoint: str) -> Finding:
    """Say whether an endpoint could be bound."""
    if endpoint.startswith("ipc:"):
        return Finding("OK", f"{endpoint} is a file")
    host, _, port = endpoint.rpartition("//")[2].rpartition(":")
    host = {"*": ""}.get(host, host.strip("[]"))
    try:
        with sockets.create_server((host, int(port.replace("*", "0"))), family=_family(host)):
            return Finding("OK", f"{host}:{port} is free")
    except OSError as fault:
        return Finding("ERROR", f"{host}:{port} cannot be bound ({fault.strerror}); stop who has it, or choose another")


def _family(host: str) -> sockets.AddressFamily:
    return sockets.AF_INET6 if ":" in host else sockets.AF_INET


def _listen(config: Config, wait_s: float) -> Findings:
    """Listen at all streams at the same time, since a sender may wait for all its receivers."""
    found: Findings = {}
    shared = shared_streams(config)
    try:
        has_positions = make_positions_receiver(config, lambda _parts, _ns: None) is not None
    except StreamError as fault:
        has_positions = False
        found["positions"] = Finding("ERROR", str(fault))
    with ThreadPoolExecutor() as pool:

        def hear(name: str, make: Make, describe: Describe) -> Future[Finding]:
            return pool.submit(listen, make, name in shared, wait_s, partial(describe, config))

        hearing = {"frames": hear("frames", partial(make_frames_receiver, config, receive_limit=FEW), describe_frames)}
        if has_positions:
            hearing["positions"] = hear("positions", partial(_make_positions_receiver, config), describe_positions)
    return {name: future.result() for name, future in hearing.items()} | found


def _make_positions_receiver(config: Config, on_message: OnMessage) -> Source:
    receiver = make_positions_receiver(config, on_message, FEW)
    if receiver is None:
        raise StreamError("positions come in no stream")
    return receiver


def _ask(config: Config, status: dict[str, Any]) -> Findings:
    """Say what the daemon that runs has seen; nothing is taken from its streams."""
    found = {
        "publish": Finding("OK", f"served by the daemon, {status['subscribers']} viewers"),
        "http": Finding("OK", f"a daemon runs at {daemon_url(config)}: {status['sentence']}"),
    }
    for stream in status["streams"]:
        seen = {key: stream[key] for key in ("messages", "bytes", "silent_s", "refused")}
        words = f"the daemon has received {stream['messages']} messages from {stream['endpoint']}"
        if stream["refused"]:
            words += f" and refused {', '.join(f'{count} ({reason})' for reason, count in stream['refused'].items())}"
        fault = (stream["fault"] or "").removeprefix(f"{stream['name']} stream ")
        if fault:
            is_wrong = stream["connected"] or stream["handshake_failures"]
            found[stream["name"]] = Finding("ERROR" if is_wrong else "SILENT", f"{fault} ({words})", seen)
        elif not stream["messages"] or (stream["silent_s"] or 0) > 10:
            found[stream["name"]] = Finding("SILENT", f"{words}, none lately; without a scan that is normal", seen)
        else:
            found[stream["name"]] = Finding("OK", words, seen)
    return found
