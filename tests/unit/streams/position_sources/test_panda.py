"""PandA messages: samples by number, frames by mean, losses and restarts."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.errors import PositionError
from streams.frame import MOVING, PositionNews
from streams.position_sources.panda import DEFAULT_CHANNELS, DEFAULT_TIME_CHANNEL, PandaReader
from streams.position_sources.samples import SourceOptions
from streams.sockets.transport import Receiver, Sender
from tests.support.position_tools import (
    A_MESSAGE,
    TIME,
    Gate,
    X,
    Y,
    panda_data,
    panda_run,
    panda_start,
    panda_stop,
    sampled,
)

PLACES = np.array([[y, 2.0 * x] for y in range(5) for x in range(40)])


def reader(per_frame: int = 1, **options: Any) -> PandaReader:
    return PandaReader(SourceOptions(DEFAULT_CHANNELS, samples_per_frame=per_frame, **options))


def read(source: PandaReader, messages: list[bytes]) -> tuple[dict[int, tuple[float, float]], list[PositionNews]]:
    news = [source.parse([message]) for message in messages]
    return {p.index: tuple(p.position_m) for item in news for p in item.positions}, news


@pytest.mark.parametrize("per_frame", [1, 3, 10, 41, 100])
def test_a_frame_has_the_mean_of_its_samples(per_frame: int) -> None:
    found, news = read(reader(per_frame), panda_run(sampled(PLACES, per_frame, 0.3)))
    assert sorted(found) == list(range(len(PLACES)))
    assert np.allclose([found[k] for k in range(len(PLACES))], PLACES)
    assert news[0].begins
    assert news[-1].ends
    assert (news[-1].samples, news[-1].samples_lost) == (len(PLACES) * per_frame, 0)


@pytest.mark.parametrize("size", [1, 4, 7, 100])
def test_frames_during_which_the_stage_moves_are_marked(size: int) -> None:
    samples = sampled(PLACES[:20], 3).reshape(-1, 3, 2)
    samples[4, 2] += [3.0, 4.0]  # moves by 5 units
    samples[5, 0] -= [0.6, 0.8]  # by 1 unit
    source = PandaReader(SourceOptions(DEFAULT_CHANNELS, (-1e-6, 1e-6), 3, max_motion_m=2e-6))
    found, _ = read(source, panda_run(samples.reshape(-1, 2), size))
    assert [index for index, place in found.items() if place == MOVING] == [4]
    assert all(math.isfinite(y) for index, (y, _) in found.items() if index != 4)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from([1, 3, 7, 50]), st.integers(1, 60), st.randoms(use_true_random=False), st.data())
def test_only_the_frames_of_lost_messages_are_lost_in_any_order(
    per_frame: int, size: int, random: Any, data: st.DataObject
) -> None:
    start, *messages, stop = panda_run(sampled(PLACES, per_frame, 0.1), size)
    lost = data.draw(st.sets(st.integers(0, len(messages) - 1), max_size=4))
    kept = [message for number, message in enumerate(messages) if number not in lost]
    random.shuffle(kept)
    found, _ = read(reader(per_frame), [start, *kept])
    gone = {
        sample // per_frame for k in lost for sample in range(k * size, min((k + 1) * size, len(PLACES) * per_frame))
    }
    assert set(found) == set(range(len(PLACES))) - gone
    assert all(np.allclose(found[k], PLACES[k]) for k in found)
    said = read(reader(), [stop])[1][0]
    assert said.ends
    assert (f"{len(messages)} of {len(messages)} position messages were lost" in (said.fault or "")) == bool(messages)


def test_units_signs_offset_and_channels() -> None:
    source = PandaReader(SourceOptions((X, Y), (-1e-6, 2e-6), samples_per_frame=2, first_sample=3))
    found, _ = read(source, [panda_data(0, 0, [[9, 9], [9, 9], [9, 9], [1, 10], [3, 30], [5, 50]])])
    assert found == {0: pytest.approx((-20e-6, 4e-6))}


def test_times_of_the_samples_come_along() -> None:
    source = reader(2, time_channel=DEFAULT_TIME_CHANNEL)
    (first, second) = source.parse([panda_data(0, 0, np.zeros((4, 2)), [0.5, 0.6, 0.7, 0.8])]).positions
    assert (first.time_s, second.time_s) == (0.5, 0.7)
    late = source.parse([panda_data(1, 4, np.zeros((1, 2)), [0.9])])
    assert late.positions == []
    (third,) = source.parse([panda_data(2, 5, np.zeros((1, 2)), [1.0])]).positions
    assert third.time_s == 0.9
    assert reader().parse([panda_data(0, 0, np.zeros((1, 2)), [0.5])]).positions[0].time_s is None


def test_a_lost_message_is_counted() -> None:
    run = panda_run(np.zeros((5 * A_MESSAGE, 2)))
    del run[3]
    _, news = read(reader(), run)
    assert news[-1].samples_lost == A_MESSAGE
    assert news[-1].fault is None
    run = panda_run(np.zeros((5 * A_MESSAGE, 2)))
    del run[5]
    _, news = read(reader(), run)
    assert news[-1].samples_lost == 0
    assert news[-1].fault == "1 of 5 position messages were lost; their frames have no position"


def test_a_start_that_was_not_heard_after_a_stop() -> None:
    source = reader()
    read(source, panda_run(np.zeros((3 * A_MESSAGE, 2))))
    found, news = read(source, [panda_data(0, 0, PLACES[:4]), panda_data(1, 4, PLACES[4:8])])
    assert [item.begins for item in news] == [True, False]
    assert len(found) == 8
    assert news[-1].samples == 8
    assert news[-1].fault is None


def test_a_start_and_a_stop_that_were_not_heard_are_seen_after_a_while_and_cost_nothing() -> None:
    source = reader()
    read(source, panda_run(np.zeros((40 * A_MESSAGE, 2)))[:-1])
    messages = [panda_data(k, k * 10, PLACES[k * 10 : k * 10 + 10]) for k in range(2, 20)]
    found, news = read(source, messages)
    assert [k for k, item in enumerate(news) if item.begins] == [7]
    assert "arrived again" in (news[0].fault or "")
    assert sorted(found) == list(range(20, 200))
    assert all(np.allclose(found[k], PLACES[k]) for k in found)


def test_a_short_run_of_which_only_the_stop_was_heard() -> None:
    source = reader()
    read(source, panda_run(np.zeros((40 * A_MESSAGE, 2)))[:-1])
    found, news = read(source, [*panda_run(PLACES[:30], 10)[1:]])
    assert [item.begins for item in news] == [False, False, False, True]
    assert news[-1].ends
    assert sorted(found) == list(range(30))
    assert news[-1].samples == 30


def test_a_stop_of_another_source_does_not_end_the_run() -> None:
    source = reader()
    messages = panda_run(PLACES, 20)
    _, news = read(source, [*messages[:4], panda_stop(2), *messages[4:]])
    assert not any(item.begins for item in news[1:])
    assert news[-1].samples == len(PLACES)


def test_a_second_publisher_is_named_and_changes_nothing() -> None:
    source = reader()
    ours, other = panda_run(PLACES, 20)[:-1], panda_run(PLACES + 100, 20)[1:-1]
    found, news = read(source, [message for pair in zip(ours[1:], other, strict=True) for message in pair])
    assert all(np.allclose(found[k], PLACES[k]) for k in range(len(PLACES)))
    assert sum("a second source sends too" in (item.fault or "") for item in news) == len(other)
    assert not any(item.begins for item in news)


def test_arming_again_begins_anew() -> None:
    source = reader(10)
    source.parse([panda_data(0, 0, np.ones((5, 2)))])
    assert source.parse([panda_start()]).begins
    found, news = read(source, [panda_data(0, 0, np.zeros((10, 2)))])
    assert found == {0: (0.0, 0.0)}
    assert not news[0].begins


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e400])
def test_what_is_no_finite_number_spoils_its_frame_alone(bad: float) -> None:
    samples = np.ones((4, 2))
    samples[1, 0] = bad
    found, _ = read(reader(2), [panda_data(0, 0, samples)])
    assert not math.isfinite(found[0][0])
    assert found[1] == (1.0, 1.0)


def data(**changes: Any) -> dict[str, Any]:
    message = json.loads(panda_data(0, 0, np.ones((3, 2))))
    message["datasets"][X].update(changes)
    return message


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"", "is not JSON"),
        (b"[1]", "is not a JSON object"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"a":' * 100_000, "is not JSON"),
        (b"9" * 5000, "is not a JSON object"),
        (b" " * (5 * 2**20), "exceeds"),
        (b"\x80\x04K\x01.", "is not JSON"),
        ({"msg_type": "hello"}, "not one of start, data, stop"),
        ({"msg_type": ["data"] * 1000}, "not one of start, data, stop"),
        ({"msg_type": "data"}, "has no datasets"),
        ({"msg_type": "data", "datasets": {"/A": {}, "/B": {}}}, "set \\[positions\\] channels to two of /A, /B"),
        (data(size=4), "3 samples, but 4 are announced"),
        (data(data=[1, 2]), "are announced"),
        (data(data=[1, 2], size=2), "do not contain the same samples"),
        (data(starting_sample_number=1), "do not contain the same samples"),
        (data(starting_sample_number=-1), "not a count"),
        (data(starting_sample_number=1.0), "not a count"),
        (data(starting_sample_number=True), "not a count"),
        (data(data=[1, "2", 3]), "is not a number"),
        (data(data=[1, None, 3]), "is not a number"),
        (data(data=[1, True, 3]), "is not a number"),
        (data(data=[1, 10**400, 3]), "too large"),
        (data(data={"0": 1}), "is not a list"),
        (data(data=[0] * 70_000, size=70_000), "is not a list"),
    ],
)
def test_messages_that_are_refused(message: bytes | dict[str, Any], words: str) -> None:
    source = reader()
    with pytest.raises(PositionError, match=words):
        source.parse([message if isinstance(message, bytes) else json.dumps(message).encode()])
    assert len(source.parse([panda_data(0, 0, PLACES[:3])]).positions) == 3


@pytest.mark.parametrize("first", [2**31 - 2, 2**62, 10**30])
def test_sample_numbers_beyond_any_scan(first: int) -> None:
    with pytest.raises(PositionError, match="are impossible in a scan"):
        reader().parse([panda_data(0, first, np.ones((3, 2)))])


def test_parts_and_stops() -> None:
    with pytest.raises(PositionError, match="one part of JSON"):
        reader().parse([panda_start(), panda_start()])
    assert reader().parse([panda_stop(0)]).fault is None
    assert reader().parse([json.dumps({"msg_type": "stop", "emitted_frames": "7"}).encode()]).ends
    assert TIME == DEFAULT_TIME_CHANNEL


RECORDED = (Path(__file__).parents[3] / "data" / "recorded" / "panda-series.jsonl").read_bytes().splitlines()
"""What MAX IV's relay sent, see PANDA.md beside it; of 100 data messages the first eight."""
MAXIV = SourceOptions(("energy", "triggernumber"))


