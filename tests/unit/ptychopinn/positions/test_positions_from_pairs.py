"""Positions from patches that frames show alone, registered in pairs."""

from __future__ import annotations

import numpy as np
import torch

from ptychopinn.positions.alone import patches_alone
from ptychopinn.positions.loops import joined
from ptychopinn.positions.pairs import Pairs, near_pairs, registered
from ptychopinn.positions.scan import Frames, main_mode
from tests.support.position_errors import SCAN, apart_px, measured_scan, told_positions


def test_neighbours_are_registered_from_their_patterns_alone_and_say_where_frames_lie():
    drawn, amplitude = measured_scan(SCAN)
    true = drawn.positions_px
    told = told_positions("scatter", 8.0, true)
    frames = Frames(torch.fft.ifftshift(amplitude, dim=(-2, -1)), told, main_mode(drawn.probe, amplitude))
    pairs = registered(patches_alone(frames), frames.probe, told, 12.0, 45.0)
    apart = true[pairs.one] - true[pairs.other]
    near = np.hypot(*apart.T) < 8
    assert (np.hypot(*(apart - pairs.apart_px).T)[near] < 2.5).mean() > 0.8
    places, group = joined(told, pairs)
    assert group.sum() > 120
    assert np.median(apart_px(places[group], true[group])) < 0.5 * np.median(apart_px(told, true))


def test_pairs_that_close_loops_give_positions_though_a_third_of_them_are_wrong():
    random = np.random.default_rng(1)
    true = np.stack(np.meshgrid(np.arange(8.0), np.arange(8.0)), axis=-1).reshape(-1, 2) * 6
    one, other = near_pairs(true, 14.0)
    apart = true[one] - true[other] + random.normal(scale=0.3, size=(len(one), 2))
    wrong = random.random(len(one)) < 0.33
    apart[wrong] = random.uniform(-14, 14, (int(wrong.sum()), 2))
    pairs = Pairs(one, other, apart, np.where(wrong, 60.0, 100.0) * random.uniform(0.5, 1.5, len(one)))
    places, group = joined(true + random.normal(scale=8.0, size=true.shape), pairs)
    assert group.sum() > 55
    assert np.median(apart_px(places[group], true[group])) < 0.5


def test_frames_that_no_pair_joins_stay_as_told():
    told = np.random.default_rng(0).uniform(0, 100, (20, 2))
    none = np.zeros(0, dtype=np.int64)
    places, group = joined(told, Pairs(none, none, np.zeros((0, 2)), np.zeros(0)))
    assert group.sum() <= 1
    assert np.allclose(places, told)
