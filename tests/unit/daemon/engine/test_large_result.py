"""The picture of a large scan for its product is made band by band, in a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from daemon.engine import result
from daemon.engine.result import host_layer
from ptychopinn.mosaic.memory_bound import MemoryBound
from ptychopinn.mosaic.mosaic import Mosaic


def test_bands_in_a_file_are_the_picture_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mosaic = Mosaic(torch.rand(16, 16) + 0.1, bound=MemoryBound(1 << 30, tmp_path))
    places = np.random.default_rng(0).uniform(0, 200, (40, 2))
    mosaic.add(range(40), torch.randn(40, 16, 16, dtype=torch.complex64), places)
    whole = host_layer(mosaic)
    monkeypatch.setattr(result, "LARGE_PX", 0)
    monkeypatch.setattr(result, "BAND_PX", 7 * mosaic.shape[1])
    for one, other in zip(whole, host_layer(mosaic), strict=True):
        assert isinstance(other, np.memmap)
        assert (one == other).all()
    assert list(tmp_path.iterdir()) == []
