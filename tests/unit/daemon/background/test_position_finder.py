"""The search for positions gives way to a scan that ends, unless that scan waits for it."""

import threading

import numpy as np
import pytest
import torch

from daemon.background.positions import finder as module
from daemon.background.positions.finder import LEAST_FRAMES, FinderOptions, PositionFinder
from daemon.engine.position_search import PlacedFrame, PositionSearch


@pytest.mark.parametrize(("are_wrong", "looks"), [(False, 3), (True, 0)])
def test_the_search_rests_while_a_scan_ends_that_does_not_wait_for_it(monkeypatch, are_wrong, looks):
    asked, is_over = [], threading.Event()

    def is_finishing():
        asked.append(None)
        return len(asked) < 3

    def find_positions(*_, on_pass, **__):
        on_pass()
        is_over.set()
        raise module.GivenUpError

    monkeypatch.setattr(module, "find_positions", find_positions)
    monkeypatch.setattr(module, "PAUSE_S", 0.001)
    frames = [PlacedFrame(i, torch.ones(16, 16), (0.0, 2.0 * i), (0.0, 2.0 * i)) for i in range(LEAST_FRAMES)]
    search = PositionSearch("scan", are_wrong=are_wrong)
    finder = PositionFinder(FinderOptions(is_always=False, frames=16), lambda: False, is_finishing)
    finder.start()
    try:
        finder.find(search, frames, torch.ones(1, 16, 16, dtype=torch.complex64), has_ended=False)
        assert is_over.wait(60)
    finally:
        finder.stop()
    assert len(asked) == looks
    assert not np.any([search.is_pending, search.is_over])
