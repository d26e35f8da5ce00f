"""Earlier moments, past pictures and paths over HTTP, without a browser."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import httpx
import numpy as np
import pytest

from daemon.files.product import read_product
from daemon.publish import history as history_module
from daemon.publish.earlier_pictures import MOST_LOOKS
from daemon.publish.history import SIDE_PX, History
from daemon.publish.http.interface import HttpServer, create_app
from daemon.publish.hub import UpdateHub
from daemon.publish.wire import decode_ws, read_snapshot
from tests.support.fake_daemon import PATH, PastDaemon, write_old_product
from tests.support.updates import make_update


@pytest.fixture
def source() -> PastDaemon:
    return PastDaemon()


@pytest.fixture
def hub() -> UpdateHub:
    return UpdateHub()


@pytest.fixture
def history(hub: UpdateHub) -> History:
    return History(hub)


@pytest.fixture
def client(source: PastDaemon, hub: UpdateHub, history: History) -> Iterator[httpx.Client]:
    server = HttpServer(create_app(source, hub, history=history), "127.0.0.1", 0)
    server.start()
    with httpx.Client(base_url=f"{server.url}/api/v1/scans") as client:
        yield client
    server.stop()


def test_moments_are_bounded_and_keep_first_and_last(hub: UpdateHub, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000_000, 1000))
    monkeypatch.setattr(history_module.time, "monotonic", lambda: float(next(clock)))
    history = History(hub)
    rng = np.random.default_rng(0)
    for number in range(1, 4 * MOST_LOOKS):
        hub.publish_layer(make_update(rng, stitched=number))
        history.look()
        history.look()  # nothing has changed
    frames = [header["frames_stitched"] for header in history.listing("scan-1", "network")]
    assert len(frames) <= MOST_LOOKS
    assert (frames[0], frames[-1]) == (1, 4 * MOST_LOOKS - 1)
    assert frames == sorted(set(frames))


def test_moments_keep_their_pause_but_the_last_is_kept_at_once(hub: UpdateHub) -> None:
    history, rng = History(hub), np.random.default_rng(0)
    begun = time.monotonic()
    for number in (1, 2, 3):
        hub.publish_layer(make_update(rng, stitched=number))
        history.look()
    hub.publish_layer(make_update(rng, stitched=4, complete=True))
    history.look()
    frames = [header["frames_stitched"] for header in history.listing("scan-1", "network")]
    assert (frames[0], frames[-1]) == (1, 4)
    assert frames == [1, 4] or time.monotonic() - begun > history_module.FIRST_PAUSE_S


def test_moments_go_with_the_picture_of_their_scan() -> None:
    hub, rng = UpdateHub(keep_scans=2), np.random.default_rng(0)
    history = History(hub)
    for scan_id in ("one", "two", "three"):
        hub.publish_layer(make_update(rng, scan_id=scan_id))
        history.look()
    kept = {scan_id: len(history.listing(scan_id, "network")) for scan_id in ("one", "two", "three")}
    assert kept == {"one": 0, "two": 1, "three": 1}
    assert hub.scan_ids() == ["two", "three"]


def test_a_moment_is_an_update(client: httpx.Client, hub: UpdateHub, history: History) -> None:
    shape = (SIDE_PX + 10, 50)
    update = make_update(np.random.default_rng(0), shape=shape, origin_px=(3, -4), places=((0, 0, *shape),))
    hub.publish_layer(update)
    history.look()
    counts = {
        layer: len(client.get(f"latest/history?layer={layer}").json()) for layer in ("network", "refined", "iterative")
    }
    assert counts == {"network": 1, "refined": 1, "iterative": 0}
    message = decode_ws(client.get("latest/picture?layer=network&at=0").content)
    assert message.header["stride"] == 2
    canvas = read_snapshot(message.header, message.buffers)
    assert canvas.origin_px == (3, -4)
    np.testing.assert_allclose(canvas.object, update.regions[0].object[::2, ::2], atol=5e-3)
    np.testing.assert_allclose(canvas.weight, update.regions[0].weight[::2, ::2], rtol=1e-3, atol=1e-6)
    missing = client.get("latest/picture?layer=network&at=7")
    assert (missing.status_code, "no moment 7" in missing.json()["detail"]) == (404, True)


def test_pictures_of_a_past_scan_come_from_its_product(
    client: httpx.Client, source: PastDaemon, tmp_path: Path
) -> None:
    source.product = tmp_path / "product.h5"
    picture = write_old_product(source.product)
    for layer, wanted in (("refined", picture), ("network", 2 * picture)):
        message = decode_ws(client.get(f"old/picture?layer={layer}").content)
        canvas = read_snapshot(message.header, message.buffers)
        assert (canvas.layer, canvas.origin_px, canvas.complete) == (layer, (4, 5), True)
        np.testing.assert_array_equal(canvas.object, wanted)
    assert client.get("old/snapshot.png").headers["content-type"] == "image/png"
    missing = client.get("old/picture?layer=iterative")
    assert missing.status_code == 404
    assert "iterative.h5" in missing.json()["detail"]
    (tmp_path / "iterative.h5").symlink_to(source.product)
    assert "is a link, and links are not followed" in client.get("old/picture?layer=iterative").json()["detail"]
    (tmp_path / "iterative.h5").unlink()
    os.mkfifo(tmp_path / "iterative.h5")
    assert client.get("old/picture?layer=iterative").status_code == 404
    source.product.write_bytes(b"broken")
    assert client.get("old/picture").status_code == 404


def test_a_product_is_cut_to_a_box(client: httpx.Client, source: PastDaemon, tmp_path: Path) -> None:
    source.product = tmp_path / "product.h5"
    picture = write_old_product(source.product)  # 30 x 20 pixels of 10 nm at 4, 5
    answer = client.get("old/product.h5?box=0.06,0.04,0.16,0.2")
    assert answer.headers["content-type"] == "application/x-hdf5"
    (tmp_path / "cut.h5").write_bytes(answer.content)
    whole, part = read_product(source.product), read_product(tmp_path / "cut.h5")
    assert (part.object.shape, part.object_origin_px) == ((10, 16), (6, 4))
    np.testing.assert_array_equal(part.object[:, 1:], picture[2:12, :15])
    assert not part.object[:, 0].any()
    assert part.live is not None
    assert part.live.network is not None
    np.testing.assert_array_equal(part.live.network, 2 * part.object)
    np.testing.assert_array_equal(part.positions_m, whole.positions_m)
    for wrong in ("0,0,0,0", "1,2"):
        assert client.get(f"old/product.h5?box={wrong}").status_code == 422
    source.product.write_bytes(b"broken")
    assert client.get("old/product.h5?box=0,0,1,1").status_code == 404


def test_product_that_points_to_another_file_shows_nothing_of_it(
    client: httpx.Client, source: PastDaemon, tmp_path: Path
) -> None:
    source.product, other = tmp_path / "product.h5", tmp_path / "other.h5"
    write_old_product(other)
    write_old_product(source.product)
    with h5py.File(source.product, "r+") as file:
        del file["object"]
        file["object"] = h5py.ExternalLink(str(other), "/object")
    answer = client.get("old/picture")
    assert answer.status_code == 404
    assert "/object points to another file" in answer.json()["detail"]


def test_paths_are_told_in_parts(client: httpx.Client, source: PastDaemon, tmp_path: Path) -> None:
    known: list[tuple[float, float]] = []
    while more := client.get(f"scan-1/path?after={len(known)}").json()["positions_px"]:
        known += [tuple(place) for place in more]
    assert known == PATH
    assert client.get("old/path").json()["positions_px"] == []
    source.product = tmp_path / "product.h5"
    write_old_product(source.product)
    np.testing.assert_allclose(client.get("old/path?after=1").json()["positions_px"], [[12.0, 11.0]])
