"""The model in use: results carry the one that they were made with, and a swap that fails changes nothing."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from daemon.client import Viewer
from daemon.engine.models import Models
from daemon.files import Product, ScanFile, read_product, write_product
from daemon.results.disk import ResultDisk
from ptychopinn.errors import ReconstructionError
from tests.support.daemon_tools import (
    PATIENCE_S,
    follow,
    real_scan,
    running_daemon,
    send,
    send_unfinished,
    wait_for_frames,
    write_untrained_bundle,
)
from tests.support.slow_device import status_when

FRAMES = 8


@pytest.fixture(scope="module")
def scan() -> ScanFile:
    return real_scan()


def last_pictures(viewer: Viewer, scan_id: str) -> None:
    """Return when the last picture of a scan has come: its result is made in the same turn of the engine."""
    next(c for _, _, c in viewer.events() if c is not None and c.scan_id == scan_id and c.complete)


def test_a_swap_before_a_product_is_written_does_not_change_the_model_that_it_names(
    scan: ScanFile, tmp_path: Path
) -> None:
    is_free = threading.Event()

    def write(path: Path, product: Product) -> None:
        assert is_free.wait(PATIENCE_S)
        write_product(path, product)

    bundle = write_untrained_bundle(tmp_path / "blank.zip")
    with (
        running_daemon(
            tmp_path,
            f'model.bundle="{bundle}"',
            "finetune.enabled=false",
            "diagnosis.enabled=false",
            disk=ResultDisk(write_product=write),
        ) as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
    ):
        for name in ("held", "queued"):
            send(daemon, scan, FRAMES, scan_id=name)
            last_pictures(viewer, name)
        daemon.view.use_model("none")
        status_when(viewer, lambda s: s["model"] == {"name": "lift", "generation": 1})
        is_free.set()
        for name in ("held", "queued"):
            ended, _ = follow(viewer, name)
            live = read_product(ended["product"]).live
            assert live is not None
            assert (live.model_name.split()[0], live.model_generation) == ("blank", 0)
            assert live.model_name.endswith(live.model_sha256[:8])
            assert live.model_sha256
            found = daemon.view.scan(name)
            assert found is not None
            assert found["model_generation"] == 0
        send(daemon, scan, FRAMES, scan_id="after")
        live = read_product(follow(viewer, "after")[0]["product"]).live
        assert live is not None
        assert (live.model_name, live.model_sha256, live.model_generation) == ("lift", "", 1)


def test_a_model_that_has_predicted_no_frame_of_a_scan_is_not_named_in_its_product(
    scan: ScanFile, tmp_path: Path
) -> None:
    with running_daemon(tmp_path) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        send_unfinished(daemon.addresses()["streams"]["frames"], scan, FRAMES, FRAMES + 1, "lift")
        wait_for_frames(viewer, FRAMES)
        daemon.view.use_model("shipped")
        daemon.view.stop_scan("lift")
        ended, pictures = follow(viewer)
        live = read_product(ended["product"]).live
        assert live is not None
        assert (live.model_name, live.model_sha256, live.model_generation) == ("lift", "", 0)
        assert pictures["network"].model_generation == 0
        found = daemon.view.scan("lift")
        assert found is not None
        assert found["model_generation"] == 0
        assert daemon.view.status()["model"]["generation"] == 1


class NotRunning:
    """A network that the device cannot run."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def predict(self, *_: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("too large for the device")


def test_a_model_that_cannot_run_is_refused_and_the_one_before_it_stays(scan: ScanFile, tmp_path: Path) -> None:
    def break_networks(models: Models) -> Models:
        return models if models.sharp is None else Models(models.quick, NotRunning(models.sharp))

    with (
        running_daemon(tmp_path, wrap_models=break_networks) as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
    ):
        with pytest.raises(ReconstructionError, match="is not used: too large for the device"):
            daemon.view.use_model("shipped")
        assert daemon.view.status()["model"] == {"name": "lift", "generation": 0}
        assert [one["name"] for one in daemon.view.models() if one["active"]] == ["none"]
        send(daemon, scan, FRAMES)
        live = read_product(follow(viewer)[0]["product"]).live
        assert live is not None
        assert (live.model_name, live.model_generation) == ("lift", 0)
        assert daemon.view.use_model("none") == {"name": "none", "generation": 1}
        assert daemon.metrics.value("ptycholive_model_generation") == 1
