"""Runs the command ``ptycholive``, whose environment is not this one."""

import json
import logging
import os
import shlex
import subprocess
from collections.abc import Sequence
from typing import Any

logger = logging.getLogger("ptycholive")
FOREIGN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
"""Variables of this environment that would mislead the other one's Python."""


def run(command: str, *arguments: object) -> Any:
    """Return what ``command arguments`` prints, read as JSON; its lines for people are logged.

    Raises
    ------
    RuntimeError
        With the command's own sentence, if it fails or is not there.
    """
    line: Sequence[str] = [*shlex.split(command), *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    logger.info("running %s", shlex.join(line))
    try:
        done = subprocess.run(line, capture_output=True, text=True, env=environment, check=False)
    except OSError as fault:
        raise RuntimeError(
            f"{line[0]} cannot be run ({fault.strerror}); set [Ptycholive] command to the command of its environment"
        ) from None
    for said in filter(None, map(str.strip, done.stderr.splitlines())):
        logger.info("%s", said.removeprefix("ptycholive: "))
    if done.returncode:
        raise RuntimeError(_last(done.stderr) or f"{shlex.join(line)} ended with {done.returncode}")
    try:
        return json.loads(done.stdout or "null")
    except ValueError:
        return done.stdout


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("ptycholive: ") if lines else ""
