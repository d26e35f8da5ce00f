"""Viewers over real ZeroMQ sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zmq

from daemon.client import Viewer, ViewerEvent
from daemon.publish.hub import UpdateHub
from daemon.publish.zmq import ZmqPublisher
from streams.errors import EndpointError
from streams.sockets.keys import KeyFiles, make_keys, read_keys
from tests.support import messages
from tests.support.updates import assert_same, make_update, random_walk

LOCAL = "tcp://127.0.0.1:0"


@pytest.fixture
def hub() -> UpdateHub:
    return UpdateHub()


@pytest.fixture
def publisher(hub: UpdateHub) -> Iterator[ZmqPublisher]:
    publisher = ZmqPublisher(hub, LOCAL)
    yield publisher
    publisher.close()


def until(viewer: Viewer, is_last: Callable[[ViewerEvent], bool]) -> list[ViewerEvent]:
    seen = []
    for event in viewer.events():
        seen.append(event)
        if is_last(event):
            return seen
    raise AssertionError("events() ended")


def is_end(event: ViewerEvent) -> bool:
    return event[0] == "scan" and event[1].get("state") == "ended"


def test_late_viewer_gets_everything_then_follows(hub: UpdateHub, publisher: ZmqPublisher) -> None:
    rng = np.random.default_rng(0)
    updates = random_walk(rng, 20)
    hub.publish_scan(messages.started("scan-1"))
    hub.publish_status(messages.status())
    for update in updates[:10]:
        hub.publish_layer(update)
    hub.publish_layer(make_update(rng, layer="refined"))
    with Viewer(publisher.bound_endpoint) as first:
        until(first, lambda event: event[1].get("layer") == "refined")  # so nothing waits to be sent any more
    with Viewer(publisher.bound_endpoint) as viewer:
        greeting = until(viewer, lambda event: event[1].get("layer") == "refined")
        assert [event[0] for event in greeting] == ["scan", "status", "snapshot", "snapshot"]
        assert_same(greeting[2][2], hub.canvas("scan-1", "network"))
        for update in updates[10:]:
            hub.publish_layer(update)
        hub.publish_scan(messages.ended("scan-1"))
        events = until(viewer, is_end)
        assert {event[0] for event in events} == {"delta", "scan"}
        assert_same(viewer.states["scan-1", "network"], hub.canvas("scan-1", "network"))
        assert publisher.subscribers == 1
        assert viewer.gaps == 0
        for name in ("schema_version", "scan_id", "sequence", "time_ns"):
            assert all(name in event[1] for event in greeting + events)
        numbers = [event[1]["sequence"] for event in greeting + events]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_lost_messages_lead_to_a_new_snapshot(hub: UpdateHub, publisher: ZmqPublisher) -> None:
    rng = np.random.default_rng(1)
    hub.publish_layer(make_update(rng))
    with Viewer(publisher.bound_endpoint) as viewer:
        until(viewer, lambda event: event[0] == "snapshot")
        hub.publish_layer(make_update(rng))
        viewer._updates.receive()  # the network loses one
        hub.publish_layer(make_update(rng))
        until(viewer, lambda event: event[0] == "snapshot")
        assert viewer.gaps == 1
        assert_same(viewer.states["scan-1", "network"], hub.canvas("scan-1", "network"))


def test_stuck_viewer_changes_nothing_for_others(hub: UpdateHub) -> None:
    rng = np.random.default_rng(2)
    publisher = ZmqPublisher(hub, LOCAL, send_limit=8)
    context = zmq.Context()
    stuck = context.socket(zmq.SUB)
    stuck.setsockopt(zmq.RCVHWM, 1)
    stuck.setsockopt(zmq.RCVTIMEO, 10_000)
    stuck.connect(publisher.bound_endpoint)
    stuck.setsockopt(zmq.SUBSCRIBE, b"")
    hub.publish_layer(make_update(rng))
    stuck.recv_multipart()  # it is there; it never reads again
    big = make_update(rng, shape=(600, 600), places=((0, 0, 600, 600),))
    with Viewer(publisher.bound_endpoint) as viewer:
        until(viewer, lambda event: event[0] == "snapshot")
        for number in range(100):
            hub.publish_layer(replace(big, frames_stitched=number))
        hub.publish_layer(make_update(rng, shape=(600, 600), complete=True, stitched=100))
        until(viewer, lambda event: event[2] is not None and event[2].frames_stitched == 100)
        assert_same(viewer.states["scan-1", "network"], hub.canvas("scan-1", "network"))
    stuck.close(0)
    context.term()
    publisher.close()


def test_lagging_publisher_sends_a_snapshot_instead(hub: UpdateHub) -> None:
    rng = np.random.default_rng(3)
    publisher = ZmqPublisher(hub, LOCAL, max_events=2)
    with Viewer(publisher.bound_endpoint) as viewer:
        hub.publish_layer(make_update(rng))
        until(viewer, lambda event: event[0] == "snapshot")
        with hub._canvases:  # the publisher cannot copy a canvas meanwhile
            for number in range(50):
                hub.publish_layer(make_update(rng, stitched=number))
        hub.publish_scan(messages.ended("scan-1"))
        if viewer.states["scan-1", "network"].frames_stitched != 49:
            until(viewer, lambda event: event[2] is not None and event[2].frames_stitched == 49)
        assert_same(viewer.states["scan-1", "network"], hub.canvas("scan-1", "network"))
        assert viewer.gaps == 0
    publisher.close()


def test_port_in_use_is_one_sentence(hub: UpdateHub, publisher: ZmqPublisher) -> None:
    with pytest.raises(EndpointError, match="in use") as caught:
        ZmqPublisher(hub, publisher.bound_endpoint)
    assert publisher.bound_endpoint in str(caught.value)
    with pytest.raises(EndpointError, match="cannot be bound"):
        ZmqPublisher(hub, "tcp://nonsense")


def test_silence_is_one_sentence(publisher: ZmqPublisher) -> None:
    with (
        Viewer(publisher.bound_endpoint, timeout_s=0.05) as viewer,
        pytest.raises(TimeoutError, match="no message came from"),
    ):
        next(viewer.events())
    with pytest.raises(EndpointError, match="not a valid endpoint"):
        Viewer("nonsense")


def test_encrypted_viewer_gets_the_picture_and_a_stranger_is_named(hub: UpdateHub, tmp_path: Path) -> None:
    for name in ("daemon", "viewer", "stranger"):
        make_keys(tmp_path, name)
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "viewer.key").write_bytes((tmp_path / "viewer.key").read_bytes())
    keys = {
        name: read_keys(
            KeyFiles(tmp_path / f"{name}.key", tmp_path / f"{name}.key_secret", tmp_path / "daemon.key"), False, name
        )
        for name in ("viewer", "stranger")
    }
    own = KeyFiles(tmp_path / "daemon.key", tmp_path / "daemon.key_secret", allowed=allowed)
    publisher = ZmqPublisher(hub, LOCAL, curve=read_keys(own, True, "[publish]"))
    hub.publish_layer(make_update(np.random.default_rng(4)))
    with Viewer(publisher.bound_endpoint, curve=keys["viewer"]) as viewer:
        until(viewer, lambda event: event[0] == "snapshot")
    assert publisher.handshake_failures == 0
    for curve, words in ((keys["stranger"], "rejects this end's public key"), (None, "no CURVE keys")):
        with Viewer(publisher.bound_endpoint, 1.0, curve=curve) as viewer, pytest.raises(EndpointError, match=words):
            next(viewer.events())
    assert publisher.handshake_failures >= 2
    publisher.close()


def test_close_frees_the_port_and_can_be_repeated(hub: UpdateHub) -> None:
    publisher = ZmqPublisher(hub, LOCAL)
    endpoint = publisher.bound_endpoint
    publisher.close()
    publisher.close()
    ZmqPublisher(hub, endpoint).close()
