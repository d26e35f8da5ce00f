"""Products on disk: one thread writes them, so that a slow disk never holds the engine.

While a scan runs, ``product.NNNNNN.h5`` beside the final name (the layout that Ptychodus reads), the newest few kept;
``product.h5`` at the end, which takes their place.
"""

from __future__ import annotations

import errno
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from daemon.files.product import Product, write_product
from daemon.memory import tidy
from daemon.scans import PRODUCT_NAME

CHECKPOINTS = "product.[0-9]*.h5"
FULL = (errno.ENOSPC, errno.EDQUOT)

log = logging.getLogger(__name__)

MakeProduct = Callable[[], Product]
OnWritten = Callable[[Path | None], None]


class ProductWriter:
    """Writes the newest product of each scan; an older checkpoint that still waits is passed over.

    Parameters
    ----------
    make_room
        Frees some of the disk when it is full; False where nothing is left to go.
    """

    def __init__(self, keep_checkpoints: int, make_room: Callable[[], bool] | None = None) -> None:
        self._keep = keep_checkpoints
        self._make_room = make_room
        self._jobs: OrderedDict[Path, tuple[MakeProduct, OnWritten | None]] = OrderedDict()
        self._changed = threading.Condition()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="product-writer", daemon=True)
        self.failure: str | None = None

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, then end the thread."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def checkpoint(self, folder: Path, make: MakeProduct) -> None:
        """Queue a checkpoint for a scan's folder, in place of one that still waits."""
        self._put(folder, make, None)

    def finish(self, folder: Path, make: MakeProduct, on_written: OnWritten) -> None:
        """Queue the final product; ``on_written`` gets its path, or None if it could not be written."""
        self._put(folder, make, on_written)

    def _put(self, folder: Path, make: MakeProduct, on_written: OnWritten | None) -> None:
        with self._changed:
            self._jobs[folder] = (make, on_written)
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._jobs and not self._is_closing:
                    self._changed.wait()
                if not self._jobs:
                    return
                folder, (make, on_written) = self._jobs.popitem(last=False)
            is_final = on_written is not None
            written = self._write(folder, make, is_final=is_final)
            if on_written is not None:
                try:
                    on_written(written)
                except Exception as fault:  # the thread must not end
                    log.exception("the end of the scan in %s was not told to all", folder)
                    self.failure = f"the record of the scan in {folder} was not written: {fault}"
            del make, on_written  # they hold the scan's arrays
            if is_final:
                tidy()

    def _write(self, folder: Path, make: MakeProduct, is_final: bool) -> Path | None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            earlier = sorted(folder.glob(CHECKPOINTS))
            number = int(earlier[-1].name.split(".")[1]) + 1 if earlier else 1
            path = folder / (PRODUCT_NAME if is_final else f"product.{number:06d}.h5")
            self._write_making_room(path, make())
            for old in earlier if is_final else earlier[: len(earlier) + 1 - self._keep]:
                old.unlink()
        except Exception as fault:  # the scan and the daemon go on without this file
            log.exception("the product in %s was not written", folder)
            self.failure = f"the product in {folder} was not written: {fault}"
            return None
        self.failure = None
        return path

    def _write_making_room(self, path: Path, product: Product) -> None:
        while True:
            try:
                return write_product(path, product)
            except OSError as fault:
                if fault.errno not in FULL or self._make_room is None or not self._make_room():
                    raise
