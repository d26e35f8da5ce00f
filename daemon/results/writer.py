"""Writes products to disk in one thread, so that a slow disk does not delay the engine.

While a scan runs, checkpoints ``product.NNNNNN.h5`` are written (the layout that Ptychodus reads) and the newest few kept;
at the end ``product.h5`` replaces them. A final product that cannot be written is kept and tried again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from daemon.files.product import Product
from daemon.results.disk import ResultDisk
from daemon.results.records import PRODUCT_NAME
from daemon.service.allocator import release_memory
from daemon.service.descriptors import reserve
from daemon.service.disk import fault_words, is_full

CHECKPOINTS = "product.[0-9]*.h5"
RETRY_SHARE = 0.1
"""Largest share of the time that is spent on failing tries."""
WAITING_BYTES = 1 << 30
"""Total size of the products that are kept in memory for another try, 1 GiB; the newest one is always kept."""

log = logging.getLogger(__name__)

MakeProduct = Callable[[], Product]
MakeRoom = Callable[[Path, int], bool]
OnWritten = Callable[[Path | None], None]


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """``on_written`` is None for a checkpoint; ``size_bytes`` is known after a failed try."""

    make: MakeProduct
    on_written: OnWritten | None = None
    on_late: Callable[[Path], None] | None = None
    size_bytes: int = 0

    @property
    def is_improvement(self) -> bool:
        """Whether a final product exists already."""
        return self.on_written is not None and self.on_late is None


class ProductWriter:
    """Writes the newest product of each scan; a checkpoint that still waits is replaced by a newer one.

    Parameters
    ----------
    make_room
        Called with a folder on a full disk and the bytes needed; frees some space, or returns False if it cannot.
    retry_others
        Called now and then to write other data that could not be written.
    """

    def __init__(
        self,
        keep_checkpoints: int,
        make_room: MakeRoom | None = None,
        retry_others: Callable[[], None] | None = None,
        disk: ResultDisk = ResultDisk(),
    ) -> None:
        self._keep = keep_checkpoints
        self._make_room = make_room
        self._retry_others = retry_others
        self._disk, self._retry_s = disk, disk.retry_s
        self._retry_at = 0.0
        self._jobs: OrderedDict[Path, _Job] = OrderedDict()
        self._late: OrderedDict[Path, _Job] = OrderedDict()
        self._given_up: set[Path] = set()
        self._failures: dict[Path, str] = {}
        self._changed = threading.Condition()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="product-writer", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def failure(self) -> str | None:
        """A sentence about products that could not be written; None once all are written."""
        failures = list(dict.fromkeys(self._failures.copy().values()))
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        return failures[0] + more if failures else None

    @property
    def waiting(self) -> int:
        """Number of final products that are tried again."""
        return len(self._late)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Write the queued products, try the failed ones once more, and end the thread."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def checkpoint(self, folder: Path, make: MakeProduct) -> None:
        """Queue a checkpoint for a scan's folder; it replaces one that still waits."""
        self._put(folder, _Job(make))

    def finish(
        self, folder: Path, make: MakeProduct, on_written: OnWritten, on_late: Callable[[Path], None] | None = None
    ) -> None:
        """Queue the final product; ``on_written`` gets its path, or None if it could not be written.

        If it could not be written, it is kept and tried again; ``on_late`` gets its path then.
        """
        self._put(folder, _Job(make, on_written, on_late))

    def _put(self, folder: Path, job: _Job) -> None:
        with self._changed:
            self._jobs[folder] = job
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._is_any_due() and not self._is_closing:
                    self._changed.wait(self._retry_s)
                taken = self._next()
                is_over = taken is None and self._is_closing
            if taken is None and self._retry_others is not None:
                self._retry_others()
            if is_over:
                return
            if taken is not None:
                self._do(*taken)
                del taken  # it refers to the scan's arrays

    def _is_any_due(self) -> bool:
        return bool(self._jobs) or (bool(self._late) and time.monotonic() >= self._retry_at)

    def _next(self) -> tuple[Path, _Job, bool] | None:
        """Remove and return the next product, and whether it failed before."""
        if self._jobs:
            return (*self._jobs.popitem(last=False), False)
        if self._late and (self._is_closing or self._is_any_due()):
            return (*self._late.popitem(last=False), True)
        return None

    def _do(self, folder: Path, job: _Job, is_late: bool) -> None:
        begun = time.monotonic()
        written, left = self._write(folder, job)
        if left is not None and job.on_late is not None and not (is_late and self._is_closing):
            self._keep_for_later(folder, left, time.monotonic() - begun)
        if is_late:
            if written is not None and job.on_late is not None:
                log.info("the product in %s is written now", folder)
                self._tell(folder, job.on_late, written)
        elif job.on_written is not None:
            self._tell(folder, job.on_written, written)
        if job.on_written is not None and not self._jobs:
            del job, left
            release_memory()

    def _tell(self, folder: Path, call: Callable[[Any], None], written: Path | None) -> None:
        try:
            call(written)
        except Exception as fault:  # the thread must not end
            log.exception("the end of the scan in %s was not fully reported", folder)
            self._failures[folder] = f"the record of the scan in {folder} was not written: {fault}"

    def _keep_for_later(self, folder: Path, job: _Job, took_s: float) -> None:
        with self._changed:
            self._late[folder] = job
            self._retry_at = time.monotonic() + max(self._retry_s, took_s / RETRY_SHARE)
            while len(self._late) > 1 and sum(one.size_bytes for one in self._late.values()) > WAITING_BYTES:
                given_up, _ = self._late.popitem(last=False)
                self._given_up.add(given_up)
                log.error("the product in %s is not waited for any more: others wait too", given_up)
                self._failures[given_up] = (
                    f"the product in {given_up} was not written; a restart computes it from the journal"
                )

    def _write(self, folder: Path, job: _Job) -> tuple[Path | None, _Job | None]:
        """Write a product; return its path, or the job for another try if that can help."""
        product: Product | None = None
        try:
            product = job.make()
            path = reserve.lend(partial(self._write_named, folder, product, job))
        except OSError as fault:
            if job.is_improvement:
                log.warning("the improved product of %s is not written: %s", folder.name, fault_words(fault, folder))
                return None, None
            self._fail(folder, fault_words(fault, folder), None)
            if product is None or job.on_written is None:
                return None, None
            kept = product
            return None, replace(job, make=lambda: kept, size_bytes=_size_bytes(kept))
        except Exception as fault:  # the scan and the daemon continue without this file
            self._fail(folder, str(fault), fault)
            return None, None
        lasting = {*self._late, *self._given_up} - {folder}
        self._failures = {one: words for one, words in self._failures.items() if one in lasting}
        return path, None

    def _fail(self, folder: Path, words: str, fault: Exception | None) -> None:
        sentence = f"the product of {folder.name} is not written: {words}"
        if self._failures.get(folder) != sentence:  # reported once, not at each try
            log.error("%s", sentence, exc_info=fault)
        self._failures[folder] = sentence

    def _write_named(self, folder: Path, product: Product, job: _Job) -> Path:
        is_final = job.on_written is not None
        folder.mkdir(parents=True, exist_ok=True)
        earlier = sorted(folder.glob(CHECKPOINTS))
        number = int(earlier[-1].name.split(".")[1]) + 1 if earlier else 1
        path = folder / (PRODUCT_NAME if is_final else f"product.{number:06d}.h5")
        self._write_making_room(path, product, may_make_room=job.on_late is not None)
        for old in earlier if is_final else earlier[: len(earlier) + 1 - self._keep]:
            old.unlink()
        return path

    def _write_making_room(self, path: Path, product: Product, *, may_make_room: bool) -> None:
        """Write; journals of finished scans are deleted for it only if it is the first final product of its scan."""
        while True:
            try:
                return self._disk.write_product(path, product)
            except OSError as fault:
                if not may_make_room or not is_full(fault) or not self._has_made_room(path.parent, product):
                    raise

    def _has_made_room(self, folder: Path, product: Product) -> bool:
        return self._make_room is not None and self._make_room(folder, product.object.nbytes)


def _size_bytes(product: Product) -> int:
    """Return the size of a product's arrays, which stay in memory until it is written."""
    live = product.live
    layers = [] if live is None else [live.network, live.network_weight, live.refined_weight]
    arrays = [product.object, product.probe, product.indexes, product.positions_m, *layers]
    return sum(array.nbytes for array in arrays if array is not None)
