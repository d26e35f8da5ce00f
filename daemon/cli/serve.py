"""``serve``: run the daemon in the foreground."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

import typer

from daemon.app import Daemon
from daemon.config import Config
from daemon.service.allocator import freeze_objects
from daemon.service.descriptors import raise_limit, reserve
from daemon.service.logs import start_logging

LOOK_S = 1.0
"""Time between checks for a hanging thread while the daemon stops, s."""

log = logging.getLogger(__name__)


def run_daemon(config: Config, as_json: bool) -> None:
    """Run until SIGTERM, SIGINT or the end of the terminal; then finish the received frames and stop."""
    start_logging(config.log)
    raise_limit()
    reserve.hold()
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        del number, frame
        asked.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup ignores it
        signal.signal(signal.SIGHUP, ask)
    daemon = Daemon(config)
    daemon.start()
    freeze_objects()
    if as_json:
        typer.echo(json.dumps(daemon.addresses()))
    asked.wait()
    is_done = threading.Event()
    threading.Thread(target=end_if_it_hangs, args=(daemon.hanging, is_done), name="end", daemon=True).start()
    daemon.stop()
    is_done.set()


def end_if_it_hangs(hanging: Callable[[], list[str]], is_done: threading.Event, look_s: float = LOOK_S) -> None:
    """End the process if a thread hangs while the daemon stops; the journal keeps unfinished scans."""
    while not is_done.wait(look_s):
        if names := hanging():
            log.critical(
                "%s: hung for more than a minute; the daemon exits now; unfinished scans resume at the next start",
                " and ".join(names),
            )
            os._exit(1)
