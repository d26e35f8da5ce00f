"""A progress bar on stderr, where a person looks at it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm


@contextmanager
def progress(total: int, what: str, unit: str) -> Iterator[tqdm[Any]]:
    """Yield a bar of ``total`` units; it shows nothing unless stderr is a terminal."""
    with tqdm(total=total, desc=what, unit=unit, disable=not sys.stderr.isatty(), leave=False) as bar:
        yield bar
