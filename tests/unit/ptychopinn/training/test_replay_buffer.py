"""The replay buffer: bounds, fairness, what is held out and what is refused."""

import numpy as np

from ptychopinn.training.replay_buffer import HELD_OUT_OF, ReplayBuffer, ReplayFrame, is_held_out

N = 16


def frame(x, level=10.0):
    return ReplayFrame(np.full((N, N), level, dtype=np.float32), (0.0, float(x)))


def test_it_is_bounded_and_keeps_the_newest_and_a_sample_fair_by_position():
    buffer = ReplayBuffer(40)
    for i in range(1000):
        buffer.add(("a", i), frame(i))
    assert len(buffer) == 40
    assert len(buffer.held_out) <= 40 // HELD_OUT_OF
    newest = [i for i in range(1000) if not is_held_out(i)][-20:]
    assert set(newest) <= {key[1] for key in buffer._recent}
    older = sorted(key[1] for key in buffer._older)
    assert older[0] < 350
    assert older[-1] > 650


def test_about_a_tenth_is_held_out_and_never_in_a_neighbourhood():
    buffer = ReplayBuffer(500)
    for i in range(400):
        buffer.add(("a", i), frame(i))
    held = {key[1] for key in buffer.held_out}
    assert 20 <= len(held) <= 60
    for _ in range(20):
        places = {f.position_px[1] for f in buffer.neighbourhood(8)}
        assert len(places) == 8
        assert not places & held
    first, *others = buffer.around(buffer.held_out[0], 5)
    assert first.position_px[1] in held
    assert len(others) == 4
    assert max(abs(f.position_px[1] - first.position_px[1]) for f in others) <= 6


def test_neighbours_are_of_the_same_scan():
    buffer = ReplayBuffer(100)
    for i in range(1, 20):
        buffer.add(("a", i), frame(i, level=10.0))
        buffer.add(("b", i), frame(i, level=11.0))
    for _ in range(10):
        assert len({float(f.amplitude[0, 0]) for f in buffer.neighbourhood(6)}) == 1


def test_frames_that_teach_nothing_are_refused():
    buffer = ReplayBuffer(100)
    for i in range(10):
        assert buffer.add(("a", i), frame(i))
    blind = frame(11)
    blind.amplitude[: N // 2 + 1] = -1
    broken = frame(12)
    broken.amplitude[0, 0] = np.nan
    bad = [frame(20, level=0.0), frame(21, level=2.0), blind, broken]
    assert [buffer.add(("a", 30 + i), f) for i, f in enumerate(bad)] == [False] * 4
    assert buffer.refused == 4
    assert buffer.add(("a", 50), frame(50, level=7.0))


def test_a_label_reaches_its_frame():
    buffer = ReplayBuffer(10)
    buffer.add(("a", 1), frame(1))
    patch = np.ones((N, N), dtype=np.complex64)
    buffer.label(("a", 1), patch)
    buffer.label(("a", 2), patch)
    assert buffer.neighbourhood(1)[0].label is patch
