"""Fine-tuning in a real daemon: a process of its own, promotion, pause, rollback, and what a restart finds."""

import json
import threading
import urllib.request
from urllib.error import HTTPError

import pytest
import torch

from daemon.client import Viewer
from ptychopinn.model.bundle import Bundle, read_bundle, write_bundle
from ptychopinn.model.cnn import Cnn, CnnOptions
from tests.support.daemon_tools import PATIENCE_S, follow, running_daemon, send
from tests.support.small_scans import small_scan, write_spoilt_bundle

FRAMES = 160


def post(daemon, path, **body):
    address, headers = daemon.addresses()["http"] + "/api/v1/" + path, {"Content-Type": "application/json"}
    request = urllib.request.Request(address, json.dumps(body).encode(), headers, method="POST")
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.loads(answer.read())


def status_when(viewer, is_it):
    """Return the first status message of which ``is_it`` holds."""
    for topic, header, _ in viewer.events():
        if topic == "status" and is_it(header["finetune"]):
            return header
    raise AssertionError("no such status came")


def settings(folder):
    bundle = write_spoilt_bundle(folder / "blank.zip")
    learning = ("finetune.rate=0.003", "finetune.device_share=1.0")
    return (f'model.bundle="{bundle}"', "refine.enabled=true", "finetune.enabled=true", *learning)


@pytest.mark.slow
def test_it_learns_promotes_can_be_undone_and_survives_a_restart(tmp_path):
    scan, size = small_scan(tmp_path)
    wanted = (*settings(tmp_path), *size)
    with running_daemon(tmp_path, *wanted) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        with pytest.raises(HTTPError) as refusal:
            post(daemon, "models/rollback")
        with refusal.value as answer:
            assert answer.code == 409
            assert b"no earlier generation" in answer.read()
        sender = threading.Thread(target=send, args=(daemon, scan, FRAMES))
        sender.start()
        status = status_when(viewer, lambda f: f.get("promotions", {}).get("promoted"))
        sender.join()
        scores = status["finetune"]["heldout_rfactor"]
        assert scores["candidate"] < scores["active"]
        assert daemon.metrics.value("ptycholive_finetune_steps_total") >= 40
        post(daemon, "finetune/pause")
        status_when(viewer, lambda f: f["state"] == "paused")
        status = status_when(viewer, lambda f: f["generations"] >= 1)
        assert status["model"]["name"].startswith("blank+finetuned")
        bundles = sorted((tmp_path / "out" / "models").glob("generation-*.zip"))
        lineage = read_bundle(bundles[-1]).provenance["lineage"]
        assert lineage[-1]["heldout_rfactor"] < lineage[-1]["heldout_rfactor_before"]
        generations = status["finetune"]["generations"]
    with running_daemon(tmp_path, *wanted) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        status = status_when(viewer, lambda f: True)
        assert status["finetune"]["generations"] == generations
        assert status["model"]["name"].startswith("blank+finetuned")
        for _ in range(generations):
            answer = post(daemon, "models/rollback")
        assert answer["name"].startswith("blank ")
        with pytest.raises(HTTPError) as refusal:
            post(daemon, "models/rollback")
        refusal.value.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_cnn_for_groups_of_four_learns_and_survives_a_restart(tmp_path):
    torch.manual_seed(0)
    network = Cnn(CnnOptions(size_px=64, members=4, width_factor=1, has_batch_norm=True, has_shared_decoder=True))
    write_bundle(tmp_path / "four.zip", Bundle("four", "cnn", network.architecture, network.state_dict()))
    scan, size = small_scan(tmp_path)
    model = (f'model.bundle="{tmp_path / "four.zip"}"', "model.gridsize=2")
    wanted = (*size, *model, "finetune.enabled=true", "finetune.rate=0.001", "finetune.device_share=1.0")
    with running_daemon(tmp_path, *wanted) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        sender = threading.Thread(target=send, args=(daemon, scan, FRAMES))
        sender.start()
        status = status_when(viewer, lambda f: f.get("generations", 0) >= 1)
        sender.join()
        assert status["finetune"]["promotions"]["promoted"] >= 1
        post(daemon, "finetune/pause")
        status = status_when(viewer, lambda f: f["state"] == "paused")
        assert status["model"]["name"].startswith("four+finetuned")
        send(daemon, scan, 20, scan_id="after")
        ended, _ = follow(viewer, "after")
        assert ended["verdict"]["stitched"] == 20
        assert daemon.metrics.value("ptycholive_model_generation") >= 1
    newest = read_bundle(sorted((tmp_path / "out" / "models").glob("generation-*.zip"))[-1])
    lineage = newest.provenance["lineage"]
    assert lineage[-1]["heldout_rfactor"] < lineage[-1]["heldout_rfactor_before"]
    kept = {n: v for n, v in network.state_dict().items() if ".encoder." in n or "running" in n}
    assert kept
    assert all(torch.equal(newest.weights[name], value) for name, value in kept.items())
    with running_daemon(tmp_path, *wanted) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        status = status_when(viewer, lambda f: True)
        assert status["model"]["name"] == f"four+finetuned {newest.sha256[:8]}"
        assert status["finetune"]["generations"] >= 1
        while not (answer := post(daemon, "models/rollback"))["name"].startswith("four "):
            assert answer["name"].startswith("four+finetuned")


def test_it_is_off_without_a_network(tmp_path):
    with running_daemon(tmp_path) as daemon:
        with pytest.raises(HTTPError) as refusal:
            post(daemon, "finetune/pause")
        with refusal.value as answer:
            assert answer.code == 409
            assert b"fine-tuning is off" in answer.read()


def test_it_rests_while_the_model_has_no_network_and_goes_on_with_one(tmp_path):
    wanted = settings(tmp_path)
    with running_daemon(tmp_path, *wanted) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        post(daemon, "models/active", name="none")
        status_when(viewer, lambda f: f["state"].startswith("resting"))
        post(daemon, "finetune/pause")
        status_when(viewer, lambda f: f["state"] == "paused")
        post(daemon, "models/active", name="shipped")
        post(daemon, "finetune/resume")
        status_when(viewer, lambda f: f["state"] == "waiting for frames")
    without = (*wanted[1:], 'model.bundle="none"')
    with running_daemon(tmp_path, *without) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        status_when(viewer, lambda f: f["state"] == "off")
        post(daemon, "models/active", name="shipped")
        status_when(viewer, lambda f: f["state"] == "waiting for frames")
