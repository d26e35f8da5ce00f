"""Files and connections that may be open: shared out, said when they run short, and said no more when there is room."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from daemon.client import Viewer
from daemon.publish.hub import UpdateHub
from daemon.publish.zmq import ZmqPublisher
from daemon.service import descriptors
from daemon.service.descriptors import OWN, Shares, share_out

PATIENCE_S = 60


@pytest.fixture
def restored() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("restored")
def test_the_limit_is_raised_to_all_that_the_system_allows() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most - 1, most))
    descriptors.raise_limit()
    assert descriptors.limit() == most


def test_those_who_watch_share_what_the_daemon_leaves(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = Shares(http=256, updates=256)
    monkeypatch.setattr(descriptors, "count_open", lambda: 50)
    monkeypatch.setattr(descriptors, "limit", lambda: 10_000)
    assert share_out(wanted) == wanted
    assert not caplog.records
    monkeypatch.setattr(descriptors, "limit", lambda: 50 + OWN + 40)
    assert share_out(wanted) == Shares(20, 20)
    assert "raise the limit" in caplog.text


def test_a_shortage_is_said_while_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert descriptors.trouble() is None
    monkeypatch.setattr(descriptors, "limit", lambda: descriptors.count_open() + 3)
    assert "raise the limit" in str(descriptors.trouble())
    monkeypatch.undo()
    assert descriptors.trouble() is None


def test_connections_to_the_updates_are_bounded_and_a_place_that_is_left_is_given_again() -> None:
    hub = UpdateHub()
    publisher = ZmqPublisher(hub, "tcp://127.0.0.1:0", most_connections=2)
    port = int(publisher.bound_endpoint.rpartition(":")[2])

    def dial() -> socket.socket:
        return socket.create_connection(("127.0.0.1", port), PATIENCE_S)

    try:
        with ExitStack() as stack:
            first, _ = [stack.enter_context(dial()) for _ in range(2)]
            third = stack.enter_context(dial())
            while third.recv(64):
                pass
            first.close()
            with Viewer(publisher.bound_endpoint) as viewer:
                hub.publish_status({"state": "idle"})
                assert next(iter(viewer.events()))[0] == "status"
            assert publisher._seats.turned_away >= 1
    finally:
        publisher.close()
