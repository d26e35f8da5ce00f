"""Bluesky documents: positions of one stream's events, runs, and what is never loaded."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from streams.errors import PositionError
from streams.frame import PositionNews
from streams.position_sources.bluesky import BlueskyReader
from streams.position_sources.bluesky_documents import split_document
from streams.position_sources.samples import SourceOptions
from tests.support.position_tools import bluesky

OPTIONS = SourceOptions(("zpssy", "zpssx"), (1e-6, -1e-6))
START = {"uid": "u-1", "time": 1.0, "scan_id": 77, "plan_name": "fly2d", "energy": 8.8, "motors": ["zpssy", "zpssx"]}
MADE = json.loads((Path(__file__).parents[3] / "data" / "bluesky_runs.json").read_text())
"""Documents of bluesky 1.15.1's RunEngine, see make_bluesky_runs.py beside them."""

Documents = Iterable[tuple[str, dict[str, Any]]]


def descriptor(uid: str = "d-1", name: str = "primary", keys: Iterable[str] = ("zpssy", "zpssx")) -> dict[str, Any]:
    return {"uid": uid, "name": name, "run_start": "u-1", "data_keys": {key: {"dtype": "number"} for key in keys}}


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


def reader(options: SourceOptions = OPTIONS) -> BlueskyReader:
    """Return a reader that has heard the start and the descriptor of a run."""
    found = BlueskyReader(options)
    for name, document in (("start", START), ("descriptor", descriptor())):
        found.parse([bluesky(name, document)])
    return found


def found(reader: BlueskyReader, name: str, document: dict[str, Any]) -> dict[int, tuple[float, float]]:
    return {p.index: tuple(p.position_m) for p in reader.parse([bluesky(name, document)]).positions}


def read(documents: Documents, **options: Any) -> tuple[list[list[float]], list[PositionNews]]:
    """Return the places that a recorded run gives, NaN where none, and the news."""
    source = BlueskyReader(SourceOptions(("ssy", "ssx"), **options))
    news = [source.parse([bluesky(name, document)]) for name, document in documents]
    news = [each for each in news if not each.is_silent]
    places = np.full((64, 2), np.nan)
    for each in news:
        for position in each.positions:
            assert np.isnan(places[position.index]).all(), position.index
            places[position.index] = position.position_m
    return places[: int(np.isfinite(places[:, 0]).sum())].tolist(), news


def faults(news: Iterable[PositionNews]) -> list[str]:
    return [each.fault for each in news if each.fault is not None]


@pytest.mark.parametrize("case", ["other streams", "paused", "pages"])
def test_a_recorded_run_gives_the_positions_of_its_primary_stream_alone(case: str) -> None:
    places, news = read(MADE["runs"][case])
    assert places == MADE["places"]
    assert (news[0].begins, news[-1].ends) == (True, True)
    assert {each.run_id for each in news} == {MADE["runs"][case][0][1]["uid"]}
    came_again = [fault for fault in faults(news) if "event 5 of the Bluesky run arrived again" in fault]
    assert len(faults(news)) == len(came_again) == (case == "paused")


def test_a_configured_stream_in_place_of_primary() -> None:
    places, news = read(MADE["runs"]["other streams"], event_stream="baseline")
    assert len(places) == 2
    places, news = read(MADE["runs"]["other streams"], event_stream="stage_monitor")
    assert len(places) > len(MADE["places"])
    assert faults(news) == []


def test_a_recorded_run_within_a_run_that_moves_the_same_motors() -> None:
    outer = MADE["runs"]["nested"][0][1]["uid"]
    source = BlueskyReader(SourceOptions(("ssy", "ssx")))
    places: dict[str | None, list[list[float]]] = {}
    begun, ended = [], []
    for name, document in MADE["runs"]["nested"]:
        news = source.parse([bluesky(name, document)])
        places.setdefault(news.run_id, []).extend([list(p.position_m) for p in news.positions])
        begun += [news.run_id] * news.begins
        ended += [news.run_id] * news.ends
    inner = next(run for run in places if run not in (outer, None))
    assert places[outer] == MADE["places"]
    assert places[inner] == [[50.0, 50.0], [51.0, 51.0], [52.0, 52.0]]
    assert begun == [outer, inner]
    assert ended == [inner, outer]


