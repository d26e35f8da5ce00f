"""Frames from the data port of a Quantum Detectors Merlin (TCP 6342).

A message is ``MPX,``, ten digits, a comma, and that number of bytes less one. It holds ``HDR,`` and text at the start of an
acquisition, or ``MQ1,``, the frame's number from 1, the length of its header, chips, columns, rows, the pixel type (U08, U16,
U32, U64), other fields, and the pixels, big-endian. Each frame becomes a message of ``array-1.0``
(:mod:`streams.codecs.array1`), whose codec refuses unknown types such as R64, the raw counters.
"""

from __future__ import annotations

import json
import re
import socket as sockets
import time

from streams.errors import CodecError
from streams.refusal_reasons import RefusalReason
from streams.sockets.receiver import OnMessage
from streams.sockets.tcp import TcpReceiver

__all__ = ["MerlinReceiver"]

_HEAD_BYTES = 15
"""Length of ``MPX,``, ten digits and a comma."""
_HEAD = re.compile(rb"MPX,(\d{10}),")
_MOST_HEADER_BYTES = 1 << 20
"""Bytes of an acquisition's header that are searched; a real one has some kilobytes."""
_MOST_IMAGE_HEAD = 4096
"""Bytes of an image message that are searched for its header; a quad chip's header has 768."""
_TYPES = {b"U08": "uint8", b"U16": "uint16", b"U32": "uint32", b"U64": "uint64"}
_EXPECTED = re.compile(rb"Frames in Acquisition \(Number\):\s*(\d{1,9})")


class MerlinReceiver(TcpReceiver):
    """Receives the messages of the data port.

    A scan is an acquisition; without an ``HDR`` message a scan begins when the frame number falls.
    """

    def __init__(
        self, name: str, endpoint: str, on_message: OnMessage, *, max_message_bytes: int = 128 * 2**20
    ) -> None:
        super().__init__(name, endpoint, on_message, max_message_bytes, "tcp://merlin:6342")
        self._scan_id = ""
        self._scans = 0
        self._number = 0
        self._expected: int | None = None
        self._has_frames = False

    def _listen(self, connection: sockets.socket) -> None:
        self._answered()
        while not self._stopping.is_set():
            head = _HEAD.fullmatch(_read(connection, _HEAD_BYTES))
            if head is None:
                raise self._refused(
                    RefusalReason.MALFORMED, "the message is not one of a Merlin's data port; check the port"
                )
            length = int(head[1]) - 1
            if not 4 <= length <= self.max_message_bytes:
                raise self._refused(
                    RefusalReason.TOO_LARGE, f"a message of {length} bytes exceeds {self.max_message_bytes}"
                )
            body = _read(connection, length)
            self._take(memoryview(body), time.monotonic_ns())

    def _take(self, body: memoryview, received_ns: int) -> None:
        if bytes(body[:4]) == b"HDR,":
            found = _EXPECTED.search(bytes(body[:_MOST_HEADER_BYTES]))
            self._begin(int(found[1]) if found else None)
            return
        try:
            parts = self._message(body)
        except (ValueError, IndexError):
            self._refused(
                RefusalReason.MALFORMED, f"the Merlin's message is neither HDR nor a frame: {bytes(body[:40])!r}"
            )
            return
        self._has_frames = True
        self._deliver(parts, sum(map(len, parts)), received_ns)

    def _refused(self, reason: RefusalReason, words: str) -> CodecError:
        """Count a message as refused, in the running scan if there is one; return the fault."""
        fault = CodecError(reason, words, self._scan_id if self._has_frames else None)
        self._refuse(fault)
        return fault

    def _begin(self, expected: int | None) -> None:
        self._scans += 1
        self._scan_id = f"merlin-{time.strftime('%Y%m%dT%H%M%S')}-{self._scans}"
        self._expected = expected or None
        self._has_frames = False
        self._number = 0

    def _message(self, body: memoryview) -> list[memoryview]:
        fields = bytes(body[:_MOST_IMAGE_HEAD]).split(b",", 7)
        if fields[0] != b"MQ1":
            raise ValueError("neither HDR nor MQ1")
        number, offset, columns, rows = (int(fields[k]) for k in (1, 2, 4, 5))
        if not self._scan_id or number < self._number:
            self._begin(self._expected)
        self._number = number
        head = {
            "htype": "array-1.0",
            "shape": [rows, columns],
            "type": _TYPES.get(fields[6], fields[6].decode("ascii", "replace").strip()),
            "frame": number - 1,
            "endianness": "big",
            "source": "merlin",
            "scan_id": self._scan_id,
        }
        if self._expected is not None:
            head["expected_frames"] = self._expected
        return [memoryview(json.dumps(head).encode()), body[offset:]]


def _read(connection: sockets.socket, length: int) -> bytearray:
    """Return exactly ``length`` bytes."""
    content = bytearray(length)
    rest = memoryview(content)
    while rest:
        count = connection.recv_into(rest)
        if not count:
            raise OSError("the detector closed the connection")
        rest = rest[count:]
    return content
