"""Writing of products and records; a test replaces it by a full or slow disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from daemon.files.product import Product, write_product
from ptychopinn.atomic import write_atomically

RETRY_S = 5.0
"""Files that the disk refused are tried again after this time: a person who makes room soon sees that it helped."""


@dataclass(frozen=True, slots=True)
class ResultDisk:
    """Writes results: a file is written whole, or stays as it was."""

    write_product: Callable[[Path, Product], None] = write_product
    write_record: Callable[[Path, bytes], None] = write_atomically
    retry_s: float = RETRY_S
