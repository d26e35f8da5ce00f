"""The REST interface and WebSocket against a running server."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from daemon.messages import Status
from daemon.publish import wire
from daemon.publish.http.interface import HttpServer, create_app
from daemon.publish.hub import UpdateHub
from daemon.publish.snapshot import LayerCanvas
from streams.errors import EndpointError
from tests.support import messages
from tests.support.fake_daemon import FakeDaemon, receive, updates_url
from tests.support.http_server import serving
from tests.support.updates import assert_same, make_update, random_walk


@pytest.fixture
def source() -> FakeDaemon:
    return FakeDaemon()


@pytest.fixture
def hub() -> UpdateHub:
    return UpdateHub()


@pytest.fixture
def server(source: FakeDaemon, hub: UpdateHub) -> Iterator[HttpServer]:
    with serving(create_app(source, hub)) as server:
        yield server


@pytest.fixture
def client(server: HttpServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url) as client:
        yield client


def test_health_readiness_and_metrics(client: httpx.Client, source: FakeDaemon) -> None:
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").json() == messages.readiness(ready=True)
    source.is_well = False
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == messages.readiness(ready=False)
    metrics = client.get("/metrics")
    assert metrics.text == "ptycholive_up 1\n"
    assert metrics.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_words_about_scans(client: httpx.Client, source: FakeDaemon) -> None:
    api = "/api/v1"
    status = client.get(f"{api}/status").json()
    messages.check(Status, status)
    assert (status["state"], status["rfactor"]["network"], status["frames_stitched"]) == ("scanning", None, 3)
    assert client.get(f"{api}/scans").json()[0]["id"] == "scan-1"
    assert client.get(f"{api}/scans/latest").json()["id"] == "scan-1"
    assert [one["name"] for one in client.get(f"{api}/models").json()] == ["lift"]
    chosen = client.post(f"{api}/models/active", json={"name": "lift"})
    assert (chosen.status_code, chosen.json()) == (202, {"name": "lift", "generation": 1})
    unknown = client.post(f"{api}/models/active", json={"name": "owl"})
    assert (unknown.status_code, unknown.json()["detail"]) == (404, "there is no model named owl; known models: lift")
    assert client.post(f"{api}/models/active", json={"name": "x" * 65}).status_code == 422
    assert client.get(f"{api}/scans/other").json() == {"detail": "there is no scan other"}
    assert client.post(f"{api}/scans/latest/stop").status_code == 202
    assert source.stopped == ["scan-1"]
    source.running = False
    refused = client.post(f"{api}/scans/scan-1/stop")
    assert refused.status_code == 409
    assert "not running" in refused.json()["detail"]


def test_product_when_written(client: httpx.Client, source: FakeDaemon, tmp_path: Path) -> None:
    missing = client.get("/api/v1/scans/latest/product.h5")
    assert missing.status_code == 404
    assert "not written yet" in missing.json()["detail"]
    source.product = tmp_path / "product.h5"
    source.product.write_bytes(b"\x89HDF")
    assert client.get("/api/v1/scans/latest/product.h5").content == b"\x89HDF"


@pytest.mark.parametrize("view", ["phase", "amplitude", "coverage"])
def test_picture_is_transparent_where_nothing_was_seen(client: httpx.Client, hub: UpdateHub, view: str) -> None:
    hub.publish_layer(make_update(np.random.default_rng(0)))
    answer = client.get(f"/api/v1/scans/latest/snapshot.png?view={view}&layer=refined")
    assert answer.headers["x-layer"] == "network"
    assert answer.headers["content-type"] == "image/png"
    alpha = np.asarray(Image.open(io.BytesIO(answer.content)))[..., 3]
    assert alpha.shape == (40, 50)
    assert (alpha > 0).sum() == 120


def test_a_figure_says_where_it_lies(client: httpx.Client, hub: UpdateHub) -> None:
    hub.publish_layer(make_update(np.random.default_rng(0)))
    canvas = hub.canvas("scan-1", "network")
    assert canvas is not None
    answer = client.get("/api/v1/scans/latest/snapshot.png?crop=1&side=16")
    rows, columns = (np.flatnonzero((canvas.weight > 0).any(axis)) for axis in (1, 0))
    corner = canvas.origin_px[0] + rows[0], canvas.origin_px[1] + columns[0]
    assert answer.headers["x-corner-px"] == f"{corner[0]},{corner[1]}"
    assert answer.headers["x-size-px"] == f"{np.ptp(rows) + 1},{np.ptp(columns) + 1}"
    assert client.get("/api/v1/scans/latest/snapshot.png?low=2&high=1").status_code == 422
    boxed = client.get("/api/v1/scans/latest/snapshot.png?box=-10,-20,-9.5,-19")  # where nothing is covered
    um = 1e6 * float(boxed.headers["X-Pixel-Size-M"])
    assert boxed.headers["X-Size-Px"] == f"{round(0.5 / um)},{round(1 / um)}"
    for wrong in ("1,2,3", "a,b,c,d", "0,0,0,0", "0,0,1e9,1e9", "0,0,nan,1"):
        for file in ("png", "npy"):
            refused = client.get(f"/api/v1/scans/latest/snapshot.{file}?box={wrong}")
            assert (refused.status_code, "box" in refused.json()["detail"]) == (422, True)
    (y, x), size = canvas.origin_px, canvas.pixel_size_m
    assert size is not None
    box = ",".join(f"{1e6 * size * side:.7f}" for side in (y + 3, x - 2, y + 13, x + 28))
    array = client.get(f"/api/v1/scans/latest/snapshot.npy?box={box}")
    assert array.headers["x-origin-px"] == f"{y + 3},{x - 2}"
    values = np.load(io.BytesIO(array.content))
    np.testing.assert_array_equal(values[:, 2:], canvas.object[3:13, :28])
    assert not values[:, :2].any()
    assert max(Image.open(io.BytesIO(answer.content)).size) <= 16


def test_colours_do_not_depend_on_the_global_phase(client: httpx.Client, hub: UpdateHub) -> None:
    update = make_update(np.random.default_rng(0))
    hub.publish_layer(update)
    url = "/api/v1/scans/latest/snapshot.png?view=phase&span=1"
    before = np.asarray(Image.open(io.BytesIO(client.get(url).content))).astype(int)
    for region in update.regions:
        region.object[:] *= np.complex64(np.exp(1.3j))
    hub.publish_layer(update)
    after = np.asarray(Image.open(io.BytesIO(client.get(url).content))).astype(int)
    assert np.abs(after - before).max() <= 6  # one step of the colour map


@pytest.mark.parametrize("view", ["phase", "amplitude", "coverage"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 0, 1e38])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_picture_of_any_numbers_is_drawn(client: httpx.Client, hub: UpdateHub, view: str, value: float) -> None:
    update = make_update(np.random.default_rng(0))
    update.regions[0].object[2:4] = value
    hub.publish_layer(update)
    assert client.get(f"/api/v1/scans/latest/snapshot.png?view={view}").status_code == 200


def test_picture_as_array(client: httpx.Client, hub: UpdateHub) -> None:
    hub.publish_layer(make_update(np.random.default_rng(0)))
    pixels = np.load(io.BytesIO(client.get("/api/v1/scans/scan-1/snapshot.npy?layer=network").content))
    canvas = hub.canvas("scan-1", "network")
    assert canvas is not None
    assert pixels.dtype == np.complex64
    np.testing.assert_array_equal(pixels, canvas.object)


def test_pattern(client: httpx.Client, source: FakeDaemon) -> None:
    assert "no diffraction pattern" in client.get("/api/v1/scans/latest/pattern.png").json()["detail"]
    source.pattern = ("scan-1", 17, np.random.default_rng(0).random((16, 16)))
    answer = client.get("/api/v1/scans/latest/pattern.png")
    assert answer.headers["x-frame-index"] == "17"
    assert Image.open(io.BytesIO(answer.content)).size == (16, 16)


def test_faults_are_sentences(client: httpx.Client) -> None:
    assert "no picture" in client.get("/api/v1/scans/latest/snapshot.png").json()["detail"]
    assert "no route /nowhere" in client.get("/nowhere").json()["detail"]
    invalid = client.get("/api/v1/scans/latest/snapshot.png?view=other")
    assert invalid.status_code == 422
    assert invalid.json()["detail"].startswith("view: ")


def test_nothing_from_other_hosts(client: httpx.Client) -> None:
    for path in ("/", "/docs", "/page/app.js", "/page/style.css"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "https://" not in answer.text.replace("http://www.w3.org", "")
    assert "/api/v1/scans/{id}/snapshot.png" in client.get("/docs").text
    assert "/api/v1/scans/{id}/stop" in client.get("/api/v1/openapi.json").json()["paths"]


def test_foreign_pages_cannot_act(client: httpx.Client, server: HttpServer, source: FakeDaemon) -> None:
    headers = {"Origin": "http://elsewhere.example"}
    assert client.post("/api/v1/scans/latest/stop", headers=headers).status_code == 403
    assert source.stopped == []
    with pytest.raises(InvalidStatus):
        connect(updates_url(server), origin="http://elsewhere.example").__enter__()  # type: ignore[arg-type]
    assert client.post("/api/v1/scans/latest/stop", headers={"Origin": server.url}).status_code == 202


def test_token_is_needed_for_all_but_health(source: FakeDaemon, hub: UpdateHub) -> None:
    server = HttpServer(create_app(source, hub), "127.0.0.1", 0, token="secret")
    server.start()
    bearer = {"Authorization": "Bearer secret"}
    with httpx.Client(base_url=server.url) as client:
        assert client.get("/healthz").status_code == 200
        for path in ("/", "/metrics", "/readyz", "/api/v1/status", "/docs"):
            assert client.get(path).status_code == 401
            assert client.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
            assert client.get(path, headers=bearer).status_code == 200
        with pytest.raises(InvalidStatus):
            connect(updates_url(server)).__enter__()
        with connect(updates_url(server), additional_headers=bearer):
            pass
        assert client.get("/?token=wrong").status_code == 401
        exchanged = client.get("/?token=secret")
        assert exchanged.status_code == 303
        assert "secret" not in exchanged.headers["set-cookie"]
        assert client.get("/api/v1/status").status_code == 200
    server.stop()


def test_off_loopback_needs_a_token(source: FakeDaemon, hub: UpdateHub) -> None:
    with pytest.raises(EndpointError, match="token"):
        HttpServer(create_app(source, hub), "0.0.0.0", 0)


def test_port_in_use_is_one_sentence(server: HttpServer, source: FakeDaemon, hub: UpdateHub) -> None:
    with pytest.raises(EndpointError, match=f"port {server.port} on 127.0.0.1 cannot be bound"):
        HttpServer(create_app(source, hub), "127.0.0.1", server.port)


def follow(viewer: ClientConnection, states: dict[str, LayerCanvas], until: int) -> list[wire.Message]:
    """Apply messages until the network layer has `until` stitched frames."""
    seen = []
    while True:
        message = receive(viewer)
        seen.append(message)
        layer = message.header.get("layer", "")
        if message.topic == "snapshot":
            states[layer] = wire.read_snapshot(message.header, message.buffers)
        elif message.topic == "delta":
            states[layer] = wire.apply_delta(states[layer], message.header, message.buffers)
        if message.header.get("frames_stitched") == until:
            return seen


def test_websocket_viewer_gets_all_then_follows(server: HttpServer, hub: UpdateHub) -> None:
    updates = random_walk(np.random.default_rng(0), 20)
    hub.publish_scan(messages.started())
    hub.publish_status(messages.status())
    for update in updates[:10]:
        hub.publish_layer(update)
    states: dict[str, LayerCanvas] = {}
    with connect(updates_url(server), max_size=None) as viewer:
        greeting = follow(viewer, states, until=9)
        assert [message.topic for message in greeting] == ["scan", "status", "snapshot"]
        for update in updates[10:]:
            hub.publish_layer(update)
        hub.publish_layer(make_update(np.random.default_rng(1), stitched=99))
        seen = greeting + follow(viewer, states, until=99)
        assert [message.header["sequence"] for message in seen] == list(range(len(seen)))
        assert_same(states["network"], hub.canvas("scan-1", "network"))


def test_websocket_viewer_that_never_reads_harms_nobody(server: HttpServer, hub: UpdateHub) -> None:
    rng = np.random.default_rng(2)
    big = make_update(rng, shape=(800, 800), places=((0, 0, 800, 800),))
    states: dict[str, LayerCanvas] = {}
    raw = socket.create_connection(("127.0.0.1", server.port))
    raw.sendall(
        b"GET /api/v1/updates HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    assert raw.recv(12) == b"HTTP/1.1 101"
    with connect(updates_url(server), max_size=None) as viewer:
        hub.publish_layer(big)
        follow(viewer, states, until=1)
        for _ in range(60):
            hub.publish_layer(big)
        hub.publish_layer(make_update(rng, shape=(800, 800), stitched=2))
        follow(viewer, states, until=2)
        assert_same(states["network"], hub.canvas("scan-1", "network"))
    raw.close()


def test_stop_closes_websockets_promptly(source: FakeDaemon, hub: UpdateHub) -> None:
    app = create_app(source, hub)
    server = HttpServer(app, "127.0.0.1", 0)
    server.start()
    with connect(updates_url(server)) as viewer:
        hub.publish_status(messages.status())
        receive(viewer)
        assert app.state.viewers.count == 1
        server.stop()
        with pytest.raises(ConnectionClosed) as caught:
            viewer.recv(timeout=5)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1012
    assert app.state.viewers.count == 0
