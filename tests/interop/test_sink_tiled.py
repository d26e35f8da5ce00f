"""The sink ``tiled``: a daemon as a user runs it, a real Tiled server, and the scan read back from there.

Tiled's server pulls in a lot, so both live in an environment of their own, ``.venv-sinks``, that sees ours below it.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.client import Viewer
from daemon.files import read_product
from tests.support import SUPPORT
from tests.support.daemon_tools import PATIENCE_S, follow, real_scan, send, write_config
from tests.support.environments import lay_ours_below, make_environment

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / ".venv-sinks"
NEEDED = ("tiled[array,minimal-client,server]==0.2.20",)
TILED_SIDE = SUPPORT / "tiled_side.py"


@pytest.fixture(scope="session")
def sinks_python() -> Path:
    return make_environment(ENVIRONMENT, "Tiled", [NEEDED], 600, prepare=lay_ours_below)


@dataclass(frozen=True)
class Catalogue:
    """A running Tiled server."""

    python: Path
    uri: str
    key: str

    def ask(self, task: str, *rest: str) -> str:
        command = [str(self.python), str(TILED_SIDE), task, self.uri, self.key, *rest]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def catalogue(sinks_python: Path, tmp_path: Path) -> Iterator[Catalogue]:
    key = secrets.token_hex(16)
    folder = tmp_path / "catalogue"
    folder.mkdir()
    serve = ["serve", "catalog", str(folder / "catalog.db"), "--init", "--write", str(folder / "data"), "--port", "0"]
    command = [str(sinks_python.with_name("tiled")), *serve]
    environment = {**os.environ, "TILED_SINGLE_USER_API_KEY": key}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as server:
        try:
            said = ""
            for line in server.stdout:
                said += line
                if found := re.search(r"running on \S*?(http://[\d.:]+)", line):
                    break
            else:
                pytest.fail(f"the Tiled server did not start:\n{said}")
            threading.Thread(target=lambda: server.stdout.read(), daemon=True).start()
            yield Catalogue(sinks_python, found[1], key)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(PATIENCE_S)


@dataclass(frozen=True)
class Addresses:
    """What :func:`send` needs of a daemon."""

    known: dict[str, Any]

    def addresses(self) -> dict[str, Any]:
        return self.known


def test_a_finished_scan_is_in_the_catalogue_as_in_the_product(catalogue: Catalogue, tmp_path: Path) -> None:
    catalogue.ask("claim", "star")  # the name is taken there
    (tmp_path / "tiled.key").write_text(catalogue.key + "\n")
    options = f'{{uri = "{catalogue.uri}", api_key_file = "{tmp_path / "tiled.key"}"}}'
    sinks = f'output.sinks=[{{kind = "tiled", options = {options}}}]'
    # an improved product would not be the one in the catalogue
    settings = [part for text in (sinks, "refine.enabled=true", "refine.improve_s=0") for part in ("--set", text)]
    command = [str(catalogue.python), "-m", "daemon.cli", "serve", "--json", "--config", str(write_config(tmp_path))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([*command, *settings], stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            daemon = Addresses(json.loads(process.stdout.readline()))
            with Viewer(daemon.known["updates"], PATIENCE_S) as viewer:
                send(daemon, real_scan(), 60)
                follow(viewer)
                delivered = ((h["sinks"][0]) for topic, h, _ in viewer.events() if topic == "status")
                final = next(sink for sink in delivered if sink["ok"] >= 3 or sink["failed"])
        finally:
            process.send_signal(signal.SIGTERM)
    assert process.returncode == 0
    assert (final["ok"], final["failed"], final["trouble"]) == (3, 0, None)
    about = json.loads(catalogue.ask("read", "star-2", str(tmp_path / "back.npz")))
    product = read_product(tmp_path / "out" / "star" / "product.h5")
    with np.load(tmp_path / "back.npz") as back:
        np.testing.assert_array_equal(back["object"], product.object)
        np.testing.assert_array_equal(back["probe"], product.probe)
        np.testing.assert_array_equal(back["positions_m"], product.positions_m)
        np.testing.assert_array_equal(back["frame_indexes"], product.indexes)
        np.testing.assert_array_equal(back["network"], product.live.network)
        assert back["object"].dtype == np.complex64
    metadata = about["metadata"]
    assert (metadata["scan_id"], metadata["complete"], metadata["verdict"]["stitched"]) == ("star", True, 60)
    assert metadata["rfactors"]["refined"] < 0.25
    assert about["arrays"]["object"]["origin_px"] == list(product.object_origin_px)
    assert sorted(about["keys"]) == ["star", "star-2"]
    assert "ptycholive-product" in about["specs"]
