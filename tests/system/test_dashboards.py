"""Every panel of every dashboard has data, from a real Prometheus that scrapes a daemon that learns."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
import yaml

from daemon.app import Daemon
from daemon.client import Viewer
from daemon.files import ScanFile
from tests.support.daemon_tools import PATIENCE_S, running_daemon, send
from tests.support.prometheus_tools import asked, running_prometheus
from tests.support.small_scans import small_scan, write_spoilt_bundle

pytestmark = pytest.mark.system
DEPLOY = Path(__file__).parents[2] / "deploy"


def scraping(target: str) -> dict[str, Any]:
    """Return the shipped configuration for another target, once a second."""
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    del job["authorization"]
    job["static_configs"] = [{"targets": [target]}]
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(DEPLOY / "prometheus" / name) for name in config["rule_files"]]
    return config


def queries() -> dict[str, str]:
    """Return the query of each panel as Grafana would send it, by dashboard, title and letter."""
    found = {}
    for path in (DEPLOY / "grafana" / "dashboards").glob("*.json"):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                query = target["expr"].replace("$instance", ".+").replace("$__rate_interval", "20s")
                assert "$" not in query
                found[f"{path.stem}: {panel['title']} {target['refId']}"] = query
    return found


def has_data(prometheus: str, query: str) -> bool:
    """Whether a query gives a number now."""
    try:
        samples = asked(prometheus, "query", query=query)["result"]
    except HTTPError as fault:
        raise AssertionError(f"{query}: {fault.read().decode()}") from fault
    return any(math.isfinite(float(sample["value"][1])) for sample in samples)


@contextmanager
def watched(folder: Path) -> Iterator[tuple[Daemon, ScanFile, Viewer, str]]:
    """Yield a daemon that learns all the time, a scan for it, its updates, and the Prometheus that scrapes it."""
    if shutil.which("prometheus") is None:
        pytest.skip("needs Debian's package prometheus")
    scan, settings = small_scan(folder)
    model = f'model.bundle="{write_spoilt_bundle(folder / "blank.zip")}"'
    refine = ("refine.enabled=true", "refine.improve_s=300")
    work = (*refine, "finetune.enabled=true", "finetune.device_share=1.0", "finetune.rate=0.003")
    with (
        running_daemon(folder, *settings, model, *work) as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
        running_prometheus(folder, scraping(daemon.http.url.removeprefix("http://"))) as prometheus,
    ):
        yield daemon, scan, viewer, prometheus


@contextmanager
def sending(daemon: Daemon, scan: ScanFile) -> Iterator[None]:
    """Send scan after scan during the block: a rate has a value only while frames come."""
    is_over = threading.Event()

    def send_scans() -> None:
        for number in count():
            if is_over.is_set():
                return
            send(daemon, scan, len(scan.counts), scan_id=f"whole-{number}", rate_hz=40)

    sender = threading.Thread(target=send_scans)
    sender.start()
    try:
        yield
    finally:
        is_over.set()
        sender.join()


def firing(prometheus: str) -> set[str]:
    """Return the alerts that are on."""
    alerts = asked(prometheus, "alerts")["alerts"]
    return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


@pytest.mark.slow
def test_no_panel_is_without_data_and_lost_frames_raise_the_alert(tmp_path: Path) -> None:
    with watched(tmp_path) as (daemon, scan, viewer, prometheus):
        updates, give_up = viewer.events(), time.monotonic() + 2 * PATIENCE_S
        empty = queries()
        assert len(empty) > 40
        with sending(daemon, scan):
            while any("rate" in query for query in empty.values()) and time.monotonic() < give_up:
                next(updates)  # the daemon says what it does, twice a second
                empty = {title: query for title, query in empty.items() if not has_data(prometheus, query)}
        while empty and time.monotonic() < give_up:
            next(updates)
            empty = {title: query for title, query in empty.items() if not has_data(prometheus, query)}
        assert not empty, sorted(empty)
        lint = subprocess.run(["promtool", "check", "metrics"], input=daemon.metrics.text()[0], capture_output=True)
        assert lint.returncode == 0, lint.stderr.decode()
        rules = [rule for group in asked(prometheus, "rules")["groups"] for rule in group["rules"]]
        assert len(rules) >= 16
        assert [(rule["name"], rule["lastError"]) for rule in rules if rule.get("lastError")] == []
        assert firing(prometheus) == set()
        send(daemon, scan, len(scan.counts), scan_id="holes", fault="drop=0.05,corrupt=0.02")
        while not (on := firing(prometheus)) and time.monotonic() < give_up + PATIENCE_S:
            next(updates)
        assert on == {"FramesBeingLost"}
