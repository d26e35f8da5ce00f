"""The bowl of phase that a pass adds is taken off; everything else that it adds stays."""

from __future__ import annotations

import numpy as np
import torch

from ptychopinn.refine.phase_bowl import without_bowl

SHAPE = (60, 80)


def test_only_the_bowl_of_a_change_is_taken_off() -> None:
    y, x = (torch.arange(side) - (side - 1) / 2 for side in SHAPE)
    y, x = y[:, None].expand(SHAPE), x.expand(SHAPE)
    known = 0.8 * torch.exp(0.5j * torch.sin(x / 3 + y / 5))
    coverage = torch.zeros(SHAPE)
    coverage[5:-5, 8:-8] = 2.0
    lit = coverage > 0
    saddle, bowl = 1e-4 * (y.square() - x.square()), 2e-4 * (y.square() + x.square())
    new = known * torch.exp(1j * (0.02 * y + saddle + bowl))
    left = torch.angle(without_bowl(new, known, coverage) * known.conj())[lit].double().numpy()
    parts = (torch.ones(SHAPE), y, x, y.square() - x.square(), y.square() + x.square())
    columns = np.stack([part[lit].double().numpy() for part in parts], axis=1)
    found = np.linalg.lstsq(columns, left, rcond=None)[0]
    np.testing.assert_allclose(found[1:4], [0.02, 0.0, 1e-4], atol=1e-5)
    assert abs(found[4]) < 0.3 * 2e-4  # a saddle over a long rectangle has a part of a bowl
    assert torch.equal(without_bowl(known, known, coverage).abs(), known.abs())
