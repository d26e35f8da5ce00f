"""Frames from an EPICS process variable: NTNDArray over pvAccess, ``pva://NAME``.

Each update becomes a message of ``array-1.0`` (:mod:`streams.codecs.array1`) with unchanged pixels: plain, LZ4 or bit-shuffled
LZ4. An update that is not a grey image of numbers is passed on too; the codec refuses it by name.

``uniqueId`` is the frame's number; a gap means missing frames, since a monitor may drop updates. pvAccess has no scans: a scan
begins with the first update, after a silence, and when ``uniqueId`` falls. The first update of a connection is the last image
from before and is dropped unless it continues a running scan. The variables ``EPICS_PVA_ADDR_LIST`` etc. select the servers.
"""

from __future__ import annotations

import json
import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, Full, Queue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.errors import CodecError, EndpointError
from streams.refusal_reasons import RefusalReason
from streams.sockets.receiver import MessageReceiver, OnMessage
from streams.untrusted import shown

__all__ = ["PvaReceiver"]

log = logging.getLogger(__name__)

SCHEME = "pva://"
_REQUEST = "field()record[queueSize=64]"
"""No pipeline: with it, servers made with pvDatabase, such as areaDetector's, send updates without content."""
_QUEUE_UPDATES = 64
"""Updates that may wait for this program; as many as the server queues."""
_WAIT_S = 0.2
"""Pause between looks at the stop flag, s."""
_TYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64")
_ENCODINGS = {"": "", "lz4": "lz4-block", "bslz4": "bslz4"}
_NO_HEADER = bytes(12)
"""A header of zeros, as the ``bslz4`` codec accepts it; pvAccess sends the blocks without one."""


@dataclass(slots=True)
class _RunningScan:
    """The running scan: ``base`` is the ``uniqueId`` of its first frame, ``number`` that of the latest."""

    scan_id: str
    base: int
    number: int
    received_ns: int