def test_a_run_within_that_has_no_positions_is_not_told() -> None:
    source = reader()
    found(source, "event", event(1, 1, 1))
    inner = ("start", START | {"uid": "u-2"}), ("stop", {"run_start": "u-2", "exit_status": "abort"})
    assert all(source.parse([bluesky(name, document)]).is_silent for name, document in inner)
    assert found(source, "event", event(2, 1, 1)).keys() == {1}


def test_an_event_before_its_descriptor_waits_for_it() -> None:
    source = BlueskyReader(OPTIONS)
    source.parse([bluesky("start", START)])
    early = [event(1, 5, 5, descriptor="d-0"), event(1, 1, 1), page([2, 3], [2, 3], [2, 3])]
    for each in early:
        assert source.parse([bluesky("event_page" if isinstance(each["seq_num"], list) else "event", each)]).is_silent
    assert found(source, "descriptor", descriptor("d-0", "baseline")) == {}
    assert found(source, "descriptor", descriptor()).keys() == {0, 1, 2}


def test_events_whose_descriptor_never_comes_are_said_and_give_nothing() -> None:
    _, news = read(MADE["runs"]["pages"][2:])
    assert faults(news) == [
        "the descriptor of 3 Bluesky events was not received, so their stream is unknown: this program was started late; "
        "their frames have no position"
    ]
    _, news = read(MADE["runs"]["other streams"][10:20] + MADE["runs"]["other streams"][10:20])
    assert not any(each.positions for each in news)
    assert "Bluesky events was not received, so their stream is unknown" in faults(news)[0]


def test_a_start_that_was_not_heard() -> None:
    places, news = read(MADE["runs"]["other streams"][1:])
    assert places == MADE["places"]
    assert not any(each.begins for each in news)


def test_bulk_events_of_old_versions() -> None:
    source = reader()
    found(source, "descriptor", descriptor("d-0", "baseline"))
    bulk = {"d-0": [event(1, 9, 9, descriptor="d-0")], "d-1": [event(1, 1, 1), event(2, 2, 2)]}
    assert found(source, "bulk_events", bulk).keys() == {0, 1}


def test_a_run_with_events_and_pages() -> None:
    reader = BlueskyReader(OPTIONS)
    start = reader.parse([bluesky("start", START)])
    assert start.begins
    assert start.run == START
    assert found(reader, "descriptor", descriptor()) == {}
    assert found(reader, "event", event(1, 1, 2.5)) == {0: pytest.approx((1e-6, -2.5e-6))}
    assert found(reader, "event_page", page([2, 3], [1, 2], [3, 4])) == {
        1: pytest.approx((1e-6, -3e-6)),
        2: pytest.approx((2e-6, -4e-6)),
    }
    stop = reader.parse([bluesky("stop", {"run_start": "u-1", "exit_status": "success", "num_events": 3})])
    assert stop.ends
    assert stop.fault is None
    assert stop.samples == 3


def test_events_that_hold_lists_are_samples_one_after_the_other() -> None:
    source = reader(SourceOptions(("zpssy", "zpssx"), samples_per_frame=2))
    assert found(source, "event", event(2, [5, 7, 9, 9], [0, 0, 0, 2])) == {2: (6.0, 0.0), 3: (9.0, 1.0)}
    assert found(source, "event", event(1, [1, 1, 3, 3], [0, 0, 0, 0])) == {0: (1.0, 0.0), 1: (3.0, 0.0)}
    with pytest.raises(PositionError, match="has 2 samples, but the others have 4"):
        source.parse([bluesky("event", event(3, [1, 2], [1, 2]))])


