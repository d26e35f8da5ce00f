"""The beam monitor in Bluesky's events: its mean over a frame comes with the position, and goes with it to the scan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from streams.frame import PositionNews, ScanStart
from streams.position_sources.bluesky import BlueskyReader
from streams.position_sources.samples import SourceOptions
from tests.support.join_tools import NamedJoin
from tests.support.position_tools import bluesky

OPTIONS = SourceOptions(("y", "x"), (1e-6, 1e-6), monitor_channel="i0")


def heard(options: SourceOptions, *events: tuple[str, dict[str, Any]]) -> list[PositionNews]:
    """Return the news of a run with these documents."""
    reader = BlueskyReader(options)
    keys = {key: {"dtype": "number"} for key in ("y", "x", "i0")}
    begun = [
        ("start", {"uid": "u"}),
        ("descriptor", {"uid": "d", "name": "primary", "run_start": "u", "data_keys": keys}),
    ]
    return [reader.parse([bluesky(name, document)]) for name, document in [*begun, *events]]


def event(number: Any, y: Any, x: Any, **more: Any) -> dict[str, Any]:
    return {"descriptor": "d", "seq_num": number, "time": 1.0, "data": {"y": y, "x": x} | more, "timestamps": {}}


def lights(news: list[PositionNews]) -> dict[int, float | None]:
    return {position.index: position.light for some in news for position in some.positions}


def test_each_frame_gets_the_mean_of_its_samples() -> None:
    pages = ("event_page", event([1, 2, 3, 4], [1.0] * 4, [2.0] * 4, i0=[10.0, 20.0, 30.0, 50.0]))
    assert lights(heard(OPTIONS, pages)) == {0: 10, 1: 20, 2: 30, 3: 50}
    assert lights(heard(replace(OPTIONS, samples_per_frame=2), pages)) == {0: 15, 1: 40}


def test_one_value_serves_all_samples_of_an_event() -> None:
    news = heard(OPTIONS, ("event", event(1, [1.0, 2.0], [3.0, 4.0], i0=7.0)))
    assert lights(news) == {0: 7, 1: 7}


@pytest.mark.parametrize("values", [{}, {"i0": [1.0, 2.0]}, {"i0": 0.0}, {"i0": float("nan")}])
def test_a_monitor_that_tells_nothing_costs_no_position(values: dict[str, Any]) -> None:
    news = heard(OPTIONS, ("event", event(1, [1.0, 2.0, 3.0], [3.0, 4.0, 5.0], **values)))
    assert lights(news) == {0: None, 1: None, 2: None}
    assert (news[-1].fault is None) == (values not in ({}, {"i0": [1.0, 2.0]}))


@pytest.mark.parametrize("is_early", [False, True])
def test_the_scan_keeps_the_light_beside_the_position(is_early: bool) -> None:
    join = NamedJoin()
    start, news = ScanStart("a"), heard(OPTIONS, ("event", event(1, 1.0, 2.0, i0=7.0)))
    for step in [*news, start] if is_early else [start, *news]:
        if isinstance(step, ScanStart):
            join.start_scan(step)
        else:
            join.add_news(step)
    assert join.light("a", 0) == 7
    assert join.light("a", 1) is None
    assert join.light("b", 0) is None
