"""Fine-tuning in a real daemon: a process of its own, promotion, pause, rollback, and what a restart finds."""

import json
import threading
import urllib.request
from urllib.error import HTTPError

import pytest
from daemon_tools import PATIENCE_S, real_scan, running_daemon, send, write_untrained_bundle

from daemon.client import Viewer
from ptychopinn.bundle import read_bundle

FRAMES = 160


def post(daemon, path):
    request = urllib.request.Request(daemon.addresses()["http"] + "/api/v1/" + path, b"{}", method="POST")
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.loads(answer.read())


def status_when(viewer, is_it):
    """Return the first status message of which ``is_it`` holds."""
    for topic, header, _ in viewer.events():
        if topic == "status" and is_it(header["finetune"]):
            return header
    raise AssertionError("no such status came")


def settings(folder):
    bundle = write_untrained_bundle(folder / "blank.zip")
    learning = ("finetune.rate=0.003", "finetune.device_share=1.0")
    return (f'model.bundle="{bundle}"', "refine.enabled=true", "finetune.enabled=true", *learning)


@pytest.mark.slow
def test_it_learns_promotes_can_be_undone_and_survives_a_restart(tmp_path):
    wanted = settings(tmp_path)
    with running_daemon(tmp_path, *wanted) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        with pytest.raises(HTTPError) as refusal:
            post(daemon, "models/rollback")
        with refusal.value as answer:
            assert answer.code == 409
            assert b"no earlier generation" in answer.read()
        sender = threading.Thread(target=send, args=(daemon, real_scan(), FRAMES))
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


def test_it_is_off_without_a_network(tmp_path):
    with running_daemon(tmp_path) as daemon:
        with pytest.raises(HTTPError) as refusal:
            post(daemon, "finetune/pause")
        with refusal.value as answer:
            assert answer.code == 409
            assert b"fine-tuning is off" in answer.read()