def test_msgpack_and_an_empty_prefix() -> None:
    message = b" event " + msgpack.packb(event(4, 1.0, 2.0))
    (position,) = reader().parse([memoryview(message)]).positions
    assert position.index == 3
    assert split_document(b" stop \x80") == ("stop", {})


def test_numbers_and_arrays_of_msgpack_numpy() -> None:
    """As msgpack-numpy 0.4.8 writes them."""

    def packed(values: Any) -> dict[bytes, Any]:
        array = np.asarray(values, "<f8")
        shape = {b"shape": array.shape, b"kind": b""} if array.ndim else {}
        return {b"nd": bool(array.ndim), b"type": "<f8", b"data": array.tobytes()} | shape

    message = b"x event " + msgpack.packb(event(1, packed(1.5), packed(2.5)))
    (position,) = reader(SourceOptions(("zpssy", "zpssx"))).parse([message]).positions
    assert tuple(position.position_m) == (1.5, 2.5)
    message = b"x event_page " + msgpack.packb(page([1, 2], packed([1, 2]), packed([3, 4])))  # type: ignore[arg-type]
    positions = reader(SourceOptions(("zpssy", "zpssx"))).parse([message]).positions
    assert [tuple(p.position_m) for p in positions] == [(1, 3), (2, 4)]
    for wrong in ({b"nd": True, b"type": "O", b"data": b"12345678"}, {b"nd": True, b"data": 3}):
        with pytest.raises(PositionError, match="values that are not numbers"):
            reader().parse([b"x event " + msgpack.packb(event(1, wrong, 1))])


def test_without_channels_only_runs_are_told() -> None:
    source = BlueskyReader(None)
    assert source.parse([bluesky("start", START)]).run == START
    assert source.parse([bluesky("event", event(1, 1, 2))]).is_silent
    assert source.parse([bluesky("stop", {"run_start": "u-1"})]).run_id == "u-1"


def test_channels_that_are_not_there_are_said() -> None:
    source = BlueskyReader(OPTIONS)
    source.parse([bluesky("start", START)])
    news = source.parse([bluesky("descriptor", descriptor(keys=["zpssy", "ssx"]))])
    assert news.fault == "the Bluesky events have no zpssx; set [positions] channels to two of zpssy, ssx"
    source = BlueskyReader(OPTIONS)
    source.parse([bluesky("start", START)])
    source.parse([bluesky("descriptor", descriptor(keys=["dssy", "dssx"]))])
    assert source.parse([bluesky("stop", {"run_start": "u-1"})]).fault == (
        "the Bluesky stream primary contains neither zpssy nor zpssx; set [positions] channels to two of dssy, dssx, or "
        "event_stream to one of primary"
    )
    source = BlueskyReader(OPTIONS)
    source.parse([bluesky("start", START)])
    source.parse([bluesky("descriptor", descriptor("d-2", "fly"))])
    assert source.parse([bluesky("stop", {"run_start": "u-1"})]).fault == (
        "the Bluesky run has no stream primary: its streams are fly; correct [positions] event_stream"
    )


def test_a_run_that_failed_is_said() -> None:
    news = BlueskyReader(OPTIONS).parse([bluesky("stop", {"exit_status": "abort", "reason": "beam dump"})])
    assert news.ends
    assert news.fault == "the Bluesky run ended with abort: beam dump"


