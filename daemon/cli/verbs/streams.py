"""Declares the verbs that receive or send streams: init, record, replay."""

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


def init(
    output: Annotated[Path, typer.Argument(help="Configuration to write.")] = Path("ptycholive.toml"),
    endpoint: Annotated[
        str | None, typer.Option(help="Address of the frame stream; a leading @ binds it instead.")
    ] = None,
    socket: Annotated[Literal["pull", "sub"] | None, typer.Option(help="Socket type. Default: both are tried.")] = None,
    stream_format: Annotated[
        str | None, typer.Option("--format", help="Wire format. Default: the one that reads the messages.")
    ] = None,
    wait: Annotated[float, typer.Option(min=0.1, help="Longest time to listen, s.")] = 20.0,
    energy: Annotated[str | None, typer.Option(help="Photon energy, keV: 8.8 or '8800 eV'.")] = None,
    distance: Annotated[
        str | None, typer.Option(help="Distance from sample to detector, mm: 1920 or '1.92 m'.")
    ] = None,
    pixel: Annotated[str | None, typer.Option(help="Side of a detector pixel, um: 75.")] = None,
    probe: Annotated[str | None, typer.Option(help="File with the probe: product, NPZ, CXI.")] = None,
    zone_plate: Annotated[
        str | None, typer.Option(help="Instead: outermost zone width nm, diameter um[, central stop um[, defocus um]].")
    ] = None,
    pinhole: Annotated[str | None, typer.Option(help="Instead: diameter um[, distance mm].")] = None,
    size: Annotated[str | None, typer.Option(help="Side of the pattern, px. Default: the probe's, or 128.")] = None,
    orientation: Annotated[str | None, typer.Option(help="Orientation. Default: the one that fits the probe.")] = None,
    center: Annotated[str | None, typer.Option(help="Beam centre ROW,COLUMN or auto. Default: the one found.")] = None,
    positions: Annotated[str | None, typer.Option(help="Position source, as in the configuration.")] = None,
    positions_endpoint: Annotated[str | None, typer.Option(help="Address of the positions.")] = None,
    positions_file: Annotated[str | None, typer.Option(help="File with the positions.")] = None,
    channels: Annotated[str | None, typer.Option(help="Channels of the positions: Y,X.")] = None,
    shape: Annotated[str | None, typer.Option(help="Raster: ROWSxCOLUMNS; spiral: number of positions.")] = None,
    step: Annotated[str | None, typer.Option(help="Raster and spiral: steps in y and x, um: 0.5 or 0.5,0.4.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing; a missing value is an error.")] = False,
    page: Annotated[bool, typer.Option("--page", help="Ask in a browser instead; it saves in this folder.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of that page; 0 selects a free port.")] = 8080,
    as_json: AsJson = False,
) -> None:
    """Write a configuration: listen to a stream, show what comes, ask for the rest.

    Shows the pattern, finds format, socket, beam centre and orientation, and takes lengths and energies in any unit.
    """
    if page:
        from daemon.cli.init_page import run_init_page

        run_init_page(port)
        return
    from daemon.attach.wizard import Answers
    from daemon.cli.init import InitOptions, run_init

    answers = Answers(
        energy=energy,
        distance=distance,
        pixel=pixel,
        probe=probe,
        zone_plate=zone_plate,
        pinhole=pinhole,
        size=size,
        orientation=orientation,
        center=center,
        positions=positions,
        positions_endpoint=positions_endpoint,
        positions_file=positions_file,
        channels=channels,
        shape=shape,
        step=step,
    )
    run_init(
        InitOptions(
            endpoint=endpoint,
            socket=socket,
            format=stream_format,
            wait_s=wait,
            answers=answers,
            output=output,
            replaces=force,
            asks=not yes,
            as_json=as_json,
        )
    )


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
