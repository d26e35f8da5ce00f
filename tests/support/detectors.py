"""A detector that sends frames until it is told to stop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from numpy.typing import NDArray

from streams.codecs import CODECS
from streams.frame import ScanStart, StreamGeometry
from tests.support.sending_thread import sending

NO_HEADER = StreamGeometry()
PAUSE_S = 0.005
"""Between two frames, s: a detector's pace, not a time that a result depends on."""


@contextmanager
def detector(
    counts: NDArray[Any], stream_format: str, socket: str = "push", geometry: StreamGeometry = NO_HEADER
) -> Iterator[str]:
    """Yield the address of a detector that sends frames until it is told to stop."""
    codec = CODECS[stream_format]()

    def messages() -> Iterator[list[bytes]]:
        for scan_id in map(str, count()):  # scan after scan: the first one may be over before anyone listens
            yield codec.encode_start(ScanStart(scan_id, len(counts), geometry=geometry), counts.shape[1:], counts.dtype)
            yield from (codec.encode_frame(scan_id, k, counts[k]) for k in range(len(counts)))

    with sending(filter(None, messages()), socket, PAUSE_S) as endpoint:  # array-1.0 has no start
        yield endpoint