def test_files_of_a_recorded_run_are_wanted_and_their_samples_paired() -> None:
    source = BlueskyReader(SourceOptions(("ssy", "ssx")))
    wanted, places = [], np.full((12, 2), np.nan)
    for name, document in MADE["runs"]["files"]:
        wanted += source.parse([bluesky(name, document)]).wanted
    assert {(each.axis, each.dataset.path, each.dataset.name) for each in wanted} == {
        (0, "/FOLDER/panda.h5", "/entry/ssy"), (1, "/FOLDER/panda.h5", "/entry/ssx")
    }  # fmt: skip
    assert [(each.first, each.start, each.stop) for each in wanted if each.axis == 1] == [
        (0, 0, 5), (5, 5, 10), (10, 10, 12)
    ]  # fmt: skip
    truth = np.array(MADE["places"])
    for each in sorted(wanted, key=lambda each: (-each.first, each.axis)):
        news = source.fill(each, truth[each.start : each.stop, each.axis])
        assert news.ends
        for position in news.positions:
            places[position.index] = position.position_m
    np.testing.assert_array_equal(places, truth)


def resource(**changes: Any) -> dict[str, Any]:
    known = {"uid": "r-1", "data_key": "zpssy", "mimetype": "application/x-hdf5", "uri": "file://localhost/data/a%20b.h5",
             "parameters": {"dataset": "/y"}, "run_start": "u-1"}  # fmt: skip
    return {key: value for key, value in (known | changes).items() if value is not None}


def in_files(shape: list[int]) -> BlueskyReader:
    source = BlueskyReader(OPTIONS)
    source.parse([bluesky("start", START)])
    known = descriptor()
    for key in known["data_keys"].values():
        key |= {"external": "STREAM:", "shape": shape}
    source.parse([bluesky("descriptor", known)])
    return source


DATUM = {
    "stream_resource": "r-1",
    "descriptor": "d-1",
    "indices": {"start": 2, "stop": 4},
    "seq_nums": {"start": 3, "stop": 5},
}


@pytest.mark.parametrize("shape", [[], [1], [7]])
def test_an_event_of_several_rows_in_a_file(shape: list[int]) -> None:
    source = in_files(shape)
    source.parse([bluesky("stream_resource", resource())])
    (wanted,) = source.parse([bluesky("stream_datum", DATUM)]).wanted
    rows = shape[0] if shape else 1
    assert (wanted.axis, wanted.dataset.path) == (0, "/data/a b.h5")
    assert (wanted.first, wanted.start, wanted.stop) == (2 * rows, 2 * rows, 4 * rows)


def test_the_older_form_of_a_stream_resource() -> None:
    source = in_files([])
    old = {"spec": "AD_HDF5_SWMR_STREAM", "root": "/data/", "resource_path": "x.h5", "resource_kwargs": {"path": "/y"},
           "mimetype": None, "uri": None, "parameters": None}  # fmt: skip
    source.parse([bluesky("stream_resource", resource(**old))])
    (wanted,) = source.parse([bluesky("stream_datum", DATUM)]).wanted
    assert (wanted.dataset.path, wanted.dataset.name) == ("/data//x.h5", "/y")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"mimetype": "text/csv"},
            "the positions zpssy are in files of type text/csv; only application/x-hdf5 can be read",
        ),
        ({"uri": "http://host/x.h5"}, r"the positions are at http://host/x.h5; only files \(file://…\) can be read"),
        ({"parameters": {}}, "has no data_key or no dataset"),
        ({"uri": None}, "the Bluesky stream_resource has no uri"),
        ({"uid": "r-2"}, "arrived without its stream_resource"),
    ],
)
def test_files_that_cannot_be_read_are_said(changes: dict[str, Any], words: str) -> None:
    source = in_files([])
    source.parse([bluesky("stream_resource", resource(**changes))])
    with_fault = source.parse([bluesky("stream_datum", DATUM)])
    assert with_fault.wanted == []
    assert re.search(words, str(with_fault.fault)), with_fault.fault


def test_positions_in_files_of_the_old_kind_are_said() -> None:
    source = BlueskyReader(OPTIONS)
    source.parse([bluesky("start", START)])
    known = descriptor()
    for key in known["data_keys"].values():
        key["external"] = "FILESTORE:"
    assert "in files of resource and datum documents, which cannot be read" in str(
        source.parse([bluesky("descriptor", known)]).fault
    )
    assert found(source, "event", event(1, "datum-1", "datum-2")) == {}


