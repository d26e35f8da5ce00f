"""What all WebSocket viewers get together is bounded; who lags sees the newest picture, not old ones."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from daemon.publish.feed import Feed
from daemon.publish.http.updates import BURST_S, _Pace
from daemon.publish.hub import UpdateHub
from tests.support import messages
from tests.support.page_tools import even_update


def test_the_pace_is_shared_and_begins_with_a_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    now, slept = [100.0], []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    monkeypatch.setattr("daemon.publish.http.updates.time.monotonic", lambda: now[0])
    monkeypatch.setattr("daemon.publish.http.updates.asyncio.sleep", sleep)
    pace = _Pace(1000.0, BURST_S)

    async def send() -> None:
        for _ in range(10):
            await pace.keep(1000)

    asyncio.run(send())
    assert now[0] - 100.0 == pytest.approx(10 - BURST_S)
    assert len(slept) == 10


def test_more_queued_than_the_picture_is_becomes_the_picture() -> None:
    hub, woken = UpdateHub(), []
    feed = Feed(hub, lambda: woken.append(1))
    rng = np.random.default_rng(0)
    patches = [(rng.random((20, 20)) + 0j).astype(np.complex64) for _ in range(6)]
    for number, patch in enumerate(patches):
        hub.publish_layer(even_update(patch, shape=(40, 40), place=(number, number), stitched=number + 1))
    assert feed.is_behind
    (message,) = feed.messages()
    assert message.topic == "snapshot"
    assert message.header["frames_stitched"] == len(patches)
    assert hub.snapshot("scan-1", "network") == hub.snapshot("scan-1", "network")
    assert feed.coalesced == len(patches)
    feed.close()


def test_a_viewer_that_left_holds_nothing() -> None:
    hub = UpdateHub()
    feed = Feed(hub, lambda: None)
    hub.publish_status(messages.status())
    feed.close()
    assert list(feed.messages()) == []
