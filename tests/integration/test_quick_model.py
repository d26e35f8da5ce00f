"""A model that is too slow for the detector: the lift shows the frames at once, and the model replaces them later."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from daemon.client import Viewer
from daemon.engine.models import Models
from daemon.files import read_probe
from ptychopinn.detector.geometry import to_amplitude
from ptychopinn.model import Model
from ptychopinn.model.bundle import Bundle, write_bundle
from ptychopinn.model.cnn import Cnn, CnnOptions
from ptychopinn.mosaic.groups import GroupBuilder, GroupFrame
from ptychopinn.mosaic.mosaic import Mosaic
from ptychopinn.tensor_dict import TensorDict
from tests.support.daemon_tools import (
    PATIENCE_S,
    PROBE,
    follow,
    on_common_ground,
    real_scan,
    running_daemon,
    send,
)

FRAMES = 40


class Noted:
    """A model that notes which frames it predicts."""

    def __init__(self, model: Model) -> None:
        self._model, self.indexes = model, set[int]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def predict(self, group: TensorDict, *neighbours: torch.Tensor) -> torch.Tensor:
        if "center_scan_id" in group:
            self.indexes.update(group["center_scan_id"].tolist())
        return self._model.predict(group, *neighbours)


class Pair:
    """Both models of a daemon, noted; an instance is its ``wrap_models``."""

    def __call__(self, models: Models) -> Models:
        self.quick = Noted(models.quick)
        self.sharp = None if models.sharp is None else Noted(models.sharp)
        return Models(self.quick, self.sharp)


def write_cnn(path: Path, gridsize: int) -> Path:
    torch.manual_seed(1)
    options = {"size_px": 128, "width_factor": 1, "members": gridsize**2}
    write_bundle(path, Bundle(path.stem, "cnn", options, Cnn(CnnOptions(**options)).state_dict()))
    return path


def mosaic_of(model: Noted, gridsize: int, pixel_size_m: float) -> SimpleNamespace:
    """Return the mosaic of what a model alone predicts."""
    scan, probe = real_scan(), torch.from_numpy(read_probe(PROBE).probe)
    positions, amplitude = scan.positions_m[:FRAMES] / pixel_size_m, to_amplitude(scan.counts[:FRAMES], None, None)
    mosaic = Mosaic(probe.abs().square().sum(0), keep_bytes=2**30)
    frames = [GroupFrame(i, amplitude[i], tuple(positions[i])) for i in range(FRAMES)]
    for group in GroupBuilder(gridsize, 64, torch.device("cpu")).add(frames):
        keys = group["center_scan_id"].tolist()
        mosaic.add(keys, model.predict(group)[:, 0], positions[keys])
    return SimpleNamespace(origin_px=mosaic.origin_px, shape=mosaic.shape, object=mosaic.read()[0].numpy())


@pytest.mark.parametrize("gridsize", [1, 2])
def test_a_cnn_that_cannot_keep_up_leaves_the_frames_to_the_lift_and_replaces_them_all(tmp_path: Path, gridsize: int):
    pair = Pair()
    settings = (
        f'model.bundle="{write_cnn(tmp_path / "cnn.zip", gridsize)}"',
        f"model.gridsize={gridsize}",
        "publish.period_s=0.001",  # no frame of the cnn is done in a millisecond, so it may show none at once
        "finetune.enabled=false",
        "diagnosis.enabled=false",
    )
    with (
        running_daemon(tmp_path, *settings, wrap_models=pair) as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
    ):
        assert pair.quick.name == "lift"
        assert pair.sharp is not None
        pair.quick.indexes.clear()  # of the warm-up
        send(daemon, real_scan(), FRAMES)
        ended, pictures = follow(viewer)
    shown = pictures["network"]
    assert ended["verdict"]["stitched"] == FRAMES
    assert pair.quick.indexes == set(range(FRAMES))
    expected = mosaic_of(pair.sharp, gridsize, shown.pixel_size_m)
    found, expected = on_common_ground(shown, expected)
    np.testing.assert_allclose(found, expected, atol=1e-3 * abs(expected).max())  # weights at the rim are few steps
