"""Runs a verb of the command line in this process, from its arguments to its exit code: no interpreter to start."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from subprocess import CompletedProcess
from unittest.mock import patch

from daemon.cli.main import main

PICTURE_ALONE = ("--no-diagnosis", "--no-resolution")
"""Options of ``predict`` and ``refine`` for tests of something else: both measurements take longer than the picture."""
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run_verb(*arguments: str | Path, cwd: Path) -> CompletedProcess[str]:
    """Return what a verb wrote and its exit code, as ``subprocess.run`` would."""
    words = ["ptycholive", *map(str, arguments)]
    out, err, code = StringIO(), StringIO(), 0
    with chdir(cwd), redirect_stdout(out), redirect_stderr(err), patch.object(sys, "argv", words), _process_settings():
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return CompletedProcess(words, code, out.getvalue(), err.getvalue())


@contextmanager
def _process_settings() -> Iterator[None]:
    """Restore what a verb sets for its whole process: handlers of signals and of the log, the hook of threads, open files."""
    handlers, root = {number: signal.getsignal(number) for number in SIGNALS}, logging.getLogger()
    log, level, hook = root.handlers[:], root.level, threading.excepthook
    try:
        with patch("daemon.cli.serve.raise_limit"), patch("daemon.cli.serve.reserve"):
            yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        root.handlers[:], root.level, threading.excepthook = log, level, hook
        logging.captureWarnings(False)
