"""``check``: test the setup before beam time."""

from __future__ import annotations

import json
import shutil
import socket as sockets
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import typer

from daemon.attach.listening import CheckResult, FirstMessages, describe_frames, describe_positions, listen
from daemon.cli.exit_codes import ExitCode, exit_code
from daemon.cli.running import daemon_status, daemon_url
from daemon.config import Config
from daemon.errors import DaemonError
from daemon.intake.receivers import make_frames_receiver, make_positions_receiver, shared_streams
from daemon.messages import Status
from daemon.service.secret_files import open_to_all
from daemon.setup import Setup
from ptychopinn.errors import ReconstructionError
from streams.errors import StreamError
from streams.sockets.receiver import MessageReceiver, OnMessage

FEW = 4
"""Messages that the socket may hold: the rest stays with the sender, for the daemon."""
GOOD = ("OK", "WARN")
LEAST_FREE_BYTES = 1 << 30
"""Free disk space below which a scan may not fit, bytes."""
SILENT_S = 10.0
"""A daemon's stream without a message for longer is reported as silent, s."""
CheckResults = dict[str, CheckResult]
Make = Callable[[OnMessage], MessageReceiver]
Describe = Callable[[Config, FirstMessages], CheckResult]


def run_check(config: Config, wait_s: float, as_json: bool) -> None:
    """Print OK, WARN, SILENT or ERROR for each part. The exit code is that of the first error, or 4 for an endpoint."""
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


def _plain(finding: CheckResult) -> dict[str, object]:
    seen = {"seen": finding.seen} if finding.seen else {}
    return {"result": finding.word, "detail": finding.detail, **seen}


def _check_parts(config: Config) -> tuple[CheckResults, ExitCode]:
    """Return the findings on keys and files, and the exit code of the first error."""
    found: CheckResults = {}
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
            found[f"keys of {name}"] = CheckResult("ERROR", str(fault))
            code = code or exit_code(fault)
        else:
            if curve is not None:
                found[f"keys of {name}"] = CheckResult(
                    "OK", f"complete; the public key of this end is {curve.public.decode()}"
                )
    try:
        setup = Setup(config)
    except (DaemonError, ReconstructionError, StreamError) as fault:
        if f"keys of {str(fault)[1:].partition(']')[0]}" not in found:
            found["setup"] = CheckResult("ERROR", str(fault))
        return found, code or exit_code(fault)
    return found | _describe(config, setup), code


def _probe_words(config: Config) -> str:
    """Return the source of the probe."""
    source = config.optics.probe_file or "initial probe from the optics"
    return f"{source}, refined by retrieval from the first frames" if config.optics.is_retrieved else str(source)


def _describe(config: Config, setup: Setup) -> CheckResults:
    modes, side = setup.first_model.probe.shape[0], setup.first_model.probe.shape[-1]
    pixel_m = setup.optics_of().object_pixel_size_m
    pixel = "known when the stream sends its geometry" if pixel_m is None else f"{pixel_m * 1e9:.3f} nm"
    directory = config.output.directory
    free = shutil.disk_usage(directory).free
    is_full = free < LEAST_FREE_BYTES
    rights = open_to_all(config.http)
    secrets = {"secrets": CheckResult("WARN", "; ".join(rights))} if rights else {}
    return secrets | {
        "probe": CheckResult("OK", f"{_probe_words(config)}: {modes} mode(s) of {side} px, pixel {pixel}"),
        "model": CheckResult("OK", setup.first_model.name),
        "device": CheckResult("OK", f"{setup.device}, {setup.threads} thread(s)"),
        "output": CheckResult(
            "ERROR" if is_full else "OK",
            f"{directory} is writable, {free / 1e9:.1f} GB free" + ("; free at least 1 GB" if is_full else ""),
            {"free_bytes": free},
        ),
    }


def _free_port(endpoint: str) -> CheckResult:
    """Report whether an endpoint could be bound."""
    if endpoint.startswith("ipc:"):
        return CheckResult("OK", f"{endpoint} is a local socket")
    host, _, port = endpoint.rpartition("//")[2].rpartition(":")
    host = {"*": ""}.get(host, host.strip("[]"))
    try:
        with sockets.create_server((host, int(port.replace("*", "0"))), family=_family(host)):
            return CheckResult("OK", f"{host}:{port} is free")
    except OSError as fault:
        advice = "stop the program that uses it, or choose another"
        return CheckResult("ERROR", f"{host}:{port} cannot be bound ({fault.strerror}); {advice}")


def _family(host: str) -> sockets.AddressFamily:
    return sockets.AF_INET6 if ":" in host else sockets.AF_INET


def _listen(config: Config, wait_s: float) -> CheckResults:
    """Listen at all streams at the same time, because a sender may wait for all its receivers."""
    found: CheckResults = {}
    shared = shared_streams(config)
    try:
        has_positions = make_positions_receiver(config, lambda _parts, _ns: None) is not None
    except StreamError as fault:
        has_positions = False
        found["positions"] = CheckResult("ERROR", str(fault))
    with ThreadPoolExecutor() as pool:

        def hear(name: str, make: Make, describe: Describe) -> Future[CheckResult]:
            return pool.submit(listen, make, name in shared, wait_s, partial(describe, config))

        hearing = {"frames": hear("frames", partial(make_frames_receiver, config, receive_limit=FEW), describe_frames)}
        if has_positions:
            hearing["positions"] = hear("positions", partial(_make_positions_receiver, config), describe_positions)
    return {name: future.result() for name, future in hearing.items()} | found


def _make_positions_receiver(config: Config, on_message: OnMessage) -> MessageReceiver:
    receiver = make_positions_receiver(config, on_message, FEW)
    if receiver is None:
        raise StreamError("the configuration has no stream of positions")
    return receiver


def _ask(config: Config, status: Status) -> CheckResults:
    """Report what the running daemon has received; no message is taken from its streams."""
    found = {
        "publish": CheckResult("OK", f"served by the running daemon, {status['subscribers']} viewers"),
        "http": CheckResult("OK", f"a daemon is running at {daemon_url(config)}: {status['sentence']}"),
    }
    for stream in status["streams"]:
        seen: dict[str, object] = {
            "messages": stream["messages"],
            "bytes": stream["bytes"],
            "silent_s": stream["silent_s"],
            "refused": stream["refused"],
        }
        words = f"the daemon has received {stream['messages']} messages from {stream['endpoint']}"
        if stream["refused"]:
            words += f" and refused {', '.join(f'{count} ({reason})' for reason, count in stream['refused'].items())}"
        fault = (stream["fault"] or "").removeprefix(f"{stream['name']} stream ")
        if fault:
            is_wrong = stream["connected"] or stream["handshake_failures"]
            found[stream["name"]] = CheckResult("ERROR" if is_wrong else "SILENT", f"{fault} ({words})", seen)
        elif not stream["messages"] or (stream["silent_s"] or 0) > SILENT_S:
            found[stream["name"]] = CheckResult(
                "SILENT", f"{words}, none in the last seconds; without a scan that is normal", seen
            )
        else:
            found[stream["name"]] = CheckResult("OK", words, seen)
    return found
