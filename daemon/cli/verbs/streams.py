"""Declares the verbs that receive or send streams: record, replay."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from daemon.cli.verbs.options import (
    AsJson,
    ConfigPath,
    CurveAllowed,
    CurvePublic,
    CurveSecret,
    CurveServer,
    Settings,
)
from daemon.errors import ConfigError


def record(
    config: ConfigPath,
    output: Annotated[Path, typer.Option(help="Recording to write; the file must not exist.")],
    settings: Settings = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Stop after this many seconds.")] = None,
    messages: Annotated[int | None, typer.Option(min=1, help="Stop after this many messages.")] = None,
    beside_daemon: Annotated[
        bool,
        typer.Option(
            "--beside-daemon", help="Record although the daemon is running; each gets a part of the messages."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Record every message of the configured streams.

    Records byte for byte until Ctrl-C; `replay` plays the recording back.
    """
    from daemon.cli.record import RecordOptions, run_record
    from daemon.config import load_config

    options = RecordOptions(seconds, messages, beside_daemon)
    run_record(load_config(config, settings or [], os.environ), output, options, as_json)


def replay(
    data: Annotated[Path, typer.Argument(help="Scan (CXI, NPZ, PTYD, patterns file of a product) or recording.")],
    bind: Annotated[str, typer.Option(help="Address to bind for frames; with a leading >: address to connect to.")],
    stream_format: Annotated[
        str | None,
        typer.Option(
            "--format", help="Wire format: native, dectris-v1, dectris-v2 or array-1.0. A recording has its own."
        ),
    ] = None,
    positions: Annotated[
        str | None, typer.Option(help="Address to bind for positions. Default: the frames carry them.")
    ] = None,
    positions_format: Annotated[
        Literal["native", "panda"], typer.Option(help="Format of the position messages.")
    ] = "native",
    positions_socket: Annotated[
        Literal["push", "pub"] | None,
        typer.Option(help="Socket type for positions. Default: pub for panda, otherwise that of the frames."),
    ] = None,
    samples_per_frame: Annotated[int, typer.Option(min=1, help="For panda: number of samples per frame.")] = 1,
    socket: Annotated[Literal["push", "pub"], typer.Option(help="Socket type for frames.")] = "push",
    flatten: Annotated[
        bool, typer.Option("--flatten", help="Send each part of a message as a separate message, as some relays do.")
    ] = False,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.01, help="Frames per second. Default: as fast as the receiver accepts, or the recorded rate."
        ),
    ] = None,
    fault: Annotated[
        str,
        typer.Option(
            help="Simulate faults: drop=P,duplicate=P,reorder=FRAMES,corrupt=P,late-positions=SECONDS (P: probability)."
        ),
    ] = "",
    scan_id: Annotated[str, typer.Option(help="Id of the scan. Default: the name of the data with the time.")] = "",
    encoding: Annotated[
        Literal["bslz4", "lz4", "none"], typer.Option(help="Compression of the pixels; lz4 requires dectris-v1.")
    ] = "bslz4",
    repeat: Annotated[int, typer.Option(min=1, help="Send the frames this many times within one scan.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the simulated faults.")] = 0,
    wait: Annotated[float, typer.Option(min=0, help="Longest time to wait for a receiver, s.")] = 60.0,
    curve_public: CurvePublic = None,
    curve_secret: CurveSecret = None,
    curve_server: CurveServer = None,
    curve_allowed: CurveAllowed = None,
    as_json: AsJson = False,
) -> None:
    """Send a data file as a detector would, or play back a recording."""
    from daemon.cli.playback import PlaybackOptions, run_playback
    from daemon.cli.replay import ReplayOptions, run_replay
    from streams.replay.recording import is_recording
    from streams.sockets.keys import KeyFiles

    keys = KeyFiles(curve_public, curve_secret, curve_server, curve_allowed)
    if is_recording(data):
        playback = PlaybackOptions(bind=bind, positions=positions, socket=socket, rate_hz=rate, wait_s=wait, keys=keys)
        run_playback(data, playback, as_json)
        return
    if stream_format is None:
        if not data.exists():
            raise ConfigError(f"{data} does not exist; give a scan or a recording")
        raise ConfigError(f"--format is missing; {data} is not a recording, so name the format in which to send it")
    options = ReplayOptions(
        format=stream_format,
        bind=bind,
        positions=positions,
        positions_format=positions_format,
        positions_socket=positions_socket,
        samples_per_frame=samples_per_frame,
        socket=socket,
        is_flat=flatten,
        rate_hz=rate,
        fault=fault,
        scan_id=scan_id,
        encoding="" if encoding == "none" else encoding,
        repeat=repeat,
        seed=seed,
        wait_s=wait,
        keys=keys,
    )
    run_replay(data, options, as_json)
