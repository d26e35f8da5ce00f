"""A viewer in a few lines: what `ptycholive watch` and any script use to follow a scan."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any

import zmq

from daemon.publish.wire import Message, WireError, apply_delta, decode, read_snapshot
from daemon.snapshot import LayerCanvas
from streams.errors import EndpointError

ViewerEvent = tuple[str, dict[str, Any], LayerCanvas | None]


class Viewer:
    """Follows the daemon at `endpoint`; after a gap it asks for the whole picture again.

    Parameters
    ----------
    timeout_s
        Longest silence; None waits for ever.
    server_key
        Public CURVE key of the daemon, if it encrypts.
    """

    def __init__(
        self,
        endpoint: str,
        timeout_s: float | None = 10.0,
        *,
        server_key: bytes | None = None,
        receive_limit: int = 256,
    ) -> None:
        self.endpoint = endpoint
        self.timeout_s = timeout_s
        self.gaps = 0
        self.states: dict[tuple[str, str], LayerCanvas] = {}
        self._next: int | None = None
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.RCVHWM, receive_limit)
        self._socket.setsockopt(zmq.LINGER, 0)
        if timeout_s is not None:
            self._socket.setsockopt(zmq.RCVTIMEO, max(1, round(1000 * timeout_s)))
        if server_key is not None:
            self._socket.curve_publickey, self._socket.curve_secretkey = zmq.curve_keypair()
            self._socket.curve_serverkey = server_key
        self._connect()

    def __enter__(self) -> Viewer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the daemon."""
        self._socket.close()
        self._context.term()

    def events(self) -> Iterator[ViewerEvent]:
        """(topic, header, picture) of each message, for ever.

        The picture is the whole layer after a ``snapshot`` or ``delta`` and None for other topics; its arrays are
        written to by later deltas, so copy what must stay.

        Raises
        ------
        TimeoutError
            Nothing came for `timeout_s`.
        """
        while True:
            message = self._receive()
            if self._is_gap(message):
                self._subscribe_again()
            if message.topic == "snapshot":
                yield message.topic, message.header, self._keep(read_snapshot(message.header, message.buffers))
            elif message.topic == "delta":
                known = self.states.get((message.header["scan_id"], message.header["layer"]))
                if known is not None:  # else: a snapshot was asked for and will come
                    canvas = apply_delta(known, message.header, message.buffers, in_place=True)
                    yield message.topic, message.header, self._keep(canvas)
            else:
                yield message.topic, message.header, None

    def _connect(self) -> None:
        try:
            self._socket.connect(self.endpoint)
        except zmq.ZMQError as fault:
            self.close()
            sentence = f"{self.endpoint!r} is not an endpoint ({fault}); it looks like tcp://127.0.0.1:5556"
            raise EndpointError(sentence) from fault
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")

    def _receive(self) -> Message:
        while True:
            try:
                return decode(self._socket.recv_multipart())
            except zmq.Again as silence:
                raise TimeoutError(
                    f"nothing came from {self.endpoint} for {self.timeout_s:g} s; "
                    "check that the daemon runs and that [publish] endpoint is this address"
                ) from silence
            except WireError:
                self._next = -1  # counts as a gap

    def _is_gap(self, message: Message) -> bool:
        sequence = int(message.header["sequence"])
        is_gap = self._next is not None and sequence != self._next
        self._next = sequence + 1
        return is_gap

    def _subscribe_again(self) -> None:
        self.gaps += 1
        self.states.clear()
        self._socket.setsockopt(zmq.UNSUBSCRIBE, b"")
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")

    def _keep(self, canvas: LayerCanvas) -> LayerCanvas:
        self.states[(canvas.scan_id, canvas.layer)] = canvas
        while len(self.states) > 4:
            del self.states[next(iter(self.states))]
        return canvas
