"""A configured box of positions: both layers have its size and place from the first frame on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from daemon.config.processing import MosaicOptions
from daemon.engine.options import EngineOptions
from daemon.engine.scan import _reserve
from ptychopinn.mosaic.mosaic import Mosaic
from ptychopinn.refine.refined_layer import Refiner

N, PIXEL_M = 16, 1e-8
BOX_M = (-1e-6, 0.0, 1e-6, 2.5e-6)  # 200 x 250 px


def layers() -> tuple[Mosaic, Refiner]:
    mosaic = Mosaic(torch.ones(N, N))
    return mosaic, Refiner(torch.ones(1, N, N, dtype=torch.complex64), mosaic.picture, 4096, 1 << 20)


def test_the_picture_keeps_its_place_while_frames_arrive() -> None:
    mosaic, refiner = layers()
    _reserve("a", EngineOptions(lambda _: PIXEL_M, box_m=BOX_M), mosaic, refiner)
    places = [(layer.shape, layer.origin_px) for layer in (mosaic, refiner)]
    assert all(shape[0] >= 200 + N and shape[1] >= 250 + N for shape, _ in places)
    assert all(shape[0] < 300 and shape[1] < 350 for shape, _ in places)
    corners = np.array([[-100.0, 0.0], [100.0, 250.0], [-100.0, 250.0], [0.3, 7.7]])
    mosaic.add([0, 1, 2, 3], torch.ones(4, N, N, dtype=torch.complex64), corners)
    for index, corner in enumerate(corners):
        refiner.add(index, torch.ones(N, N), tuple(corner))
    refiner.admit_all()
    assert [(layer.shape, layer.origin_px) for layer in (mosaic, refiner)] == places
    mosaic.add([9], torch.ones(1, N, N, dtype=torch.complex64), np.array([[400.0, 0.0]]))
    assert mosaic.shape[0] > places[0][0][0]


def test_a_box_that_is_too_large_or_whose_pixel_is_unknown_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    mosaic, _ = layers()
    _reserve("a", EngineOptions(lambda _: None, box_m=BOX_M), mosaic)
    assert (mosaic.shape, caplog.records) == ((0, 0), [])
    _reserve("a", EngineOptions(lambda _: 1e-12, box_m=BOX_M), mosaic)
    assert mosaic.shape == (0, 0)
    assert "larger than max_side_px" in caplog.text


@pytest.mark.parametrize("box", [(0, 0, 0, 1), (1, 0, 0, 1), (0, 2, 1, 1)])
def test_a_box_without_an_area_is_refused(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValidationError, match="no area"):
        MosaicOptions(box_m=box)
