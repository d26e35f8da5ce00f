"""Two pictures compared over REST: the figures, and the other picture laid on the first."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from daemon.publish import wire
from daemon.publish.http import comparisons
from daemon.publish.http.interface import create_app
from daemon.publish.hub import UpdateHub
from tests.support.fake_daemon import FakeDaemon
from tests.support.http_server import serving
from tests.support.page_tools import even_update

SIDE, SHIFT_PX, RAMP = 96, (3.0, -2.0), (0.02, -0.01)


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    phase, loss = np.random.default_rng(3).normal(size=(2, SIDE, SIDE))
    phase, loss = (gaussian_filter(plane, 2) for plane in (phase, loss))
    return np.exp(1j * phase / phase.std() / 2 - 0.1 * (loss / loss.std() + 3)).astype(np.complex64)


@pytest.fixture
def hub(truth: np.ndarray) -> UpdateHub:
    """Return a hub with the picture of one scan, and that of another: shifted, with a ramp and another scale."""
    y, x = np.mgrid[:SIDE, :SIDE]
    real, imaginary = (shift(part, SHIFT_PX, order=1, mode="nearest") for part in (truth.real, truth.imag))
    moved = real + 1j * imaginary
    ramped = (0.7j * moved * np.exp(1j * (RAMP[0] * y + RAMP[1] * x))).astype(np.complex64)
    hub = UpdateHub()
    hub.publish_layer(even_update(ramped, origin_px=(10, 5), layer="refined", scan_id="b"))
    hub.publish_layer(even_update(np.ones_like(truth), origin_px=(10, 5), scan_id="a"))
    hub.publish_layer(even_update(truth, origin_px=(10, 5), layer="refined", scan_id="a"))
    return hub


@pytest.fixture
def client(hub: UpdateHub) -> Iterator[httpx.Client]:
    with (
        serving(create_app(FakeDaemon(), hub)) as server,
        httpx.Client(base_url=f"{server.url}/api/v1/scans") as client,
    ):
        yield client


def test_shift_and_ramp_are_taken_off_and_told(client: httpx.Client, truth: np.ndarray) -> None:
    found = client.get("/a/comparison", params={"other": "b"}).json()
    assert (found["scan_id"], found["layer"], found["other_scan_id"], found["other_layer"]) == (
        "a",
        "refined",
        "b",
        "refined",
    )
    assert found["shift_px"] == pytest.approx([-3, 2], abs=0.05)
    assert found["ramp_rad_px"] == pytest.approx([-0.02, 0.01], abs=1e-3)
    assert found["phase_correlation"] > 0.999
    assert found["difference"] < 0.01
    assert found["frc_nm"] == pytest.approx(10 * found["frc_px"])
    message = wire.decode_ws(client.get("/a/comparison/picture", params={"other": "b"}).content)
    header = message.full_header
    assert (message.topic, header["scan_id"]) == ("snapshot", "b")
    top, left = np.subtract(header["origin_px"], (10, 5))
    pixels = np.frombuffer(message.buffers[0], "<c8").reshape(header["shape"])
    assert pixels[40, 40] == pytest.approx(truth[top + 40, left + 40], abs=2e-2)


def test_large_pictures_are_compared_in_their_middle(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparisons, "MOST_SIDE_PX", 64)
    found = client.get("/a/comparison", params={"other": "b"}).json()
    assert found["pixels"] <= 64**2
    assert found["shift_px"] == pytest.approx([-3, 2], abs=0.05)
    laid = wire.decode_ws(client.get("/a/comparison/picture", params={"other": "b"}).content)
    assert laid.full_header["origin_px"][0] >= 10 + 16


def test_what_cannot_be_compared_is_said(client: httpx.Client, hub: UpdateHub, truth: np.ndarray) -> None:
    hub.publish_layer(even_update(truth, origin_px=(5000, 0), layer="refined", scan_id="far"))
    said = {other: client.get("/a/comparison", params={"other": other}) for other in ("far", "a", "none")}
    assert {other: answer.status_code for other, answer in said.items()} == {"far": 409, "a": 409, "none": 404}
    assert "no place in common" in said["far"].json()["detail"]
    assert said["a"].json()["detail"].startswith("both pictures are the same")
    even = client.get("/a/comparison", params={"other_layer": "network"}).json()
    assert (even["other_layer"], even["phase_correlation"]) == ("network", None)
