"""Documents of real Bluesky runs, as its RunEngine makes them: ``bluesky_runs.json``.

    python -m venv /tmp/bsky && /tmp/bsky/bin/pip install bluesky==1.15.1 event-model==1.24.0
    /tmp/bsky/bin/python tests/data/make_bluesky_runs.py

bluesky and event-model are BSD-3-Clause; the documents hold nothing but what these plans move. The wanted positions
[ssy, ssx] of each case stand beside its documents. Paths in ``stream_resource`` begin with FOLDER.
"""

from __future__ import annotations

import json
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
from bluesky import RunEngine
from bluesky.preprocessors import SupplementalData, set_run_key_wrapper
from event_model import compose_stream_resource

PLACES = [[float(y), 2.0 * x + 0.5] for y in range(3) for x in range(4)]
PART = 5


class Done:
    """A status that is done."""

    done = success = True

    def add_callback(self, call: Any) -> None:
        call(self)

    def exception(self, timeout: float = 0) -> None:
        return None


class Motor:
    """Goes where it is told at once."""

    parent = None

    def __init__(self, name: str) -> None:
        self.name, self.place = name, 99.0
        self._listeners: list[Any] = []

    def set(self, value: float) -> Done:
        self.place = float(value)
        for tell in self._listeners:
            tell()
        return Done()

    def read(self) -> dict[str, Any]:
        return {self.name: {"value": self.place, "timestamp": time.time()}}

    def describe(self) -> dict[str, Any]:
        return {self.name: {"source": f"SIM:{self.name}", "dtype": "number", "shape": [], "units": "um"}}

    def read_configuration(self) -> dict[str, Any]:
        return {f"{self.name}_velocity": {"value": 1.0, "timestamp": 0.0}}

    def describe_configuration(self) -> dict[str, Any]:
        return {f"{self.name}_velocity": {"source": "SIM:v", "dtype": "number", "shape": []}}

    def configure(self, _values: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return {}, {}

    def listen(self, tell: Any) -> None:
        self._listeners.append(tell)

    def stop(self, success: bool = False) -> None: ...


Y, X = Motor("ssy"), Motor("ssx")


class Stage:
    """Both motors in one reading, which may be monitored."""

    parent, name = None, "stage"

    def read(self) -> dict[str, Any]:
        return {**Y.read(), **X.read()}

    def describe(self) -> dict[str, Any]:
        return {**Y.describe(), **X.describe()}

    def read_configuration(self) -> dict[str, Any]:
        return {}

    describe_configuration = read_configuration

    def subscribe(self, call: Any) -> None:
        self._call = call
        for motor in (Y, X):
            motor.listen(lambda: self._call and self._call(self.read()))
        call(self.read())

    def clear_sub(self, _call: Any) -> None:
        self._call = None


class Flyer:
    """Collects the places in pages."""

    parent, name = None, "flyer"
    external: dict[str, Any] = {}

    def kickoff(self) -> Done:
        return Done()

    complete = kickoff

    def describe_collect(self) -> dict[str, Any]:
        return {name: key | self.external for name, key in Stage().describe().items()}

    def read_configuration(self) -> dict[str, Any]:
        return {}

    describe_configuration = read_configuration


class PageFlyer(Flyer):
    def collect_pages(self) -> Any:
        for start in range(0, len(PLACES), PART):
            part = PLACES[start : start + PART]
            data = {"ssy": [y for y, _ in part], "ssx": [x for _, x in part]}
            times = {key: [time.time()] * len(part) for key in data}
            yield {"time": times["ssy"], "data": data, "timestamps": times}


class FileFlyer(Flyer):
    """Says where the places are in a file, part by part."""

    external = {"external": "STREAM:", "dtype": "array", "shape": [1], "dtype_numpy": "<f8"}

    def __init__(self) -> None:
        self._sent = 0

    def collect_asset_docs(self, index: int | None = None) -> Any:
        stop = min(len(PLACES), self._sent + PART)
        if not self._sent:
            self._bundles = [
                compose_stream_resource(
                    mimetype="application/x-hdf5", uri="file://localhost/FOLDER/panda.h5", data_key=key,
                    parameters={"dataset": f"/entry/{key}", "chunk_shape": (1024,), "swmr": True},
                )
                for key in ("ssy", "ssx")
            ]  # fmt: skip
        for document, compose in self._bundles:
            if not self._sent:
                yield "stream_resource", document
            yield "stream_datum", compose({"start": self._sent, "stop": stop})
        self._sent = stop

    def get_index(self) -> int:
        return min(len(PLACES), self._sent + PART)


def steps(places: list[list[float]]) -> Any:
    for y, x in places:
        yield from bps.checkpoint()
        yield from bps.mv(Y, y, X, x)
        yield from bps.trigger_and_read([Y, X])


def with_other_streams() -> Any:
    """A stage that is monitored, and a motor that is configured in mid-run: a second descriptor of primary."""
    stage = Stage()
    yield from bps.open_run({"plan_name": "map", "energy": 8.8})
    yield from bps.monitor(stage, name="stage_monitor")
    yield from steps(PLACES[:6])
    yield from bps.configure(Y, {"velocity": 2})
    yield from steps(PLACES[6:])
    yield from bps.unmonitor(stage)
    yield from bps.close_run()


def nested() -> Any:
    """A run within the run that moves the same motors."""

    def inner() -> Any:
        yield from bps.open_run({"plan_name": "align"})
        yield from steps([[50.0, 50.0], [51.0, 51.0], [52.0, 52.0]])
        yield from bps.close_run()

    yield from bps.open_run({"plan_name": "map"})
    yield from steps(PLACES[:7])
    yield from set_run_key_wrapper(inner(), "inner")
    yield from steps(PLACES[7:])
    yield from bps.close_run()


def paused() -> Any:
    """A pause after a point was saved: on resuming the run goes back and takes it again."""
    yield from bps.open_run({"plan_name": "map"})
    yield from steps(PLACES[:5])
    yield from bps.pause()
    yield from steps(PLACES[5:])
    yield from bps.close_run()


def flown(flyer: Flyer) -> Any:
    yield from bps.open_run({"plan_name": "fly"})
    yield from bps.declare_stream(flyer, name="primary", collect=True)
    yield from bps.kickoff(flyer, wait=True)
    yield from bps.complete(flyer, wait=True)
    for _ in range(-(-len(PLACES) // PART) if flyer.external else 1):
        yield from bps.collect(flyer, name="primary")
    yield from bps.close_run()


def documents(plan: Any, *, baseline: bool = False) -> list[tuple[str, dict[str, Any]]]:
    heard: list[tuple[str, dict[str, Any]]] = []
    engine = RunEngine({}, context_managers=[])
    engine.subscribe(lambda name, document: heard.append((name, document)))
    if baseline:
        engine.preprocessors.append(SupplementalData(baseline=[Y, X]))
    try:
        engine(plan)
    except Exception as fault:
        if "paused" not in f"{fault} {type(fault)}".lower() and "interrupted" not in f"{type(fault)}".lower():
            raise
    while engine.state == "paused":
        engine.resume()
    return heard


def main() -> None:
    assert threading.current_thread() is threading.main_thread()
    cases = {
        "other streams": documents(with_other_streams(), baseline=True),
        "nested": documents(nested(), baseline=True),
        "paused": documents(paused()),
        "pages": documents(flown(PageFlyer())),
        "files": documents(flown(FileFlyer())),
    }
    made = {
        "made with": {name: version(name) for name in ("bluesky", "event-model")},
        "licence": "BSD-3-Clause, of both; the documents are this script's",
        "places": PLACES,
        "runs": cases,
    }
    Path(__file__).with_name("bluesky_runs.json").write_text(json.dumps(made, indent=None) + "\n")


main()
