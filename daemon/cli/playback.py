"""``replay`` of a recording: sends the same bytes in the same order at the original or a given rate."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import typer

from daemon.cli.progress import progress
from daemon.cli.sending import open_sender, wait_for_receiver
from daemon.errors import ConfigError
from streams.replay.playback import Played, play
from streams.replay.recording import Recording
from streams.sockets.keys import KeyFiles


@dataclass(frozen=True, slots=True)
class PlaybackOptions:
    """The options of the verb."""

    bind: str
    positions: str | None
    socket: str
    rate_hz: float | None
    wait_s: float
    keys: KeyFiles


def run_playback(path: Path, options: PlaybackOptions, as_json: bool) -> None:
    """Send the messages of a recording; print how many were sent and which could not be read."""
    recording = Recording(path)
    if "frames" not in recording.streams:
        raise ConfigError(f"{path} contains no frames, only these streams: {', '.join(recording.streams) or 'none'}")
    endpoints = {"frames": options.bind}
    if "positions" in recording.streams and options.positions is not None:
        endpoints["positions"] = options.positions
    for name in sorted(set(recording.streams) - set(endpoints)):
        typer.echo(f"the stream {name} of the recording is not sent; give --{name} to send it", err=True)
    with ExitStack() as stack:
        senders = {
            name: stack.enter_context(open_sender(endpoint, options.socket, options.keys))
            for name, endpoint in endpoints.items()
        }
        for sender in senders.values():
            wait_for_receiver(sender, options.wait_s)
        with progress(None, "sending", " messages") as bar:

            def on_sent(_stream: str) -> None:
                bar.update()

            played = play(recording, senders, rate_hz=options.rate_hz, on_sent=on_sent)
    _print_result(path, recording, played, as_json)


def _print_result(path: Path, recording: Recording, played: Played, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({**asdict(played), "is_whole": recording.is_whole, "about": recording.about}))
        return
    counts = ", ".join(f"{count} of {name}" for name, count in played.sent.items())
    typer.echo(f"{path}: {counts} sent in {played.seconds:.1f} s")
    if played.cut_bytes:
        typer.echo(
            f"the last {played.cut_bytes} bytes of the file are an incomplete record and were not sent", err=True
        )
    if played.damaged:
        typer.echo(f"{played.damaged} messages in the file are damaged and were not sent", err=True)
