"""What a running daemon says over HTTP."""

from __future__ import annotations

import io
from pathlib import Path

import h5py
import httpx
import numpy as np
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from daemon.client import Viewer
from tests.support.daemon_tools import PATIENCE_S, follow, real_scan, running_daemon, send

COUNTERS = ("frames_received", "frames_stitched", "frames_refused", "stream_bytes", "stream_handshake_failures")
COUNTERS += ("snapshots_published", "refine_updates", "scans")
OTHERS = ("stream_connected", "queue_depth", "queue_bytes", "stage_seconds", "frame_latency_seconds", "batch_frames")
OTHERS += ("subscribers", "rfactor", "coverage_ratio", "model_generation", "scan_frames_pending", "device_memory_bytes")
STAGES = {"decode", "join", "group", "predict", "stitch", "publish"}


def test_rest_metrics_and_files_of_a_scan(tmp_path: Path):
    settings = ("refine.enabled=true", "refine.finish_s=0")
    with running_daemon(tmp_path, *settings) as daemon, httpx.Client(base_url=daemon.addresses()["http"]) as client:
        assert client.get("/readyz").json()["ready"] is True
        with Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
            send(daemon, real_scan(), 120)
            ended, pictures = follow(viewer)
        api = "/api/v1"
        record = client.get(f"{api}/scans/star").json()
        assert record["state"] == "complete"
        assert record["verdict"] == ended["verdict"]
        assert record["model_generation"] == 0
        assert record["rfactor"] < record["rfactor_network"] < 0.25
        assert 0.9 < record["expected_correlation"] < 1
        status = client.get(f"{api}/status").json()
        assert status["state"] == "idle"
        assert status["verdict"]["stitched"] == 120
        assert status["streams"][0]["bytes"] > 120 * 2000
        refined = np.load(io.BytesIO(client.get(f"{api}/scans/star/snapshot.npy").content))
        np.testing.assert_array_equal(refined, pictures["refined"].object)
        for view in ("phase", "amplitude", "coverage"):
            picture = Image.open(io.BytesIO(client.get(f"{api}/scans/star/snapshot.png?view={view}").content))
            assert picture.size == refined.shape[::-1]
        product = client.get(f"{api}/scans/star/product.h5").content
        with h5py.File(io.BytesIO(product)) as file:
            np.testing.assert_array_equal(file["object"][0], refined)
            assert list(file["probe_position_indexes"][()]) == list(range(120))
            assert file["live/verdict"].attrs["stitched"] == 120
        families = {f.name: f for f in text_string_to_metric_families(client.get("/metrics").text)}
        for name in (*COUNTERS, *OTHERS):
            assert f"ptycholive_{name}" in families
        stages = {s.labels["stage"] for s in families["ptycholive_stage_seconds"].samples}
        assert stages >= STAGES
        values = {s.name: s.value for f in families.values() for s in f.samples if not s.labels}
        assert values["ptycholive_frames_stitched_total"] == 120
        assert values["ptycholive_frame_latency_seconds_count"] == 120
        build = families["ptycholive_build_info"].samples[0].labels
        assert set(build) == {"version", "torch", "device"}
