"""A viewer over the page's port goes on after a restart of the daemon, and after the network has cut the connection."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np

from daemon.publish.http.interface import HttpServer, create_app
from daemon.publish.hub import UpdateHub
from ptycholive_client import Picture, Viewer
from tests.support.daemon_tools import PATIENCE_S
from tests.support.fake_daemon import FakeDaemon
from tests.support.http_server import serving
from tests.support.updates import assert_same, make_update


class Relay:
    """Passes bytes on between viewers and a port, until the network is cut."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Reset all connections, as a switch does that has forgotten them."""
        for pair in self._pairs:
            for end in pair:
                with suppress(OSError):  # closed already
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                    end.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._target))
            self._pairs.append((near, far))
            for ends in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=ends, daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
    except OSError:
        pass
    finally:
        source.close()
        target.close()


@contextmanager
def relay(port: int) -> Iterator[Relay]:
    made = Relay(port)
    try:
        yield made
    finally:
        made.close()


def next_picture(viewer: Viewer, stitched: int) -> Picture:
    return next(e.picture for e in viewer.events() if e.picture and e.picture.frames_stitched == stitched)


def test_a_restarted_daemon_is_found_again() -> None:
    rng, hub = np.random.default_rng(0), UpdateHub()
    hub.publish_layer(make_update(rng, stitched=1))
    with serving(create_app(FakeDaemon(), hub)) as server:
        viewer = Viewer(server.url, PATIENCE_S)
        assert_same(next_picture(viewer, 1), hub.canvas("scan-1", "network"))
        port = server.port
    again = UpdateHub()
    again.publish_layer(make_update(rng, stitched=7, shape=(50, 60)))
    second = HttpServer(create_app(FakeDaemon(), again), "127.0.0.1", port)
    second.start()
    try:
        assert_same(next_picture(viewer, 7), again.canvas("scan-1", "network"))
        again.publish_layer(make_update(rng, stitched=8, shape=(50, 60)))
        assert_same(next_picture(viewer, 8), again.canvas("scan-1", "network"))
        assert viewer.gaps == 0  # numbers begin again with a connection
    finally:
        viewer.close()
        second.stop()


def test_a_cut_connection_is_made_again() -> None:
    rng, hub = np.random.default_rng(0), UpdateHub()
    hub.publish_layer(make_update(rng, stitched=1))
    with (
        serving(create_app(FakeDaemon(), hub)) as server,
        relay(server.port) as network,
        Viewer(network.url, PATIENCE_S) as viewer,
    ):
        next_picture(viewer, 1)
        for stitched in (2, 3):
            network.cut()
            hub.publish_layer(make_update(rng, stitched=stitched))  # meanwhile
            assert_same(next_picture(viewer, stitched), hub.canvas("scan-1", "network"))
