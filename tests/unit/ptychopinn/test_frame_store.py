"""Patterns come out of the store as they went in, each once in memory, and its place is free when nobody holds it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from ptychopinn.device import batched
from ptychopinn.frame_store import FIRST_PLACES, MOST_COUNTS, FrameStore, are_small_counts, at_corner, at_middle

N = 8
COUNT = np.dtype("uint16")


@pytest.fixture
def one_tensor() -> Iterator[None]:
    with batched():
        yield


def amplitudes(frames: int, start: int = 0) -> torch.Tensor:
    """Roots of counts from ``start`` on, as NumPy computes them; the first pixel of each pattern has no data."""
    counts = (start + np.arange(frames * N * N, dtype=np.float32)) % (MOST_COUNTS + 1)
    patterns = torch.from_numpy(np.sqrt(counts)).reshape(frames, N, N)
    patterns[:, 0, 0] = -1.0
    return patterns


def test_every_count_comes_back_bit_for_bit_from_two_bytes(one_tensor):
    store, given = FrameStore(), amplitudes(1 + MOST_COUNTS // N**2)
    assert are_small_counts([COUNT], given.numpy())
    patterns = store.put(given, are_counts=True)
    assert torch.equal(at_middle(patterns), given)
    assert torch.equal(at_corner(patterns[3:5]), torch.fft.ifftshift(given[3:5], dim=(-2, -1)))
    assert store.size_bytes < 2 * 2 * given.numel()


@pytest.mark.parametrize("is_batched", [False, True], ids=["single tensors", "one tensor"])
def test_amplitudes_that_are_no_roots_of_counts_come_back_too_and_so_do_those_before(is_batched):
    given, odd = amplitudes(5), torch.rand(4, N, N) * 300
    with batched() if is_batched else torch.no_grad():
        store = FrameStore()
        patterns = store.put(given, are_counts=True) + store.put(odd) + store.put(given, are_counts=True)
        assert torch.equal(at_middle(patterns), torch.cat((given, odd, given)))
        assert torch.equal(torch.stack([p.sums for p in patterns[:5]]), given.clamp_min(0).sum((1, 2)))


@pytest.mark.parametrize(
    ("kind", "amplitude", "are_small"),
    [("u1", 15.0, True), ("u2", 181.0, True), ("u2", 181.1, False), ("u4", 10.0, True), ("f4", 10.0, False)],
)
def test_which_patterns_fit_into_two_bytes(kind, amplitude, are_small):
    patterns = np.full((2, N, N), amplitude, dtype=np.float32)
    assert are_small_counts([np.dtype(kind)], patterns) is are_small


def test_a_place_is_used_again_once_nobody_holds_its_pattern(one_tensor):
    store = FrameStore()
    first = store.put(amplitudes(FIRST_PLACES), are_counts=True)
    size_bytes, others = store.size_bytes, first[100:]
    kept, shared = at_middle(others), others[0]
    del first
    again = store.put(amplitudes(100, start=7), are_counts=True)
    assert store.size_bytes == size_bytes == 2 * FIRST_PLACES * N**2
    assert torch.equal(at_middle(others), kept)
    assert torch.equal(at_middle(again), amplitudes(100, start=7))
    del others
    assert len(store.free) == FIRST_PLACES - 100 - 1
    assert torch.equal(at_middle([shared])[0], kept[0])
