"""A progress bar on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm


@contextmanager
def progress(total: int | None, title: str, unit: str) -> Iterator[tqdm[Any]]:
    """Yield a bar of ``total`` units (None: unknown). Nothing is shown unless stderr is a terminal."""
    with tqdm(total=total, desc=title, unit=unit, disable=not sys.stderr.isatty(), leave=False) as bar:
        yield bar
