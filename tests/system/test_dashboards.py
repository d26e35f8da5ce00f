"""Every panel of every dashboard has data, from a real Prometheus that scrapes the daemon of a real demonstration."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
import yaml
from websockets.sync.client import ClientConnection, connect

from tests.support.daemon_tools import PATIENCE_S
from tests.support.prometheus_tools import asked, running_prometheus

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
def demonstration(folder: Path, *options: str) -> Iterator[str]:
    """Yield the address of the daemon of a demonstration that learns all the time."""
    command = [sys.executable, "-m", "daemon.cli", "demo", "--rate", "60", "--port", "0"]
    command += ["--output", str(folder / "x.h5"), *options]
    # Beside so much learning the halves of the frames need longer than the demo's ten seconds for a resolution
    environment = os.environ | {"PTYCHOLIVE_FINETUNE__DEVICE_SHARE": "1.0", "PTYCHOLIVE_REFINE__IMPROVE_S": "60"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as demo:
        try:
            yield demo.stderr.readline().split()[-1]
        finally:
            demo.terminate()
            demo.communicate()


@contextmanager
def watched(folder: Path, *options: str) -> Iterator[tuple[ClientConnection, str]]:
    """Yield the updates of a demonstration, and the Prometheus that scrapes it with the shipped rules."""
    if shutil.which("prometheus") is None:
        pytest.skip("needs Debian's package prometheus")
    with (
        demonstration(folder, *options) as http,
        connect(http.replace("http", "ws") + "/api/v1/updates", max_size=None) as updates,
        running_prometheus(folder, scraping(http.removeprefix("http://"))) as prometheus,
    ):
        yield updates, prometheus


def firing(prometheus: str) -> set[str]:
    """Return the alerts that are on."""
    alerts = asked(prometheus, "alerts")["alerts"]
    return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


def test_lost_frames_of_a_real_scan_raise_the_alert(tmp_path: Path) -> None:
    with watched(tmp_path, "--no-finetune", "--fault", "drop=0.05,corrupt=0.02") as (updates, prometheus):
        give_up = time.monotonic() + PATIENCE_S
        while not (on := firing(prometheus)) and time.monotonic() < give_up:
            updates.recv(timeout=PATIENCE_S)
        assert on == {"FramesBeingLost"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_panel_is_without_data(tmp_path: Path) -> None:
    with watched(tmp_path) as (updates, prometheus):
        empty, give_up = queries(), time.monotonic() + 8 * PATIENCE_S
        assert len(empty) > 40
        while empty and time.monotonic() < give_up:
            updates.recv(timeout=PATIENCE_S)  # the daemon says what it does, twice a second
            empty = {title: query for title, query in empty.items() if not has_data(prometheus, query)}
        assert empty == {}
        rules = [rule for group in asked(prometheus, "rules")["groups"] for rule in group["rules"]]
        assert len(rules) >= 16
        assert [(rule["name"], rule["lastError"]) for rule in rules if rule.get("lastError")] == []
        assert firing(prometheus) == set()
