"""``replay`` of a recording: the same bytes, in the same order, at the original or a given rate."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import typer
from tqdm import tqdm

from daemon.errors import ConfigError
from streams.errors import EndpointError
from streams.replay.playback import Played, play
from streams.replay.recording import Recording
from streams.sockets.keys import KeyFiles, read_keys
from streams.sockets.transport import Sender


@dataclass(frozen=True, slots=True)
class PlaybackOptions:
    """Where to and how fast."""

    bind: str
    positions: str | None
    socket: str
    rate_hz: float | None
    wait_s: float
    keys: KeyFiles


def run_playback(path: Path, options: PlaybackOptions, as_json: bool) -> None:
    """Send a recording's messages, and say what was sent and what of the file could not be read."""
    recording = Recording(path)
    if "frames" not in recording.streams:
        raise ConfigError(f"{path} holds no stream named frames, only {', '.join(recording.streams) or 'none'}")
    places = {"frames": options.bind}
    if "positions" in recording.streams and options.positions is not None:
        places["positions"] = options.positions
    for name in sorted(set(recording.streams) - set(places)):
        typer.echo(f"the stream {name} of the recording is left out; give --{name} to send it too", err=True)
    with ExitStack() as stack:
        senders = {name: stack.enter_context(_sender(place, options)) for name, place in places.items()}
        for sender in senders.values():
            if not sender.wait_for_peer(options.wait_s):
                nobody = f"nobody connected to {sender.endpoint} within {options.wait_s:g} s; start the daemon"
                raise EndpointError(sender.handshake_fault or nobody)
        with tqdm(unit=" messages", desc="sending", disable=not sys.stderr.isatty(), leave=False) as bar:

            def on_sent(_stream: str) -> None:
                bar.update()

            played = play(recording, senders, rate_hz=options.rate_hz, on_sent=on_sent)
    _say(path, recording, played, as_json)


def _sender(endpoint: str, options: PlaybackOptions) -> Sender:
    curve = read_keys(options.keys, not endpoint.startswith(">"), "replay")
    return Sender(endpoint, options.socket, curve=curve)


def _say(path: Path, recording: Recording, played: Played, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({**asdict(played), "is_whole": recording.is_whole, "about": recording.about}))
        return
    counts = ", ".join(f"{count} of {name}" for name, count in played.sent.items())
    typer.echo(f"{path}: {counts} sent in {played.seconds:.1f} s")
    if played.cut_bytes:
        typer.echo(f"the file's last {played.cut_bytes} bytes are a torn record and were left out", err=True)
    if played.damaged:
        typer.echo(f"{played.damaged} messages are damaged in the file and were left out", err=True)
