"""When positions are looked for: quickly during a scan, thoroughly at its end; and when the search gives way."""

import threading

import numpy as np
import pytest
import torch

from daemon.background.positions import finder as module
from daemon.background.positions.finder import LEAST_FRAMES, FinderOptions, PositionFinder
from daemon.engine.position_search import PlacedFrame, PositionSearch
from ptychopinn.positions.find import FoundPositions

PROBE = torch.ones(1, 16, 16, dtype=torch.complex64)


def placed(count):
    return [PlacedFrame(i, torch.ones(16, 16), (0.0, 2.0 * i), (0.0, 2.0 * i)) for i in range(count)]


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
    search = PositionSearch("scan", are_wrong=are_wrong)
    finder = PositionFinder(FinderOptions(is_always=False, frames=16), lambda: False, is_finishing)
    finder.start()
    try:
        finder.find(search, placed(LEAST_FRAMES), PROBE, has_ended=False)
        assert is_over.wait(60)
    finally:
        finder.stop()
    assert len(asked) == looks
    assert not np.any([search.is_pending, search.is_over])


def test_a_quick_search_is_given_up_at_the_end_for_the_last_one(monkeypatch):
    kinds, runs, is_over = [], threading.Event(), threading.Event()

    def find_positions(amplitude, told_px, _probe, *, is_last, on_pass, **_):
        kinds.append(is_last)
        if is_last:
            is_over.set()
            return FoundPositions(told_px + [[0.0, 0.0], [1.0, 1.0]] * (len(told_px) // 2), True, 0.3, 0.1, 0.0)
        while True:
            runs.set()
            on_pass()

    monkeypatch.setattr(module, "find_positions", find_positions)
    search = PositionSearch("scan", are_wrong=True, scan_frames=20)
    finder = PositionFinder(FinderOptions(is_always=False, frames=16), lambda: False)
    finder.start()
    try:
        assert finder.wants(search, 20, has_ended=False)
        finder.find(search, placed(20), PROBE, has_ended=False)
        assert search.next_frames == 25
        assert runs.wait(60)
        while not finder.wants(search, 50, has_ended=True):
            assert not search.is_last
        finder.find(search, placed(50), PROBE, has_ended=True)
        assert is_over.wait(60)
        assert not finder.wants(search, 50, has_ended=True)
    finally:
        finder.stop()
    assert kinds == [False, True]
    assert search.found.indexes.tolist() == list(range(1, 50, 2))  # those that moved
