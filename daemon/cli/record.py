"""``record``: write every message of the configured streams to a file, unchanged."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import typer

from daemon.cli.progress import progress
from daemon.cli.running import daemon_status, daemon_url
from daemon.config import Config
from daemon.errors import ConfigError, DaemonError
from daemon.intake.byte_queue import ByteQueue
from daemon.intake.receivers import make_frames_receiver, make_positions_receiver, shared_streams
from daemon.results.records import now_text
from daemon.version import VERSION
from streams.replay.recording import RecordingWriter
from streams.sockets.receiver import MessageReceiver, OnMessage

TAKE_MESSAGES = 256
"""Messages written at a time, between two looks at the stop signal."""
TAKE_S = 0.2
"""Longest time to wait for a message, s: the delay of Ctrl-C."""
SYNC_S = 1.0
"""Time between syncs to the disk, s: a power cut loses no more."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)

Tapped = tuple[str, int, Sequence[memoryview]]


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """The options of the verb."""

    seconds: float | None
    messages: int | None
    beside_daemon: bool


def run_record(config: Config, output: Path, options: RecordOptions, as_json: bool) -> None:
    """Record until stopped; print the number of messages."""
    _check_daemon(config, options)
    queue: ByteQueue[Tapped] = ByteQueue(config.limits.queue_bytes)
    begun_ns = time.monotonic_ns()

    def tap(name: str) -> OnMessage:
        def on_message(parts: list[memoryview], received_ns: int) -> None:
            queue.put((name, received_ns - begun_ns, parts), 1 + sum(map(len, parts)))

        return on_message

    positions = make_positions_receiver(config, tap("positions"))
    receivers = [make_frames_receiver(config, tap("frames")), *([] if positions is None else [positions])]
    try:
        with _writer(config, output, receivers) as writer, _stop_signal() as is_stopping:
            with _running(receivers, queue):
                _print_endpoints(config, receivers)
                _write_until(queue, writer, options, is_stopping)
            for name, time_ns, parts in queue.take(len(queue), 0):
                writer.write(name, time_ns, parts)
            writer.end(time.monotonic_ns() - begun_ns, {"faults": _faults(receivers)})
    except OSError as fault:
        raise DaemonError(
            f"{output} cannot be written further ({fault.strerror}); the messages before this can be replayed"
        ) from fault
    _print_result(output, writer, receivers, as_json)


def _writer(config: Config, output: Path, receivers: Sequence[MessageReceiver]) -> RecordingWriter:
    known: dict[str, dict[str, str]] = {
        "frames": {"socket": config.frames.socket, "format": config.frames.format},
        "positions": {"socket": config.positions.socket, "format": config.positions.source},
    }
    streams = {each.name: {"endpoint": each.endpoint, **known[each.name]} for each in receivers}
    try:
        return RecordingWriter(output, streams, {"program": f"ptycholive {VERSION}", "started": now_text()})
    except OSError as fault:
        raise ConfigError(f"{output} cannot be written ({fault.strerror}); choose another file") from fault


def _check_daemon(config: Config, options: RecordOptions) -> None:
    """Refuse to take messages from a running daemon, unless ``beside_daemon`` is set."""
    if not options.beside_daemon and shared_streams(config) and daemon_status(config) is not None:
        raise ConfigError(
            f"a daemon is running at {daemon_url(config)}, and each message of a PUSH socket reaches only one receiver; "
            "stop the daemon, record from a PUB socket, or give --beside-daemon to take a part of its messages"
        )


@contextmanager
def _stop_signal() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether SIGINT or SIGTERM was received."""
    asked = threading.Event()
    before = {number: signal.signal(number, lambda *_: asked.set()) for number in SIGNALS}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _running(receivers: Sequence[MessageReceiver], queue: ByteQueue[Tapped]) -> Iterator[None]:
    """Start the receivers; at the end, stop them after their last message is queued."""
    started: list[MessageReceiver] = []
    try:
        for receiver in receivers:
            receiver.start()
            started.append(receiver)
        yield
    finally:
        queue.close()
        for receiver in started:
            receiver.stop()


def _write_until(
    queue: ByteQueue[Tapped],
    writer: RecordingWriter,
    options: RecordOptions,
    is_stopping: Callable[[], bool],
) -> None:
    synced = time.monotonic()
    until = None if options.seconds is None else synced + options.seconds
    with progress(None, "recording", " messages") as bar:
        while not is_stopping() and (until is None or time.monotonic() < until):
            taken = queue.take(TAKE_MESSAGES, TAKE_S)
            for name, time_ns, parts in taken:
                writer.write(name, time_ns, parts)
            bar.update(len(taken))
            if time.monotonic() - synced > SYNC_S:
                writer.sync()
                synced = time.monotonic()
            if options.messages is not None and sum(writer.messages.values()) >= options.messages:
                return


def _faults(receivers: Sequence[MessageReceiver]) -> dict[str, dict[str, int]]:
    return {each.name: {"refused": each.refused, "handshake_failures": each.handshake_failures} for each in receivers}


def _print_endpoints(config: Config, receivers: Sequence[MessageReceiver]) -> None:
    for each in receivers:
        typer.echo(f"recording {each.name} from {each.bound_endpoint}; press Ctrl-C to stop", err=True)
    if config.frames.socket == "pull":
        typer.echo(
            "each message of a PUSH socket reaches only one receiver: other receivers miss the recorded messages",
            err=True,
        )


def _print_result(output: Path, writer: RecordingWriter, receivers: Sequence[MessageReceiver], as_json: bool) -> None:
    refused = {each.name: each.refused for each in receivers if each.refused}
    if as_json:
        typer.echo(
            json.dumps({"output": str(output), "bytes": writer.bytes, "messages": writer.messages, "refused": refused})
        )
        return
    counts = ", ".join(f"{count} of {name}" for name, count in writer.messages.items())
    typer.echo(f"{output}: {counts}, {writer.bytes} bytes")
    for each in receivers:
        if each.refused:
            typer.echo(
                f"{each.refused} messages of {each.name} were refused and not recorded, the first: {each.first_refusal}",
                err=True,
            )
        if not each.messages and each.fault:
            typer.echo(each.fault, err=True)
