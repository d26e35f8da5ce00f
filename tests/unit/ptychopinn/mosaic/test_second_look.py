"""Second looks: when a frame is due, what the model is shown, and that the better patch takes its place."""

from __future__ import annotations

import numpy as np
import torch

from ptychopinn.mosaic.mosaic import Mosaic
from ptychopinn.mosaic.second_look import SecondLooks
from ptychopinn.tensor_dict import TensorDict

N = 16
WEIGHT = torch.ones(N, N)


def laid(positions: list[tuple[float, float]], keep_bytes: int = 10**6) -> Mosaic:
    mosaic = Mosaic(WEIGHT, keep_bytes=keep_bytes)
    for key, position in enumerate(positions):
        mosaic.add([key], torch.full((1, N, N), 1 + 1j * key, dtype=torch.complex64), np.array([position]))
    return mosaic


def test_a_frame_is_looked_at_again_once_its_neighbourhood_has_grown_and_not_before():
    shown = []

    def predict(group, start, support):
        shown.append((group["images"].clone(), start.clone(), support.clone()))
        return torch.full_like(start, 5.0)

    positions = [(0.0, 0.0), (0.0, 4.0), (0.0, 400.0)]
    mosaic = laid(positions)
    repaint = SecondLooks(predict, mosaic, WEIGHT, most_looks=2)
    repaint.add(0, torch.zeros(N, N), positions[0], looks=1)
    assert repaint.step(8, has_ended=False) == 0
    repaint.add(1, torch.ones(N, N), positions[1], looks=1)
    repaint.add(2, torch.ones(N, N), positions[2], looks=1)
    assert repaint.step(8, has_ended=False) == 1  # the first has a neighbour now; the second had one from the start
    images, start, support = shown[0]
    assert not images.any()
    assert torch.allclose(start[0, 0, :, 4:], torch.full((N, N - 4), 1 + 0.5j))  # the mean of both
    assert torch.equal(support[0, 0, :, :4], torch.zeros(N, 4))
    assert torch.allclose(support[0, 0, :, 4:], torch.ones(N, N - 4))
    assert not repaint.is_done
    assert repaint.step(8, has_ended=True) == 1
    assert repaint.is_done
    assert repaint.step(8, has_ended=True) == 0  # the third has no neighbour
    assert repaint.repainted == 2
    value, _ = mosaic.read()
    assert torch.allclose(mosaic.cut(positions[0]), torch.full((N, N), 5.0 + 0j))
    assert torch.allclose(mosaic.cut(positions[2]), torch.full((N, N), 1 + 2j))
    assert value.abs().max() < 5.1


def test_a_frame_that_something_quicker_laid_is_due_at_once():
    mosaic = laid([(0.0, 0.0)])
    repaint = SecondLooks(lambda group, start, support: start * 0 + 7, mosaic, WEIGHT)
    repaint.add(0, torch.ones(N, N), (0.0, 0.0), looks=0)
    assert repaint.step(8, has_ended=False) == 1
    assert repaint.step(8, has_ended=False) == 0
    assert torch.allclose(mosaic.cut((0.0, 0.0)), torch.full((N, N), 7.0 + 0j))


def test_a_patch_that_is_no_longer_kept_is_left_alone():
    positions = [(0.0, 0.0), (0.0, 4.0), (4.0, 0.0)]
    mosaic = laid(positions, keep_bytes=N * N * 8 * 2)
    repaint = SecondLooks(lambda group, start, support: start * 0 + 9, mosaic, WEIGHT)
    for key, position in enumerate(positions):
        repaint.add(key, torch.ones(N, N), position, looks=1)
    before = mosaic.total_weight
    assert repaint.step(8, has_ended=True) == 2
    assert mosaic.total_weight == before


def test_a_model_that_looks_at_groups_looks_again_only_when_it_is_another():
    positions = [(0.0, 0.0), (0.0, 4.0), (0.0, 8.0)]
    mosaic = laid(positions)
    asked = []

    def groups_of(indexes):
        asked.extend(indexes)
        return [TensorDict({"center_scan_id": torch.tensor(indexes)}, batch_size=[len(indexes)])]

    def predict(group, start, support):
        assert start is support is None
        keys = group["center_scan_id"]
        return (10.0 + keys)[:, None, None, None].expand(-1, 4, N, N).to(torch.complex64)

    repaint = SecondLooks(predict, mosaic, WEIGHT, most_looks=1, groups_of=groups_of)
    for key, position in enumerate(positions):
        repaint.add(key, torch.ones(N, N), position, looks=1)
    assert not repaint.has_work
    assert repaint.step(8, has_ended=False) == 0
    repaint.use_model(predict, 1)
    assert repaint.has_work
    assert [repaint.step(2, has_ended=False), repaint.step(2, has_ended=False)] == [2, 1]
    assert asked == [2, 1, 0]  # the newest first
    assert not repaint.has_work
    other = Mosaic(WEIGHT)
    for key, position in enumerate(positions):
        other.add([key], torch.full((1, N, N), 10.0 + key, dtype=torch.complex64), np.array([position]))
    assert torch.equal(mosaic.read()[0], other.read()[0])


class Better:
    """Starts that are better than the mosaic for one frame."""

    def __init__(self, index: int) -> None:
        self.index, self.is_ready = index, False

    def is_awaited(self, index: int) -> bool:
        return index == self.index and not self.is_ready

    def lay(self, starts: torch.Tensor, indexes: list[int], positions_px: np.ndarray) -> None:
        for start, index in zip(starts, indexes, strict=True):
            if index == self.index and self.is_ready:
                start.fill_(3.0)


def test_a_second_look_waits_for_a_better_start_and_begins_there():
    shown = {}

    def predict(group, start, support):
        shown.update({int(image[0, 0, 0]): begun.clone() for image, begun in zip(group["images"], start, strict=True)})
        return start

    positions = [(0.0, 0.0), (0.0, 4.0), (4.0, 0.0)]
    better = Better(0)
    repaint = SecondLooks(predict, laid(positions), WEIGHT, most_looks=2, better=better)
    for key, position in enumerate(positions):
        repaint.add(key, torch.full((N, N), float(key)), position, looks=1)
    assert repaint.step(8, has_ended=False) == 1  # the second; the third had all its neighbours from the start
    better.is_ready = True
    assert repaint.step(8, has_ended=False) == 1
    assert sorted(shown) == [0, 1]
    assert torch.equal(shown[0], torch.full_like(shown[0], 3.0))
    assert not torch.equal(shown[1], shown[0])


def test_the_last_looks_wait_for_nothing():
    better = Better(0)
    repaint = SecondLooks(lambda group, start, support: start, laid([(0.0, 0.0), (0.0, 4.0)]), WEIGHT, better=better)
    for key in (0, 1):
        repaint.add(key, torch.ones(N, N), (0.0, 4.0 * key), looks=1)
    assert repaint.step(8, has_ended=True) == 2
    assert repaint.is_done
