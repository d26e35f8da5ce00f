"""Bluesky documents: positions of events, runs, and what is never loaded."""

from __future__ import annotations

import json
import pickle
from typing import Any

import msgpack
import numpy as np
import pytest

from streams.bluesky import BlueskyReader, split_document
from streams.errors import PositionError
from streams.samples import SourceOptions
from tests.support.position_tools import bluesky

OPTIONS = SourceOptions(("zpssy", "zpssx"), (1e-6, -1e-6))
START = {"uid": "u-1", "time": 1.0, "scan_id": 77, "plan_name": "fly2d", "energy": 8.8, "motors": ["zpssy", "zpssx"]}


def event(number: int, y: Any, x: Any, **more: Any) -> dict[str, Any]:
    return {
        "descriptor": "d-1",
        "seq_num": number,
        "time": 1.0,
        "data": {"zpssy": y, "zpssx": x},
        "timestamps": {},
    } | more


def page(numbers: list[int], y: list[Any], x: list[Any]) -> dict[str, Any]:
    return event(0, y, x, seq_num=numbers)


def found(reader: BlueskyReader, name: str, document: dict[str, Any]) -> dict[int, tuple[float, float]]:
    return {p.index: tuple(p.position_m) for p in reader.parse([bluesky(name, document)]).positions}


def test_a_run_with_events_and_pages() -> None:
    reader = BlueskyReader(OPTIONS)
    start = reader.parse([bluesky("start", START)])
    assert start.begins
    assert start.run == START
    assert found(reader, "event", event(1, 1, 2.5)) == {0: pytest.approx((1e-6, -2.5e-6))}
    assert found(reader, "event_page", page([2, 3], [1, 2], [3, 4])) == {
        1: pytest.approx((1e-6, -3e-6)),
        2: pytest.approx((2e-6, -4e-6)),
    }
    assert found(reader, "event", {"seq_num": 1, "data": {"temperature": 3}}) == {}
    stop = reader.parse([bluesky("stop", {"exit_status": "success", "num_events": 3})])
    assert stop.ends
    assert stop.fault is None
    assert stop.samples == 3


def test_events_that_hold_lists_are_samples_one_after_the_other() -> None:
    reader = BlueskyReader(SourceOptions(("zpssy", "zpssx"), samples_per_frame=2))
    assert found(reader, "event", event(2, [5, 7, 9, 9], [0, 0, 0, 2])) == {2: (6.0, 0.0), 3: (9.0, 1.0)}
    assert found(reader, "event", event(1, [1, 1, 3, 3], [0, 0, 0, 0])) == {0: (1.0, 0.0), 1: (3.0, 0.0)}
    with pytest.raises(PositionError, match="with 2 samples where the others have 4"):
        reader.parse([bluesky("event", event(3, [1, 2], [1, 2]))])


def test_msgpack_and_an_empty_prefix() -> None:
    message = b" event " + msgpack.packb(event(4, 1.0, 2.0))
    (position,) = BlueskyReader(OPTIONS).parse([memoryview(message)]).positions
    assert position.index == 3
    assert split_document(b" stop \x80") == ("stop", {})


def test_without_channels_only_runs_are_told() -> None:
    reader = BlueskyReader(None)
    assert reader.parse([bluesky("start", START)]).run == START
    assert reader.parse([bluesky("event", event(1, 1, 2))]).positions == []


def test_one_key_missing_is_said() -> None:
    news = BlueskyReader(OPTIONS).parse([bluesky("event", {"seq_num": 1, "data": {"zpssy": 1, "ssx": 2}})])
    assert news.fault == "Bluesky events hold no zpssx; correct [positions] channels to two of zpssy, ssx"


def test_a_run_that_failed_is_said() -> None:
    news = BlueskyReader(OPTIONS).parse([bluesky("stop", {"exit_status": "abort", "reason": "beam dump"})])
    assert news.ends
    assert news.fault == "the Bluesky run ended with abort: beam dump"


def test_kinds_that_mean_nothing_here_are_not_even_read() -> None:
    assert BlueskyReader(OPTIONS).parse([b"x resource {broken"]).positions == []


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a pickle was loaded",))


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", ["start", "event", "stop", "descriptor", "resource"])
def test_a_pickle_is_refused_by_name_and_never_loaded(protocol: int, name: str) -> None:
    message = b"x " + name.encode() + b" " + pickle.dumps({"a": Bomb()}, protocol)
    with pytest.raises(PositionError, match=f"Bluesky {name} is pickled, which is never loaded"):
        BlueskyReader(OPTIONS).parse([message])


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"", "is no Bluesky document"),
        (b"nonsense", "is no Bluesky document"),
        (b"x hello {}", "is no Bluesky document"),
        (b"x start [1]", "neither JSON nor msgpack"),
        (b"x start \x91\x01", "is not a map"),
        (b"x start " + b'{"a":' * 50_000, "neither JSON nor msgpack"),
        (b"x start " + b"\x81\xa1a" * 50_000, "neither JSON nor msgpack"),
        (b"x start " + msgpack.packb({"a": msgpack.ExtType(5, b"12")}), "neither JSON nor msgpack"),
        (b" " * (17 * 2**20), "exceeds"),
        (bluesky("event", {"seq_num": 1}), "without data"),
        (bluesky("event", event(0, 1, 2)), "without a seq_num"),
        (bluesky("event", event(-1, 1, 2)), "without a seq_num"),
        (bluesky("event", event(True, 1, 2)), "without a seq_num"),
        (bluesky("event", event(1, "1", 2)), "something else than numbers"),
        (bluesky("event", event(1, None, 2)), "something else than numbers"),
        (bluesky("event", event(1, [1, [2]], [1, 2])), "something else than numbers"),
        (bluesky("event", event(1, [1, 2], [1])), "not of one length"),
        (bluesky("event", event(1, [1, 2], 1)), "not of one length"),
        (bluesky("event", event(2**40, 1, 2)), "are not those of a scan"),
        (bluesky("event_page", page([1], [1, 2], [1, 2])), "do not follow one another"),
        (bluesky("event_page", page([1, 3], [1, 2], [1, 2])), "do not follow one another"),
        (bluesky("event_page", page([1, 2], [[1], [2, 3]], [[1], [2, 3]])), "Bluesky zpssy: setting an array"),
        (bluesky("event_page", event(1, 1, 2)), "is not a list"),
    ],
)
def test_messages_that_are_refused(message: bytes, words: str) -> None:
    reader = BlueskyReader(OPTIONS)
    with pytest.raises(PositionError, match=words):
        reader.parse([message])
    assert found(reader, "event", event(1, 1, 1)).keys() == {0}


def test_what_a_run_says_is_bounded() -> None:
    about = {f"key{k}": "x" * 1000 for k in range(500)} | {"deep": [[[[[[[[[[1]]]]]]]]]]}
    run = BlueskyReader(None).parse([bluesky("start", about)]).run
    assert run is not None
    assert len(json.dumps(run)) < 20_000
    assert np.isfinite(len(run))


def test_two_parts() -> None:
    with pytest.raises(PositionError, match="one part"):
        BlueskyReader(OPTIONS).parse([b"a", b"b"])