class PvaReceiver(MessageReceiver):
    """Receives the updates of one NTNDArray; reconnects for ever.

    Parameters
    ----------
    silence_s
        After this time without an update the next one begins a new scan.
    first_number
        ``uniqueId`` of a scan's first frame; ``None``: that of the first update received, so that frames lost before it
        shift all others.

    Raises :class:`EndpointError` for an endpoint that is not ``pva://NAME``.
    """

    def __init__(
        self,
        name: str,
        endpoint: str,
        on_message: OnMessage,
        *,
        max_message_bytes: int = 128 * 2**20,
        silence_s: float = 30.0,
        first_number: int | None = None,
    ) -> None:
        super().__init__(name, endpoint, on_message, max_message_bytes)
        self._variable = endpoint.removeprefix(SCHEME)
        if not endpoint.startswith(SCHEME) or not self._variable:
            raise EndpointError(
                f"{name} stream: {endpoint!r} is not a valid process variable. Example: pva://DET:Pva1:Image"
            )
        self._silence_s = silence_s
        self._first_number = first_number
        self._updates: Queue[Any] = Queue(_QUEUE_UPDATES)
        self._is_connected = False
        self._was_connected = False
        self._is_first = True
        self._scan: _RunningScan | None = None

    @property
    def connected(self) -> bool:
        """Whether the variable is connected."""
        return self._is_connected

    @property
    def fault(self) -> str | None:
        """The fault of the connection, as a sentence; ``None`` while it is good."""
        if self._is_connected:
            return None
        lost = "the connection was lost and " if self._was_connected else ""
        return (
            f"{self.name} stream {self.endpoint}: {lost}no server has this variable; still trying. Check its name and "
            "EPICS_PVA_ADDR_LIST"
        )

    def start(self) -> None:
        """Start looking for the variable. Raises :class:`EndpointError` if p4p is not installed."""
        try:
            from p4p.client.thread import Context
        except ImportError as fault:
            raise EndpointError(f"{self.endpoint} needs p4p; run: pip install 'ptycholive[pva]'") from fault
        self._context = Context("pva", nt=False)
        self._subscription = self._context.monitor(self._variable, self._put, request=_REQUEST, notify_disconnect=True)
        self._thread.start()

    def stop(self) -> None:
        """End the subscription and the thread."""
        if self._thread.ident is None or self._stopping.is_set():
            return
        self._stopping.set()
        self._subscription.close()
        self._context.close()
        self._thread.join()

    def _put(self, update: Any) -> None:
        """Queue an update, or the exception in its place (called in a thread of p4p; waits while the queue is full)."""
        while not self._stopping.is_set():
            with suppress(Full):
                self._updates.put((update, time.monotonic_ns()), timeout=_WAIT_S)
                return

    def _run(self) -> None:
        while not self._stopping.is_set():
            with suppress(Empty):
                self._take(*self._updates.get(timeout=_WAIT_S))

    def _take(self, update: Any, received_ns: int) -> None:
        if isinstance(update, Exception):
            self._lose(update)
            return
        if not self._is_connected:
            self._is_connected = self._was_connected = True
            self._tell()
        is_first, self._is_first = self._is_first, False
        try:
            number = int(update.uniqueId)
            if is_first and not self._continues(number, received_ns):
                return
            parts = self._message(update, number, received_ns)
        except (AttributeError, KeyError, TypeError, ValueError, IndexError, OverflowError) as fault:
            words = f"an update of {self.endpoint} is not an NTNDArray ({str(fault)[:80]})"
            self._refuse(CodecError(RefusalReason.MALFORMED, words))
            return
        self._deliver(parts, sum(map(len, parts)), received_ns)

    def _lose(self, why: Exception) -> None:
        if self._is_connected:
            log.warning("%s stream %s: the variable disconnected (%s)", self.name, self.endpoint, why)
        self._is_connected, self._is_first = False, True
        self._tell()

    def _continues(self, number: int, received_ns: int) -> bool:
        """Whether an update belongs to the running scan."""
        run = self._scan
        return run is not None and number > run.number and received_ns - run.received_ns < self._silence_s * 1e9

    def _message(self, update: Any, number: int, received_ns: int) -> list[memoryview]:
        pixels, codec = np.asarray(update.value), str(update.codec.name)
        shape = [int(side.size) for side in reversed(update.dimension)]
        kind = _type_of(pixels, codec, update.codec)
        payload = pixels.view(np.uint8).data if pixels.size and pixels.dtype.kind in "iuf" else memoryview(b"")
        run = self._scan
        if run is None or number < run.number or received_ns - run.received_ns >= self._silence_s * 1e9:
            base = number if self._first_number is None or number < self._first_number else self._first_number
            run = self._scan = _RunningScan(self._scan_id(run), base, number, received_ns)
        run.number, run.received_ns = number, received_ns
        head = {
            "htype": "array-1.0",
            "shape": shape,
            "type": kind,
            "frame": number - run.base,
            "encoding": _ENCODINGS.get(codec, codec),
            "source": self._variable,
            "scan_id": run.scan_id,
        }
        if codec == "bslz4":
            payload = memoryview(_NO_HEADER + payload)
        return [memoryview(json.dumps(head).encode()), payload]

    def _scan_id(self, before: _RunningScan | None) -> str:
        scan_id = f"{self._variable}-{time.strftime('%Y%m%dT%H%M%S')}"
        return f"{scan_id}b" if before is not None and before.scan_id == scan_id else scan_id


def _type_of(pixels: NDArray[Any], codec: str, about: Any) -> str:
    """Return NumPy's name of the pixel type; for packed pixels ``codec.parameters`` holds its number."""
    if not codec:
        return "no pixels" if pixels.dtype.kind == "O" else str(pixels.dtype.name)
    number = about.parameters
    is_known = isinstance(number, int) and 0 <= number < len(_TYPES)
    return _TYPES[number] if is_known else f"codec.parameters {shown(number)}"
