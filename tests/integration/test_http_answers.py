"""Every route of a running daemon answers as its OpenAPI description says, field by field."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from typing import Any
from xml.etree import ElementTree

import h5py
import httpx
import jsonschema
import numpy as np
import pytest
from fastapi.routing import iter_route_contexts
from PIL import Image
from websockets.sync.client import connect

from daemon import messages
from daemon.app import Daemon
from daemon.client import PictureEvent, ScanEvent, StatusEvent, Viewer
from daemon.messages import ScanState
from daemon.publish import wire
from daemon.publish.http.interface import create_app
from tests.support.daemon_tools import (
    PATIENCE_S,
    real_scan,
    running_daemon,
    send,
    send_unfinished,
    write_untrained_bundle,
)
from tests.support.messages import check, closed

SCAN = "/api/v1/scans/{id}"
JSON_ROUTES = {
    "GET /healthz": 200,
    "GET /readyz": 200,
    "GET /api/v1/status": 200,
    "GET /api/v1/models": 200,
    "POST /api/v1/models/rollback": 409,
    "POST /api/v1/finetune/pause": 202,
    "POST /api/v1/finetune/resume": 202,
    "GET /api/v1/scans": 200,
    f"GET {SCAN}": 200,
    f"POST {SCAN}/stop": 409,
    f"GET {SCAN}/history": 200,
    f"GET {SCAN}/path": 200,
    f"GET {SCAN}/frames": 200,
    f"GET {SCAN}/probe": 200,
    f"GET {SCAN}/comparison": 200,
    "GET /api/v1/demo": 200,
    "POST /api/v1/demo/{name}": 404,
    "GET /api/v1/attach": 200,
    "POST /api/v1/attach/stream": 422,
    "POST /api/v1/attach/configuration": 409,
    f"GET {SCAN}/frames/nearest": 200,
    f"GET {SCAN}/frames/{{index}}": 200,
    "POST /api/v1/models/active": 202,
}
"""With the status of the answer. The last one ends fine-tuning."""
LAYERS = {"layer": "refined", "other_layer": "network"}
QUERIES = {
    f"GET {SCAN}/frames/nearest": {"y": 3, "x": 4},
    f"GET {SCAN}/comparison": LAYERS,
    f"GET {SCAN}/comparison/picture": LAYERS,
}
BODIES: dict[str, dict[str, str]] = {
    "POST /api/v1/models/active": {"name": "none"},
    "POST /api/v1/attach/stream": {"endpoint": "no address"},
    "POST /api/v1/attach/configuration": {},
}


def is_png(body: bytes) -> bool:
    return Image.open(io.BytesIO(body)).size[0] > 0


def is_array(body: bytes) -> bool:
    return bool(np.load(io.BytesIO(body)).dtype == np.complex64)


def are_patterns(body: bytes) -> bool:
    return np.load(io.BytesIO(body)).shape == (2, 128, 128)


def is_product(body: bytes) -> bool:
    with h5py.File(io.BytesIO(body)) as file:
        return "object" in file


def is_picture(body: bytes) -> bool:
    check(messages.SnapshotHeader, wire.decode_ws(body).header)
    return True


def is_api_description(body: bytes) -> bool:
    return bool(json.loads(body)["openapi"].startswith("3."))


OTHER_ROUTES: dict[str, Callable[[bytes], bool]] = {
    "GET /": lambda body: b"<title>PtychoLive</title>" in body,
    "GET /docs": lambda body: b"frames_stitched" in body,
    "GET /favicon.ico": lambda body: b"<svg" in body,
    "GET /page/{name}": lambda body: b"import" in body,
    "GET /metrics": lambda body: b"ptycholive_frames_stitched_total 40.0" in body,
    "GET /api/v1/openapi.json": is_api_description,
    f"GET {SCAN}/product.h5": is_product,
    f"GET {SCAN}/snapshot.png": is_png,
    f"GET {SCAN}/pattern.png": is_png,
    f"GET {SCAN}/snapshot.svg": lambda body: ElementTree.fromstring(body).tag.endswith("svg"),
    f"GET {SCAN}/snapshot.tif": is_png,
    f"GET {SCAN}/snapshot.npz": lambda body: np.load(io.BytesIO(body))["object"].dtype == np.complex64,
    f"GET {SCAN}/snapshot.npy": is_array,
    f"GET {SCAN}/picture": is_picture,
    f"GET {SCAN}/comparison/picture": is_picture,
    f"GET {SCAN}/frames/{{index}}/patterns.npy": are_patterns,
    f"GET {SCAN}/probe.npy": is_array,
}
WEBSOCKETS = {"/api/v1/updates"}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, list[Any]]]:
    """A daemon with one finished scan, and what a viewer got of it."""
    folder = tmp_path_factory.mktemp("answers")
    bundle = json.dumps(str(write_untrained_bundle(folder / "model.zip")))
    settings = (f"model.bundle={bundle}", "finetune.enabled=true", "refine.enabled=true", "refine.finish_s=0")
    with running_daemon(folder, *settings) as daemon:
        with Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
            send(daemon, real_scan(), 40)
            events = []
            for event in viewer.events():
                events.append(event)
                if event.topic == "scan" and event.header["state"] == "ended":
                    break
            events.append(next(event for event in viewer.events() if event.topic == "status"))
        yield daemon, events


@pytest.fixture(scope="module")
def client(ran: tuple[Daemon, list[Any]]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=ran[0].addresses()["http"], timeout=PATIENCE_S) as client:
        yield client


def address(route: str) -> tuple[str, str]:
    method, path = route.split(" ")
    return method, path.replace("{id}", "latest").replace("{name}", "app.js").replace("{index}", "3")


def answer_schema(description: dict[str, Any], method: str, path: str, status: int) -> dict[str, Any]:
    """The JSON schema of an answer; objects in it have no fields but those named."""
    responses = description["paths"][path][method.lower()]["responses"]
    schema = responses[str(status)]["content"]["application/json"]["schema"]
    assert schema, f"{method} {path} describes no body"
    return {**closed(schema), "components": closed(description["components"])}


def test_the_routes_here_are_those_of_the_app(ran: tuple[Daemon, list[Any]]) -> None:
    routes = list(iter_route_contexts(create_app(ran[0].view, ran[0].hub).routes))
    http = {f"{method} {one.path}" for one in routes for method in one.methods or () if method != "HEAD"}
    assert http == {*JSON_ROUTES, *OTHER_ROUTES}
    assert {one.path for one in routes if not one.methods} == WEBSOCKETS


@pytest.mark.parametrize("route", JSON_ROUTES)
def test_a_json_answer_is_as_described(client: httpx.Client, route: str) -> None:
    method, path = address(route)
    answer = client.request(method, path, params=QUERIES.get(route), json=BODIES.get(route))
    assert answer.status_code == JSON_ROUTES[route], answer.text
    description = client.get("/api/v1/openapi.json").json()
    jsonschema.validate(answer.json(), answer_schema(description, method, route.split(" ")[1], answer.status_code))


@pytest.mark.parametrize("route", OTHER_ROUTES)
def test_another_answer_is_of_its_kind(client: httpx.Client, route: str) -> None:
    method, path = address(route)
    answer = client.request(method, path, params=QUERIES.get(route))
    assert answer.status_code == 200, answer.text
    assert OTHER_ROUTES[route](answer.content)


def test_a_running_scan_is_stopped_as_described(ran: tuple[Daemon, list[Any]], client: httpx.Client) -> None:
    daemon = ran[0]
    with Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        send_unfinished(daemon.addresses()["streams"]["frames"], real_scan(), 10, 20, "half")
        next(event for event in viewer.events() if event.topic == "scan" and event.header["scan_id"] == "half")
        description = client.get("/api/v1/openapi.json").json()
        for method, path, status in (("GET", SCAN, 200), ("POST", f"{SCAN}/stop", 202)):
            answer = client.request(method, path.replace("{id}", "half"))
            jsonschema.validate(answer.json(), answer_schema(description, method, path, status))
        list(viewer.follow_scan("half"))
    assert client.get("/api/v1/scans/half").json()["state"] == ScanState.STOPPED


def test_a_refusal_is_one_sentence(client: httpx.Client) -> None:
    description = client.get("/api/v1/openapi.json").json()
    for path, status in ((SCAN, 404), (f"{SCAN}/stop", 409), (f"{SCAN}/path", 422)):
        method = "POST" if path.endswith("stop") else "GET"
        name = "other" if status == 404 else "latest"
        answer = client.request(method, path.replace("{id}", name), params={"after": -1})
        assert answer.status_code == status
        jsonschema.validate(answer.json(), answer_schema(description, method, path, status))


def test_headers_of_updates_are_as_described(ran: tuple[Daemon, list[Any]]) -> None:
    daemon, events = ran
    shapes = {"status": messages.StatusHeader, "snapshot": messages.SnapshotHeader, "delta": messages.DeltaHeader}
    scans = {"started": messages.ScanStartedHeader, "ended": messages.ScanEndedHeader}
    kinds = {"scan": ScanEvent, "status": StatusEvent, "snapshot": PictureEvent, "delta": PictureEvent}
    for event in events:
        check(shapes[event.topic] if event.topic in shapes else scans[event.header["state"]], event.header)
        assert isinstance(event, kinds[event.topic])
    assert {event.topic for event in events} == {*shapes, "scan"}
    with connect(daemon.addresses()["http"].replace("http", "ws") + "/api/v1/updates", max_size=None) as viewer:
        told = [wire.decode_ws(viewer.recv()) for _ in range(2)]
    assert [message.topic for message in told] == ["scan", "status"]
    check(messages.ScanEndedHeader, told[0].header)
    check(messages.StatusHeader, told[1].header)


def test_a_record_has_the_fields_of_a_scan() -> None:
    from daemon.results.records import ScanRecord

    assert list(ScanRecord.__dataclass_fields__) == list(messages.ScanFields.__annotations__)
