"""The assessment in a running daemon: status, metrics, record and webhook tell the same grade, over real sockets."""

from __future__ import annotations

import json
import queue
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.assessment.fit_limits import limit_of
from daemon.client import Viewer
from daemon.files import ScanFile
from daemon.messages import FitCheck
from tests.support.daemon_tools import PATIENCE_S, follow, real_scan, running_daemon, send, send_unfinished
from tests.support.webhook_receiver import receiving

NO_SENDER = ('positions.source="native"', 'positions.endpoint="@tcp://127.0.0.1:0"', "positions.timeout_s=0.1")


@pytest.fixture(scope="module")
def scan() -> ScanFile:
    return real_scan()


def get(daemon: Any, path: str) -> Any:
    with urllib.request.urlopen(daemon.addresses()["http"] + path) as answer:
        text = answer.read().decode()
    return text if path == "/metrics" else json.loads(text)


def until(viewer: Viewer, is_so: Callable[[Any], bool]) -> Any:
    """Return the first status that is so; one comes twice a second."""
    return next(event.header for event in viewer.events() if event.topic == "status" and is_so(event.header))


def test_a_good_scan_is_good_from_its_first_to_its_last_status(scan: ScanFile, tmp_path: Path) -> None:
    with (
        receiving() as (url, posted),
        running_daemon(tmp_path, f'notify.url="{url}"') as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
    ):
        send(daemon, scan, 120)
        grades = []
        for topic, header, _ in viewer.events():
            if topic == "status":
                grades.append(header["assessment"]["grade"])
            if topic == "scan" and header["state"] == "ended":
                break
        assert set(grades) <= {"good"}
        assert header["assessment"]["code"] == "complete"
        posts = [posted.get(timeout=PATIENCE_S)]
        assert get(daemon, "/api/v1/scans/star")["assessment"] == header["assessment"]
        status = until(viewer, lambda status: status["phase"] == "idle")
        assert 'ptycholive_assessment{grade="good"} 1.0' in get(daemon, "/metrics")
        record = json.loads((tmp_path / "out" / "star" / "scan.json").read_text())
    assert [(post["event"], post["grade"], post["scan_id"]) for post in posts] == [("ended", "good", "star")]
    limit, action = limit_of(FitCheck.OFF)
    assert status["assessment"]["reason"] == f"All 120 frames are in the picture; {limit}"
    assert status["assessment"]["action"].lower() == action.lower()
    assert record["assessment"] == header["assessment"]
    assert "not connected" not in status["sentence"]
    assert "lost" not in status["sentence"]


def test_a_scan_without_positions_is_bad_and_has_no_figures_of_the_one_before(scan: ScanFile, tmp_path: Path) -> None:
    with (
        receiving() as (url, posted),
        running_daemon(tmp_path, *NO_SENDER, f'notify.url="{url}"') as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
    ):
        send(daemon, scan, 80, scan_id="first")
        follow(viewer, "first")
        before = until(viewer, lambda status: status["phase"] == "idle")
        assert before["rfactor"]["network"] > 0
        send_unfinished(daemon.addresses()["streams"]["frames"], without_positions(scan), 40, 60, "lost")
        status = until(viewer, lambda status: status["assessment"]["code"] == "position_stream_gone")
        assert status["assessment"]["grade"] == "bad"
        assert status["rfactor"] == {"network": None, "refined": None}
        assert status["account"] == "40 received = 0 stitched + 40 pending; 20 to come"
        assert 'ptycholive_assessment{grade="bad"} 1.0' in get(daemon, "/metrics")
        assert "ptycholive_rfactor{" not in get(daemon, "/metrics")
        daemon.view.stop_scan("lost")
        ended, _ = follow(viewer, "lost")
    assert (ended["assessment"]["grade"], ended["assessment"]["code"]) == ("bad", "no_picture")
    assert not ended["assessment"]["is_rfactor_meaningful"]
    codes = [(post["event"], post["grade"]) for post in drained(posted)]
    assert codes == [("ended", "good"), ("grade", "bad"), ("ended", "bad")]


def test_a_wrong_orientation_withholds_the_expected_correlation(scan: ScanFile, tmp_path: Path) -> None:
    settings = ('detector.orientation="transpose"', "refine.enabled=true", "diagnosis.enabled=true")
    with running_daemon(tmp_path, *settings) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        send(daemon, scan, 120)
        status = until(viewer, lambda status: status["assessment"]["code"] == "misfit")
        assert status["assessment"]["action"] == 'Set [detector] orientation = "identity"'
        assert not status["assessment"]["is_rfactor_meaningful"]
        assert status["expected_correlation"] is None
        found = until(viewer, lambda status: status["phase"] == "idle")["assessment"]
        record = get(daemon, "/api/v1/scans/star")
    assert (found["grade"], found["code"], record["fit_check"]) == ("bad", "misfit", "misfit")


def without_positions(scan: ScanFile) -> ScanFile:
    return ScanFile(
        name="none", counts=scan.counts, indexes=scan.indexes, positions_m=np.full_like(scan.positions_m, np.nan)
    )


def drained(posted: queue.Queue[Any]) -> list[Any]:
    return [posted.get(timeout=PATIENCE_S) for _ in range(3)]