def test_kinds_that_mean_nothing_here_are_not_even_read() -> None:
    assert BlueskyReader(OPTIONS).parse([b"x resource {broken"]).is_silent


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a pickle was loaded",))


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", ["start", "event", "stop", "descriptor", "resource"])
def test_a_pickle_is_refused_by_name_and_never_loaded(protocol: int, name: str) -> None:
    message = b"x " + name.encode() + b" " + pickle.dumps({"a": Bomb()}, protocol)
    with pytest.raises(PositionError, match=f"Bluesky {name} is pickled; pickles are never loaded"):
        BlueskyReader(OPTIONS).parse([message])


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"", "is not a Bluesky document"),
        (b"nonsense", "is not a Bluesky document"),
        (b"x hello {}", "is not a Bluesky document"),
        (b"x start [1]", "neither JSON nor msgpack"),
        (b"x start \x91\x01", "is not a map"),
        (b"x start " + b'{"a":' * 50_000, "neither JSON nor msgpack"),
        (b"x start " + b"\x81\xa1a" * 50_000, "neither JSON nor msgpack"),
        (b" " * (17 * 2**20), "exceeds"),
        (bluesky("descriptor", {"uid": 3, "name": "primary"}), "descriptor has no uid or no name"),
        (bluesky("event", {"seq_num": 1}), "has no data"),
        (bluesky("event", {"seq_num": 1, "descriptor": "d-1"}), "has no data"),
        (bluesky("event", event(0, 1, 2)), "has no seq_num"),
        (bluesky("event", event(-1, 1, 2)), "has no seq_num"),
        (bluesky("event", event(True, 1, 2)), "has no seq_num"),
        (bluesky("event", event(1, "1", 2)), "values that are not numbers"),
        (bluesky("event", event(1, None, 2)), "values that are not numbers"),
        (bluesky("event", event(1, [1, [2]], [1, 2])), "values that are not numbers"),
        (bluesky("event", event(1, [1, 2], [1])), "have different lengths"),
        (bluesky("event", event(1, [1, 2], 1)), "have different lengths"),
        (bluesky("event", event(2**40, 1, 2)), "are impossible in a scan"),
        (bluesky("event_page", page([1], [1, 2], [1, 2])), "are not consecutive"),
        (bluesky("event_page", page([1, 3], [1, 2], [1, 2])), "are not consecutive"),
        (bluesky("event_page", page([1, 2], [[1], [2, 3]], [[1], [2, 3]])), "Bluesky zpssy: setting an array"),
        (bluesky("event_page", event(1, 1, 2)), "is not a list"),
    ],
)
def test_messages_that_are_refused(message: bytes, words: str) -> None:
    source = reader()
    with pytest.raises(PositionError, match=words):
        source.parse([message])
    assert found(source, "event", event(1, 1, 1)).keys() == {0}


@pytest.mark.parametrize("bad", [{}, {"indices": {"start": 3, "stop": 2}}, {"indices": {"start": -1, "stop": 2}},
                                 {"seq_nums": {"start": 0, "stop": 1}}, {"indices": {"start": 0, "stop": 2**50}},
                                 {"indices": [0, 1]}, {"seq_nums": {"start": True, "stop": 2}}])  # fmt: skip
def test_ranges_that_make_no_sense(bad: dict[str, Any]) -> None:
    source = in_files([])
    source.parse([bluesky("stream_resource", resource())])
    document = DATUM | bad if bad else {key: DATUM[key] for key in ("stream_resource", "descriptor")}
    with pytest.raises(PositionError, match="no indices and seq_nums from start to stop"):
        source.parse([bluesky("stream_datum", document)])


