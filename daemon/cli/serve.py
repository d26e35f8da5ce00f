"""``serve``: the daemon in the foreground."""

from __future__ import annotations

import json
import signal
import threading
from types import FrameType

import typer

from daemon.app import Daemon
from daemon.config import Config
from daemon.logs import start_logging
from daemon.memory import spare


def run_daemon(config: Config, as_json: bool) -> None:
    """Run until SIGTERM, SIGINT or the end of the terminal, then finish what came and stop."""
    start_logging(config.log)
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        del number, frame
        asked.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # else nohup has seen to it
        signal.signal(signal.SIGHUP, ask)
    daemon = Daemon(config)
    daemon.start()
    spare()
    if as_json:
        typer.echo(json.dumps(daemon.addresses()))
    asked.wait()
    daemon.stop()
