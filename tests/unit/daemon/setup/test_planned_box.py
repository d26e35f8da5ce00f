"""The part of the object that a scan will cover, from positions that are known before it."""

from __future__ import annotations

import numpy as np
import pytest

from daemon.setup.planned_box import planned_box, positions_box


def test_positions_known_before_a_scan_give_its_box() -> None:
    positions = np.array([[2.0, -3.0], [np.nan, np.nan], [-1.0, 4.0]])
    assert positions_box(positions, None) == (-1, -3, 2, 4)
    assert positions_box(positions, (0, 0, 1, 1)) == (0, 0, 1, 1)
    assert positions_box(None, None) is None
    assert positions_box(np.full((2, 2), np.nan), None) is None


def test_a_scan_covers_more_than_its_positions() -> None:
    assert planned_box((-1, -3, 2, 4), 2.0) == pytest.approx((-1.5, -3.5, 2.5, 4.5))
    assert planned_box(None, 2.0) is None
    assert planned_box((-1, -3, 2, 4), None) is None