def series(kind: str, number: int, **fields: Any) -> bytes:
    return json.dumps({"message_id": number, "message_type": kind, "version": 1, **fields}).encode()


def columns(number: int, first: int, count: int) -> bytes:
    values = [float(first + k) for k in range(count)]
    return series("data", number, frame_number=first, energy=values, triggernumber=[v + 1 for v in values])


def test_a_recorded_series_of_another_relay_through_a_socket() -> None:
    source, gate = PandaReader(MAXIV), Gate()
    receiver = Receiver("positions", "@tcp://127.0.0.1:0", "sub", lambda parts, _: gate(source.parse(parts)))
    receiver.start()
    with Sender(">" + receiver.bound_endpoint, "pub") as relay:
        assert relay.wait_for_peer(60)
        for message in RECORDED:
            relay.send([message])
        news = gate.wait(len(RECORDED))
    receiver.stop()
    positions = [position for each in news for position in each.positions]
    assert (news[0].begins, news[-1].ends) == (True, True)
    assert [position.index for position in positions] == list(range(117))
    assert [position.position_m.x for position in positions] == [k + 1 for k in range(117)]
    assert positions[0].position_m.y == 8879.101048716273
    assert news[-1].fault == "92 of 100 position messages were lost; their frames have no position"


def test_the_gate_on_the_recorded_series() -> None:
    """The spread of each frame is computed here from its samples."""
    singles, _ = read(PandaReader(MAXIV), RECORDED)
    places = np.array([singles[k] for k in range(len(singles))]).reshape(-1, 3, 2)
    spreads = np.hypot(*np.ptp(places, axis=1).T)
    limit = float(np.median(spreads))
    gated, _ = read(PandaReader(replace(MAXIV, samples_per_frame=3, max_motion_m=limit)), RECORDED)
    assert 0 < int((spreads > limit).sum()) < len(spreads)
    assert {index for index, place in gated.items() if place == MOVING} == set(np.flatnonzero(spreads > limit).tolist())


