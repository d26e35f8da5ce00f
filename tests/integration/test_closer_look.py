"""Single frames of a real daemon over HTTP: while a scan runs, after its end, from the journal, from memory."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from daemon.app import Daemon
from daemon.client import Viewer
from tests.support.daemon_tools import (
    PATIENCE_S,
    follow,
    real_scan,
    running_daemon,
    send,
    send_unfinished,
    wait_for_frames,
)

FRAMES = 60


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with one finished scan and one that runs."""
    with running_daemon(tmp_path_factory.mktemp("look"), "refine.enabled=true", "refine.finish_s=1") as daemon:
        with Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
            send(daemon, real_scan(), FRAMES)
            follow(viewer)
            send_unfinished(daemon.addresses()["streams"]["frames"], real_scan(), 30, FRAMES, "half")
            wait_for_frames(viewer, 30)
        yield daemon


@pytest.fixture(scope="module")
def client(daemon: Daemon) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{daemon.addresses()['http']}/api/v1/scans", timeout=PATIENCE_S) as client:
        yield client


def patterns(client: httpx.Client, scan_id: str, index: int) -> NDArray[np.float32]:
    answer = client.get(f"/{scan_id}/frames/{index}/patterns.npy")
    assert answer.status_code == 200, answer.text
    return np.load(io.BytesIO(answer.content))


@pytest.mark.parametrize("scan_id", ["star", "half"])
def test_a_frame_shows_what_was_measured_and_what_the_picture_predicts(client: httpx.Client, scan_id: str) -> None:
    scan = real_scan()
    frame = client.get(f"/{scan_id}/frames/7").json()
    measured, modelled = patterns(client, scan_id, 7)
    np.testing.assert_allclose(measured, scan.counts[7], rtol=1e-5)
    valid = measured >= 0
    amplitude = np.sqrt(measured[valid])
    rfactor = np.abs(np.sqrt(modelled[valid]) - amplitude).sum() / amplitude.sum()
    is_settled = scan_id == "star"  # the picture of the other improves between two requests
    assert frame["rfactor"] == pytest.approx(rfactor, rel=1e-3 if is_settled else 0.5)
    assert 0 < rfactor < 0.6
    assert (frame["previous"], frame["next"], frame["absent"]) == (6, 8, None)
    where_m = np.array(frame["position_px"]) * frame["pixel_size_m"]
    np.testing.assert_allclose(where_m, scan.positions_m[7], atol=1e-12)
    assert frame["counts"] == pytest.approx(scan.counts[7].sum(), rel=1e-5)


def test_the_frame_at_a_place_is_the_nearest(client: httpx.Client) -> None:
    y, x = client.get("/star/frames/11").json()["position_px"]
    assert client.get("/star/frames/nearest", params={"y": y + 0.3, "x": x - 0.3}).json()["index"] == 11
    assert client.get("/star/frames/0").json()["previous"] is None
    assert client.get(f"/star/frames/{FRAMES - 1}").json()["next"] is None


@pytest.mark.parametrize("scan_id", ["star", "half"])
def test_the_map_has_r_of_the_frames(client: httpx.Client, scan_id: str) -> None:
    found = client.get(f"/{scan_id}/frames").json()
    assert found["indexes"] == list(range(FRAMES if scan_id == "star" else 30))
    assert len(found["positions_px"]) == len(found["rfactors"]) == found["frames"]
    known = [rfactor for rfactor in found["rfactors"] if rfactor is not None]
    assert all(0 < rfactor < 1 for rfactor in known)
    if scan_id == "star":
        assert np.mean(known) == pytest.approx(client.get("/star").json()["rfactor"], abs=0.05)


@pytest.mark.parametrize(
    "path", ["/star/frames/999", "/star/frames/999/patterns.npy", "/other/frames", "/other/frames/1"]
)
def test_what_is_not_held_is_said_in_a_sentence(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert len(answer.json()["detail"]) > 20


@pytest.mark.parametrize("scan_id", ["star", "half"])
def test_the_probe_is_propagated_with_its_energy_and_back(client: httpx.Client, scan_id: str) -> None:
    about = client.get(f"/{scan_id}/probe").json()
    assert sum(about["shares"]) == pytest.approx(1)
    assert about["wavelength_m"] == pytest.approx(1.409e-10, rel=1e-3)

    def waves(**query: object) -> NDArray[np.complex64]:
        answer = client.get(f"/{scan_id}/probe.npy", params=query)
        assert answer.status_code == 200, answer.text
        return np.load(io.BytesIO(answer.content))

    now, far = waves(), waves(distance_m=1e-4)
    assert np.linalg.norm(far) == pytest.approx(np.linalg.norm(now), rel=1e-5)
    assert np.abs(np.abs(far) - np.abs(now)).max() > 0.01 * np.abs(now).max()
    change = np.linalg.norm(waves(which="difference")) ** 2 / np.linalg.norm(waves(which="given")) ** 2
    assert about["change"] == pytest.approx(change, rel=1e-4, abs=1e-9)


def test_without_a_journal_frames_in_memory_are_shown(tmp_path: Path) -> None:
    with (
        running_daemon(tmp_path, 'output.journal="off"') as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
        httpx.Client(base_url=f"{daemon.addresses()['http']}/api/v1/scans", timeout=PATIENCE_S) as client,
    ):
        send_unfinished(daemon.addresses()["streams"]["frames"], real_scan(), 10, 20, "half")
        wait_for_frames(viewer, 10)
        np.testing.assert_allclose(patterns(client, "half", 3)[0], real_scan().counts[3], rtol=1e-5)
        assert daemon.view.stop_scan("half")
        follow(viewer)
        gone = client.get("/half/frames/3").json()
    assert gone["position_px"] is not None
    assert "journal is off" in gone["absent"]
