"""The mosaic's promises, bit for bit."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ptychopinn.mosaic.mosaic import VALUE_STEP, Mosaic

N = 8


def make(seed: int, count: int):
    rng = np.random.default_rng(seed)
    patches = torch.from_numpy(
        (rng.normal(size=(count, N, N)) + 1j * rng.normal(size=(count, N, N))).astype(np.complex64)
    )
    return torch.from_numpy(rng.random((N, N)).astype(np.float32)), patches, rng.uniform(-60, 60, size=(count, 2))


def same(a: Mosaic, b: Mosaic) -> None:
    top = [max(p, q) for p, q in zip(a.origin_px, b.origin_px, strict=True)]
    end = [min(p + s, q + t) for p, s, q, t in zip(a.origin_px, a.shape, b.origin_px, b.shape, strict=True)]
    cuts = []
    for m in (a, b):
        window = tuple(slice(t - o, e - o) for t, e, o in zip(top, end, m.origin_px, strict=True))
        for plane in m.read():
            cuts.append(plane[window])
            assert (plane != 0).sum() == (plane[window] != 0).sum()
    assert torch.equal(cuts[0], cuts[2])
    assert torch.equal(cuts[1], cuts[3])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 20), cut=st.integers(0, 20))
def test_order_batching_and_merging_change_no_bit(seed, count, cut):
    weight, patches, positions = make(seed, count)
    whole, parts, other = Mosaic(weight), Mosaic(weight), Mosaic(weight)
    assert whole.add(range(count), patches, positions) == {}
    order = np.random.default_rng(seed + 1).permutation(count)
    for i in order[:cut]:
        parts.add([int(i)], patches[[i]], positions[[i]])
    rest = order[cut:]
    other.add(rest.tolist(), patches[rest], positions[rest])
    assert parts.merge(other)
    same(whole, parts)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(2, 12))
def test_a_replaced_patch_leaves_no_trace(seed, count):
    weight, patches, positions = make(seed, count)
    replaced, fresh = Mosaic(weight, keep_bytes=10**6), Mosaic(weight)
    replaced.add(range(count), patches, positions)
    replaced.add([0, 1], 3 - patches[:2], positions[:2])
    better = patches.clone()
    better[:2] = 3 - patches[:2]
    fresh.add(range(count), better, positions)
    same(replaced, fresh)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 20))
def test_weights_are_conserved_and_constants_stay_constant(seed, count):
    weight, patches, positions = make(seed, count)
    mosaic = Mosaic(weight)
    mosaic.add(range(count), torch.full_like(patches, 0.5 - 0.25j), positions)
    assert abs(mosaic.total_weight - count * mosaic.patch_weight) <= count * (N + 1) ** 2 * VALUE_STEP
    value, laid = mosaic.read()
    np.testing.assert_allclose(value[laid > 1e-4].numpy(), 0.5 - 0.25j, atol=1e-3)
    assert not value[laid == 0].any()


def test_nothing_is_left_out_silently():
    weight, patches, positions = make(0, 3)
    mosaic = Mosaic(weight, max_side_px=64)
    positions[:] = [[0, 0], [500, 0], [np.nan, 0]]
    patches[0, 0, 0] = torch.inf
    assert mosaic.add([7, 8, 9], patches, positions) == {7: "not_finite", 9: "bad_position"}
    assert mosaic.add([10], patches[2:], np.zeros((1, 2))) == {10: "outside_mosaic"}


def test_dirty_boxes_cover_what_changed_and_only_once():
    weight, patches, positions = make(1, 5)
    mosaic = Mosaic(weight)
    mosaic.add(range(5), patches, positions)
    covered = torch.zeros(mosaic.shape, dtype=torch.int32)
    for box in mosaic.take_dirty():
        covered[box.window] += 1
    assert covered.max() == 1
    assert covered[mosaic.read()[1] > 0].all()
    assert mosaic.take_dirty() == []


def test_patch_pixel_half_n_lies_on_the_position():
    weight, patches, _ = make(2, 1)
    patches[:] = 0
    patches[0, N // 2, N // 2] = 1
    mosaic = Mosaic(weight)
    mosaic.add([0], patches, np.array([[-3.0, 11.0]]))
    value, _ = mosaic.read()
    y, x = divmod(int(value.abs().argmax()), value.shape[1])
    assert (y + mosaic.origin_px[0], x + mosaic.origin_px[1]) == (-3, 11)