def test_a_series_with_a_gap_in_its_numbers() -> None:
    start, messages = series("series-start", 7), [columns(8, 0, 10), columns(10, 20, 10)]
    found, news = read(PandaReader(MAXIV), [start, *messages, series("series-end", 11)])
    assert sorted(found) == [*range(10), *range(20, 30)]
    assert (news[-1].samples, news[-1].samples_lost, news[-1].fault) == (30, 10, None)


def test_several_series_one_after_the_other() -> None:
    source = PandaReader(MAXIV)
    for first_id in (1, 5, 1):
        run = [series("series-start", first_id), columns(first_id + 1, 0, 5), columns(first_id + 2, 5, 5)]
        found, news = read(source, [*run, series("series-end", first_id + 3)])
        assert sorted(found) == list(range(10))
        assert [each.begins for each in news] == [True, False, False, False]
        assert faults_of(news) == []


def test_a_series_whose_start_was_not_heard() -> None:
    found, news = read(PandaReader(MAXIV), [columns(9, 40, 5), series("series-end", 10)])
    assert sorted(found) == list(range(40, 45))
    assert not any(each.begins for each in news)
    assert faults_of(news) == []
    source = PandaReader(MAXIV)
    read(source, [series("series-start", 1), columns(2, 0, 5), series("series-end", 3)])
    found, news = read(source, [columns(5, 0, 5), columns(6, 5, 5), series("series-end", 7)])
    assert sorted(found) == list(range(10))
    assert [each.begins for each in news] == [True, False, False]
    assert faults_of(news) == []


def faults_of(news: list[PositionNews]) -> list[str]:
    return [each.fault for each in news if each.fault is not None]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (series("data", 2, frame_number=0, energy=[1.0, 2.0], triggernumber=[1.0]), "do not contain the same samples"),
        (series("data", 2, frame_number=-1, energy=[1.0], triggernumber=[1.0]), "is -1, not a count"),
        (series("data", 2, energy=[1.0], triggernumber=[1.0]), "is None, not a count"),
        (series("data", 2, frame_number=0, energy=[1.0], current=[1.0]), "channels to two of energy, current"),
        (series("data", 2, frame_number=0, energy=["a"], triggernumber=[1.0]), "a sample is not a number"),
        (series("heartbeat", 2), "of type 'heartbeat' is not one of start, data, stop, series-start, series-end"),
        (b'{"message_type": ["data"]}', "is not one of"),
    ],
)
def test_messages_of_a_series_that_are_refused(message: bytes, words: str) -> None:
    with pytest.raises(PositionError, match=words):
        PandaReader(MAXIV).parse([message])
