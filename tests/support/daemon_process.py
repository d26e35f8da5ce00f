"""A daemon in a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.daemon_tools import write_config


@contextmanager
def serving(folder: Path, *settings: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Yield a daemon process and its addresses."""
    options = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "daemon.cli", "serve", "--config", str(write_config(folder)), "--json", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.send_signal(signal.SIGTERM)
