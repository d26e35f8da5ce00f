"""What strangers can make the server hold: connections, headers, bodies, pictures, and how long it waits for them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import httpx
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from daemon.publish.http.interface import HttpServer, create_app
from daemon.publish.http.limits import HttpLimits
from daemon.publish.hub import UpdateHub
from tests.support import messages
from tests.support.fake_daemon import FakeDaemon, receive, updates_url
from tests.support.updates import make_update

REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
PATIENCE_S = 60


class Refused(list[str]):
    """Words of refusals, that can be waited for."""

    def __init__(self) -> None:
        self._came = threading.Event()

    def note(self, reason: str) -> None:
        self.append(reason)
        self._came.set()

    def wait(self) -> None:
        assert self._came.wait(PATIENCE_S)


@contextmanager
def running(
    limits: HttpLimits, refused: Refused, hub: UpdateHub | None = None, viewers: int = 64
) -> Iterator[HttpServer]:
    app = create_app(FakeDaemon(), hub or UpdateHub(), viewers)
    server = HttpServer(app, limits=limits, on_refused=refused.note)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def dial(server: HttpServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S)


def ask(connection: socket.socket) -> None:
    """Ask for the health and read the whole answer."""
    connection.sendall(REQUEST + b"\r\n")
    answer = b""
    while not answer.endswith(b'{"status":"ok"}'):
        piece = connection.recv(1 << 16)
        assert piece
        answer += piece


def is_ended(connection: socket.socket) -> bool:
    """Whether the other side ends the connection; read until it does."""
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionResetError:
        return True
    return True


def test_long_bodies_and_many_headers_are_refused() -> None:
    refused = Refused()
    with running(HttpLimits(max_body_bytes=1000), refused) as server, httpx.Client(base_url=server.url) as client:
        url = "/api/v1/models/active"
        long = b'{"name": "' + b"x" * 2000 + b'"}'
        declared = client.post(url, content=long)
        assert (declared.status_code, declared.json()["detail"]) == (
            413,
            "the body is too long: the limit is 1000 bytes",
        )
        chunked = client.post(url, content=iter([long[:100]] + [long[100:200]] * 30))
        assert chunked.status_code == 413
        assert client.post(url, json={"name": "lift"}).status_code == 202
        many = client.get("/api/v1/status", headers={f"X-{k}": "1" for k in range(200)})
        assert (many.status_code, many.json()["detail"]) == (
            431,
            "too many headers: the limits are 100 headers and 16384 bytes in all",
        )
        assert client.get("/api/v1/status", headers={"X-Long": "y" * 20_000}).status_code == 431
        with dial(server) as endless:
            endless.sendall(REQUEST + b"X-Long: ")
            with suppress(ConnectionError):
                for _ in range(100):
                    endless.sendall(b"y" * 10_000)
            assert is_ended(endless)
    assert refused == ["body", "body", "headers", "headers"]


def test_further_connections_are_closed_and_those_there_go_on() -> None:
    refused = Refused()
    with running(HttpLimits(max_connections=3), refused) as server, ExitStack() as stack:
        viewers = [stack.enter_context(connect(updates_url(server))) for _ in range(3)]
        assert is_ended(stack.enter_context(dial(server)))
        assert refused == ["connections"]
        viewers.pop().close()  # returns once the server has closed its end
        ask(stack.enter_context(dial(server)))


def test_who_asked_once_and_stays_keeps_nobody_out() -> None:
    refused = Refused()
    with running(HttpLimits(max_connections=3), refused) as server, ExitStack() as stack:
        held = [stack.enter_context(dial(server)) for _ in range(3)]
        for connection in [*held, held[0]]:
            ask(connection)
        ask(stack.enter_context(dial(server)))
        assert is_ended(held[1])
        ask(held[0])
        ask(held[2])
    assert refused == ["connections"]


def test_strangers_who_connect_and_say_nothing_keep_nobody_out() -> None:
    refused = Refused()
    with running(HttpLimits(max_connections=3), refused) as server, ExitStack() as stack:
        asked = stack.enter_context(dial(server))
        ask(asked)
        silent = [stack.enter_context(dial(server)) for _ in range(2)]
        ask(stack.enter_context(dial(server)))
        assert is_ended(silent[0])
        ask(asked)
    assert refused == ["connections"]


@pytest.mark.parametrize("sent", [b"", REQUEST, REQUEST + b"\r\n" + REQUEST], ids=["nothing", "half", "one and a half"])
def test_who_does_not_finish_a_request_is_sent_away(sent: bytes) -> None:
    refused = Refused()
    with running(HttpLimits(request_s=1.0), refused) as server, dial(server) as slow:
        slow.sendall(sent)
        assert is_ended(slow)
    assert refused == ["slow"]


def test_who_does_not_finish_a_body_is_sent_away() -> None:
    refused = Refused()
    with running(HttpLimits(request_s=1.0), refused) as server, dial(server) as slow:
        slow.sendall(b"POST /api/v1/models/active HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n{")
        assert is_ended(slow)
    assert refused == ["slow"]


def test_who_takes_nothing_of_a_picture_is_sent_away_and_others_get_theirs() -> None:
    refused = Refused()
    hub = UpdateHub()
    big = make_update(np.random.default_rng(0), shape=(1500, 1500), places=((0, 0, 1500, 1500),))
    hub.publish_layer(big)
    limits = HttpLimits(stuck_s=1.0, large_at_once=1, large_wait_s=PATIENCE_S)
    with running(limits, refused, hub) as server, dial(server) as stuck:
        stuck.sendall(b"GET /api/v1/scans/latest/snapshot.npy HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert stuck.recv(12) == b"HTTP/1.1 200"
        answer = httpx.get(f"{server.url}/api/v1/scans/latest/snapshot.npy", timeout=PATIENCE_S)
        assert len(answer.content) == 1500 * 1500 * 8 + 128
        assert refused == ["stuck"]
        assert is_ended(stuck)


def test_pictures_beyond_the_turn_are_refused_in_words() -> None:
    refused = Refused()
    hub = UpdateHub()
    hub.publish_layer(make_update(np.random.default_rng(0), shape=(1500, 1500), places=((0, 0, 1500, 1500),)))
    limits = HttpLimits(stuck_s=PATIENCE_S, large_at_once=1, large_wait_s=0.1)
    with running(limits, refused, hub) as server, dial(server) as stuck:
        stuck.sendall(b"GET /api/v1/scans/latest/snapshot.npy HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert stuck.recv(12) == b"HTTP/1.1 200"
        busy = httpx.get(f"{server.url}/api/v1/scans/latest/snapshot.png")
        assert (busy.status_code, busy.headers["retry-after"]) == (503, "2")
        assert httpx.get(f"{server.url}/api/v1/status").status_code == 200


def test_a_viewer_that_reads_nothing_is_dropped() -> None:
    refused = Refused()
    hub = UpdateHub()
    big = make_update(np.random.default_rng(0), shape=(1500, 1500), places=((0, 0, 1500, 1500),))
    with running(HttpLimits(stuck_s=1.0), refused, hub) as server, dial(server) as stuck:
        stuck.sendall(
            b"GET /api/v1/updates HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert stuck.recv(12) == b"HTTP/1.1 101"
        with connect(updates_url(server), max_size=None) as viewer:
            hub.publish_layer(big)
            hub.publish_layer(big)
            assert receive(viewer).topic in ("snapshot", "delta")
            refused.wait()
            assert is_ended(stuck)
            hub.publish_status(messages.status())
            while receive(viewer).topic != "status":
                pass
    assert refused == ["stuck"]


def connect_when_free(server: HttpServer) -> ClientConnection:
    """Connect again and again until the server has seen that another viewer is gone."""
    while True:
        with suppress(InvalidStatus):
            return connect(updates_url(server))


def test_viewers_beyond_the_bound_are_sent_away() -> None:
    with running(HttpLimits(), Refused(), viewers=2) as server, ExitStack() as viewers:
        here = [viewers.enter_context(connect(updates_url(server))) for _ in range(2)]
        with pytest.raises(InvalidStatus) as caught:
            connect(updates_url(server))
        assert caught.value.response.status_code == 503
        assert caught.value.response.body.startswith(b'{"detail":"2 viewers are connected already')
        here.pop().close()
        viewers.enter_context(connect_when_free(server))


def test_a_viewer_that_says_too_much_is_dropped() -> None:
    with running(HttpLimits(), Refused()) as server, connect(updates_url(server)) as loud:
        loud.send(b"x" * 10_000)
        with pytest.raises(ConnectionClosed) as caught:
            loud.recv(timeout=PATIENCE_S)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1009
