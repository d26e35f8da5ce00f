"""Messages, growth and the hub, without sockets."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from daemon.publish import wire
from daemon.publish.feed import Feed
from daemon.publish.hub import UpdateHub
from daemon.publish.snapshot import LayerCanvas, Region, regrow
from tests.support import messages
from tests.support.updates import assert_same, make_update, random_walk


@pytest.mark.parametrize("seed", range(5))
def test_snapshot_and_its_deltas_are_the_next_snapshot_bit_for_bit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    hub = UpdateHub()
    updates = random_walk(rng, 12)
    hub.publish_layer(updates[0])
    first = hub.canvas("scan-1", "network")
    assert first is not None
    snapshot = wire.snapshot_message(first)
    state = wire.read_snapshot(snapshot.header, snapshot.buffers)
    for update in updates[1:]:
        hub.publish_layer(update)
        for message in wire.delta_messages(update):
            parts = wire.encode("delta", message.numbered(7), message.buffers)
            received = wire.decode(parts)
            before = state.object.copy()
            after = wire.apply_delta(state, received.header, received.buffers)
            np.testing.assert_array_equal(state.object, before)
            state = after
    assert_same(state, hub.canvas("scan-1", "network"))


def test_a_snapshot_says_which_generation_each_tile_has() -> None:
    rng, hub = np.random.default_rng(0), UpdateHub()
    first = make_update(rng, shape=(96, 64), places=((0, 0, 96, 64),))
    hub.publish_layer(replace(first, model_generation=1))
    later = make_update(rng, shape=(96, 96), origin_px=(0, -32), places=((32, 64, 32, 32),))
    hub.publish_layer(replace(later, model_generation=2))
    canvas = hub.canvas("scan-1", "network")
    made = wire.snapshot_message(canvas)
    snapshot = wire.decode(wire.encode("snapshot", made.numbered(0), made.buffers))
    assert snapshot.header["generations"] == [[0, 1, 1], [0, 1, 2], [0, 1, 1]]
    seen = wire.read_snapshot(snapshot.header, snapshot.buffers)
    np.testing.assert_array_equal(seen.generations, canvas.generations)
    with pytest.raises(wire.WireError, match="generations"):
        wire.read_snapshot({**snapshot.header, "generations": [[1, 2]]}, snapshot.buffers)


def test_an_empty_picture_is_read() -> None:
    hub = UpdateHub()
    hub.publish_layer(make_update(np.random.default_rng(0), shape=(0, 0), places=(), complete=True))
    made = wire.snapshot_message(hub.canvas("scan-1", "network"))
    seen = wire.read_snapshot(made.header, made.buffers)
    assert seen.shape == (0, 0)
    assert seen.complete
    with pytest.raises(wire.WireError, match="generations"):
        wire.read_snapshot({**made.header, "generations": [[1]]}, made.buffers)


def test_only_the_last_delta_of_a_last_update_is_complete() -> None:
    regions = tuple(Region(y, 0, 1, 2, np.ones((1, 2), np.complex64), np.ones((1, 2), np.float32)) for y in range(3))
    update = replace(make_update(np.random.default_rng(0)), shape=(3, 2), regions=regions, complete=True)
    assert [message.header["complete"] for message in wire.delta_messages(update)] == [False, False, True]


def test_growth_places_content_by_origin() -> None:
    old = np.arange(6, dtype=np.float32).reshape(2, 3)
    new = regrow(old, (0, 0), (4, 5), (-1, -2))
    np.testing.assert_array_equal(new[1:3, 2:5], old)
    assert new.sum() == old.sum()
    np.testing.assert_array_equal(regrow(new, (-1, -2), (2, 3), (0, 0)), old)
    assert not regrow(old, (0, 0), (2, 2), (50, 50)).any()


def test_websocket_form_is_one_array_with_everything() -> None:
    update = make_update(np.random.default_rng(0))
    message = next(wire.delta_messages(update))
    received = wire.decode_ws(wire.encode_ws(message, 5))
    assert received.topic == "delta"
    assert received.header["sequence"] == 5
    assert received.header["schema_version"] == 1
    assert received.header["scan_id"] == "scan-1"
    assert received.header["time_ns"] == 123
    assert received.header["region"] == [3, 4, 10, 12]
    assert received.buffers == message.buffers


@pytest.mark.parametrize(
    "parts",
    [
        [b"delta"],
        [b"delta", b"\xc1"],
        [b"delta", b"\x80"],
        [b"other", wire.encode("delta", {"schema_version": 1})[1]],
    ],
)
def test_broken_messages_are_named(parts: list[bytes]) -> None:
    with pytest.raises(wire.WireError):
        wire.decode(parts)


def test_delta_outside_its_canvas_is_refused() -> None:
    message = next(wire.delta_messages(make_update(np.random.default_rng(0))))
    with pytest.raises(wire.WireError, match="outside"):
        wire.apply_delta(None, {**message.header, "region": [39, 0, 10, 12]}, message.buffers)
    with pytest.raises(wire.WireError, match="bytes"):
        wire.apply_delta(None, message.header, (message.buffers[0][:-8], message.buffers[1]))


def test_plain_knows_numpy_and_nan() -> None:
    assert wire.plain({1: np.float32(0.5), "n": float("nan"), "a": np.arange(2), "t": (1, None)}) == {
        "1": 0.5,
        "n": None,
        "a": [0, 1],
        "t": [1, None],
    }


def test_hub_keeps_the_last_scans_and_ignores_the_forgotten() -> None:
    rng = np.random.default_rng(1)
    hub = UpdateHub(keep_scans=2)
    for number in range(4):
        hub.publish_layer(make_update(rng, scan_id=f"s{number}"))
    assert hub.scan_ids() == ["s2", "s3"]
    assert hub.latest_scan_id == "s3"
    hub.publish_layer(make_update(rng, scan_id="s0"))
    assert hub.canvas("s0", "network") is None
    assert hub.latest_scan_id == "s3"
    assert hub.layers("s3") == ["network"]


def test_hub_drops_old_scans_when_they_are_large() -> None:
    rng = np.random.default_rng(1)
    hub = UpdateHub(keep_scans=4, keep_bytes=1)
    hub.publish_layer(make_update(rng, scan_id="a"))
    hub.publish_layer(make_update(rng, scan_id="b"))
    assert hub.scan_ids() == ["b"]


def test_publishing_does_not_wait_for_a_reader_of_the_canvas() -> None:
    rng = np.random.default_rng(2)
    hub = UpdateHub()
    hub.publish_layer(make_update(rng))
    last = make_update(rng, stitched=9)
    with hub._canvases:  # a reader copies a huge canvas
        publisher = threading.Thread(target=hub.publish_layer, args=(last,))
        publisher.start()
        publisher.join(timeout=10)
        assert not publisher.is_alive()
    canvas = hub.canvas("scan-1", "network")
    assert canvas is not None
    assert canvas.frames_stitched == 9


def test_canvas_is_a_copy() -> None:
    hub = UpdateHub()
    hub.publish_layer(make_update(np.random.default_rng(2)))
    first = hub.canvas("scan-1", "network")
    assert first is not None
    first.object[:] = 0
    again = hub.canvas("scan-1", "network")
    assert again is not None
    assert again.object.any()


def follow(feed: Feed, states: dict[str, LayerCanvas], topics: list[str]) -> None:
    for message in feed.messages():
        topics.append(message.topic)
        layer = message.header.get("layer", "")
        if message.topic == "snapshot":
            states[layer] = wire.read_snapshot(message.header, message.buffers)
        elif message.topic == "delta":
            states[layer] = wire.apply_delta(states[layer], message.header, message.buffers)


@pytest.mark.parametrize(("max_events", "max_bytes"), [(256, 64 << 20), (3, 64 << 20), (256, 1000)])
def test_a_lagging_feed_ends_with_the_same_picture(max_events: int, max_bytes: int) -> None:
    rng = np.random.default_rng(3)
    hub = UpdateHub()
    feed = Feed(hub, lambda: None, max_events, max_bytes)
    states: dict[str, LayerCanvas] = {}
    topics: list[str] = []
    for number, update in enumerate(random_walk(rng, 30)):
        hub.publish_layer(update)
        hub.publish_layer(replace(update, layer="refined"))
        if number == 2:
            hub.publish_scan(messages.started("scan-1"))
        if number % 7 == 3:
            follow(feed, states, topics)
            assert_same(states["network"], hub.canvas("scan-1", "network"))
    hub.publish_status(messages.status())
    follow(feed, states, topics)
    for layer in ("network", "refined"):
        assert_same(states[layer], hub.canvas("scan-1", layer))
    assert topics.count("scan") == 1
    assert topics.count("status") == 1
    assert (feed.coalesced > 0) == (max_events == 3 or max_bytes == 1000)


def test_a_complete_update_brings_snapshots_of_every_layer() -> None:
    rng = np.random.default_rng(4)
    hub = UpdateHub()
    feed = Feed(hub, lambda: None)
    hub.publish_layer(make_update(rng))
    hub.publish_layer(make_update(rng, layer="refined"))
    list(feed.messages())
    hub.publish_layer(make_update(rng, layer="refined", complete=True))
    sent = list(feed.messages())
    assert [message.topic for message in sent] == ["delta", "snapshot", "snapshot"]
    assert {message.header["layer"] for message in sent[1:]} == {"network", "refined"}


def test_a_closed_feed_hears_nothing() -> None:
    hub = UpdateHub()
    feed = Feed(hub, lambda: None)
    feed.close()
    hub.publish_status(messages.status())
    assert list(feed.messages()) == []