def test_what_a_run_says_is_bounded() -> None:
    about = {f"key{k}": "x" * 1000 for k in range(500)} | {"deep": [[[[[[[[[[1]]]]]]]]]]}
    run = BlueskyReader(None).parse([bluesky("start", about)]).run
    assert run is not None
    assert len(json.dumps(run)) < 20_000
    assert np.isfinite(len(run))


def test_two_parts() -> None:
    with pytest.raises(PositionError, match="one part"):
        BlueskyReader(OPTIONS).parse([b"a", b"b"])


def resumed(earlier: list[PositionNews], frames: int) -> tuple[BlueskyReader, list[dict[str, Any]]]:
    """Return a reader after a restart, and what it is given of the news of the one before."""
    kept = [news for news in earlier if news.to_keep is not None][-1]
    runs = [{"run_id": kept.run_id, "to_keep": json.loads(json.dumps(kept.to_keep)), "frames": frames}]
    return BlueskyReader(OPTIONS, may_resume=True), runs


def tell(source: BlueskyReader, documents: Documents) -> list[PositionNews]:
    return [source.parse([bluesky(name, document)]) for name, document in documents]


BASELINE = descriptor("b-1", "baseline")
BEFORE_THE_RESTART = [
    ("start", START),
    ("descriptor", BASELINE),
    ("descriptor", descriptor()),
    *(("event", event(k, float(k), 0.0)) for k in range(1, 4)),
]


def test_a_run_goes_on_after_a_restart() -> None:
    source, runs = resumed(tell(BlueskyReader(OPTIONS), BEFORE_THE_RESTART), 3)
    assert source.resume(runs) == []
    news = tell(source, [("event", event(9, 9.0, 9.0, descriptor="b-1")), ("event", event(5, 5.0, 0.0))])
    assert news[0].is_silent
    assert [(p.index, p.position_m.y) for p in news[1].positions] == [(4, pytest.approx(5e-6))]
    assert (news[1].run_id, news[1].samples, news[1].samples_lost, news[1].begins) == ("u-1", 5, 1, False)
    assert tell(source, [("stop", {"run_start": "u-1"})])[0].fault is None


def test_what_comes_before_the_journal_is_read_is_taken_afterwards_in_its_order() -> None:
    source, runs = resumed(tell(BlueskyReader(OPTIONS), BEFORE_THE_RESTART), 3)
    late = [*(("event", event(k, float(k), 0.0)) for k in range(4, 24)), ("stop", {"run_start": "u-1"})]
    assert all(news.is_silent for news in tell(source, late))
    events, stop = source.resume(runs)
    assert [position.index for position in events.positions] == list(range(3, 23))
    assert (stop.ends, stop.fault) == (True, None)


def test_events_of_a_run_that_the_journal_does_not_know_are_of_no_position() -> None:
    source, _ = resumed(tell(BlueskyReader(OPTIONS), BEFORE_THE_RESTART), 3)
    tell(source, [("event", event(k, 1.0, 1.0)) for k in range(1, 4)])
    assert source.resume([]) == []
    (stop,) = tell(source, [("stop", {"run_start": "u-1"})])
    assert "the descriptor of 3 Bluesky events was not received" in str(stop.fault)


def test_a_run_with_positions_in_files_goes_on_after_a_restart(tmp_path: Path) -> None:
    documents = MADE["runs"]["files"]
    options = SourceOptions(("ssy", "ssx"))
    half = next(k for k, (name, _) in enumerate(documents) if name == "stream_datum") + 2
    source = BlueskyReader(options)
    earlier = [source.parse([bluesky(name, each)]) for name, each in documents[:half]]
    _, runs = resumed(earlier, 0)
    again = BlueskyReader(options, may_resume=True)
    again.resume(runs)
    again.parse([bluesky("descriptor", BASELINE)])
    wanted = [each for name, each in documents[half:] for each in again.parse([bluesky(name, each)]).wanted]
    expected = [each for name, each in documents[half:] for each in source.parse([bluesky(name, each)]).wanted]
    assert wanted == expected != []
