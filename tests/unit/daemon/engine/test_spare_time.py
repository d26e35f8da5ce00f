"""Spare time after a scan's end: each frame gets its first visits before anything else."""

import time
from types import SimpleNamespace

import pytest
import torch

from daemon.engine.examination import Examination
from daemon.engine.refined_starts import LOOK_VISITS
from daemon.engine.spare_time import LEAST_VISITS, SpareTime
from ptychopinn.refine.refined_layer import BLOCK_PASSES


class Work:
    """A scan whose refiner has visited its frames ``visits`` times."""

    def __init__(self, *, visits, has_ended):
        self.finish_by = self.ended_s = time.monotonic() if has_ended else None
        self.given = []
        self.refiner = SimpleNamespace(least_visits=visits, block_passes=0, step=lambda: 0)
        self.refines = self.is_resolving = True
        self.repaint = object()
        self.model = SimpleNamespace(probe=torch.zeros(1))
        self.search = SimpleNamespace(are_wrong=False, is_pending=False)
        self.places = SimpleNamespace(moved_share=0.5)
        self.examination = Examination("scan")
        self.resolution = SimpleNamespace(spend=lambda *_: self.given.append("halves"))
        self.stop_looking = self.stop_refining = self.stop_resolving = None

    def look_again(self, most, *, has_ended):
        del most, has_ended
        self.given.append("second look")


@pytest.mark.parametrize(
    ("visits", "has_ended", "given", "passes"),
    [
        (0, False, ["second look", "halves"], BLOCK_PASSES),
        (LEAST_VISITS - 1, True, [], LEAST_VISITS),
        (LEAST_VISITS, True, ["second look", "halves"], BLOCK_PASSES),
    ],
)
def test_first_visits_come_before_second_looks_and_halves_once_a_scan_has_ended(visits, has_ended, given, passes):
    work = Work(visits=visits, has_ended=has_ended)
    faults = SimpleNamespace(attempt=lambda work, what, act, give_up: act())
    SpareTime(metrics=None, faults=faults, queue=[]).work_on(work)
    assert work.given == given
    assert work.refiner.block_passes == passes


def test_the_engine_rests_after_a_slice_while_wrong_positions_are_searched_for():
    work = Work(visits=LEAST_VISITS, has_ended=True)
    faults = SimpleNamespace(attempt=lambda work, what, act, give_up: act())
    spare = SpareTime(metrics=None, faults=faults, queue=[])
    spare.work_on(work)
    assert spare.rest_s() == 0
    work.search = SimpleNamespace(are_wrong=True, is_pending=True)
    spare.work_on(work)
    assert spare.rest_s() > 0
    assert spare.rest_s() == 0
    work.places.moved_share = 0.9
    spare.work_on(work)
    assert spare.rest_s() == 0


@pytest.mark.parametrize("has_ended", [False, True])
def test_the_engine_rests_after_a_slice_for_the_diagnosis_of_a_scan_that_runs(has_ended):
    work = Work(visits=LEAST_VISITS, has_ended=has_ended)
    faults = SimpleNamespace(attempt=lambda work, what, act, give_up: act())
    spare = SpareTime(metrics=None, faults=faults, queue=[])
    spare.work_on(work)
    assert spare.rest_s() == 0
    work.examination.is_running = True
    spare.work_on(work)
    assert (spare.rest_s() > 0) is not has_ended


def test_the_last_looks_wait_for_the_refined_layer_half_of_the_time():
    work = Work(visits=LOOK_VISITS - 1, has_ended=True)
    work.repaint = SimpleNamespace(most_looks=2)
    faults = SimpleNamespace(attempt=lambda work, what, act, give_up: act())
    spare = SpareTime(metrics=None, faults=faults, queue=[])
    work.ended_s, work.finish_by = time.monotonic(), time.monotonic() + 1000
    spare.work_on(work)
    assert work.given == ["halves"]
    work.ended_s -= 1001
    spare.work_on(work)
    assert work.given == ["halves", "second look", "halves"]
