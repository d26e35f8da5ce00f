"""Updates of layers on their way to the viewers: copied from the device and handed on in a thread of their own, in order."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daemon.engine.result import finite
from daemon.publish.snapshot import LayerUpdate, Region
from ptychopinn.device import HostCopy
from ptychopinn.mosaic.canvas import Box

MOST_WAITING = 4
"""Largest number of updates on their way; at this number, changed tiles wait on the device."""
IDLE_S = 5.0
"""The thread ends after this time without an update, so that an engine that was never stopped leaves none, s."""

log = logging.getLogger(__name__)

Field = NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Outgoing:
    """An update without its regions, and the copies of them that are still on their way.

    ``pixels`` and ``weights`` have a copy for each rectangle, or one for all, one after another.
    """

    update: LayerUpdate
    boxes: Sequence[Box]
    pixels: Sequence[HostCopy]
    weights: Sequence[HostCopy]

    @property
    def nbytes(self) -> int:
        """Size of the pixels and weights."""
        return sum(copy.nbytes for copy in (*self.pixels, *self.weights))

    def finished(self) -> LayerUpdate:
        """Return the update; waits for the copies. Pixels that are not finite become 0."""
        pixels = [finite(np.asarray(copy.array(), dtype=np.complex64)) for copy in self.pixels]
        weights = [np.asarray(copy.array(), dtype=np.float32) for copy in self.weights]
        parts = zip(self.boxes, _split(pixels, self.boxes), _split(weights, self.boxes), strict=True)
        return replace(self.update, regions=tuple(Region(*box, object=o, weight=w) for box, o, w in parts))


def _split(fields: list[Field], boxes: Sequence[Box]) -> list[Field]:
    """Return the field ``(h, w)`` of each rectangle."""
    if len(fields) < len(boxes):
        fields = np.split(fields[0], np.cumsum([box.h * box.w for box in boxes])[:-1])
    return [field.reshape(box.h, box.w) for field, box in zip(fields, boxes, strict=True)]


_Job = tuple[Outgoing, Callable[[], None]]


class Sender:
    """Hands updates on, in the order in which they were put.

    Parameters
    ----------
    send
        Called in the thread.
    on_fault
        Takes what went wrong, in words; the next update is sent all the same.
    """

    def __init__(self, send: Callable[[LayerUpdate], None], on_fault: Callable[[str], None]) -> None:
        self._send = send
        self._on_fault = on_fault
        self._waiting: queue.Queue[_Job] = queue.Queue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def is_full(self) -> bool:
        """Whether the largest number of updates is on its way, so that the next should wait."""
        return self._waiting.unfinished_tasks >= MOST_WAITING

    def put(self, outgoing: Outgoing, on_sent: Callable[[], None] = lambda: None) -> None:
        """Hand an update on, without waiting for it; ``on_sent`` is called once it was."""
        with self._lock:
            self._waiting.put((outgoing, on_sent))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="outgoing", daemon=True)
                self._thread.start()

    def flush(self) -> None:
        """Wait until all updates have been handed on."""
        self._waiting.join()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                self._send(job[0].finished())
                job[1]()
            except Exception as fault:
                log.exception("an update of a picture was lost")
                self._on_fault(f"an update of a picture was lost: {fault}")
            finally:
                del job  # its pixels are not kept while none is there
                self._waiting.task_done()

    def _next(self) -> _Job | None:
        """Return the next update; None, and the thread ends, when none has come for a while."""
        try:
            return self._waiting.get(timeout=IDLE_S)
        except queue.Empty:
            pass
        with self._lock:
            if self._waiting.empty():
                self._thread = None
                return None
        return self._waiting.get()
