"""The one rule for pixels that hold no data: what is masked, and that a beam never is."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ptychopinn.detector.invalid_pixels import find_invalid, has_suspects, holds_mark, mask_doubt, some_frames

SIDE = 64
RANDOM = np.random.default_rng(0)


def frames(share: float = 0.3, photons: float = 2e5, shape: str = "disc", contrast: float = 0.5) -> NDArray[np.uint32]:
    """Return eight frames of a random object behind a probe that fills ``share`` of its window."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2 + 0.5
    inside = np.hypot(y, x) < share * SIDE / 2 if shape == "disc" else np.maximum(abs(y), abs(x)) < share * SIDE / 2
    probe = inside * np.sqrt(photons / inside.sum())
    phase = contrast * np.random.default_rng(3).normal(size=(2 * SIDE, 2 * SIDE))
    out = []
    for number in range(8):
        patch = np.exp(1j * phase[7 * number :, 5 * number :][:SIDE, :SIDE])
        far = np.fft.fftshift(np.fft.fft2(probe * patch, norm="ortho"))
        out.append(np.random.default_rng(number).poisson(np.abs(far) ** 2))
    return np.array(out).astype(np.uint32)


COUNTS = frames()


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8"])
def test_the_two_greatest_values_of_an_integer_type_are_marks(dtype: str):
    top = np.iinfo(dtype).max
    assert holds_mark(np.array([top, top - 1, top - 2, 0], dtype)).tolist() == [True, True, False, False]


def test_negative_and_not_finite_counts_are_no_data():
    assert holds_mark(np.array([-1, 3], np.int32)).tolist() == [True, False]
    assert holds_mark(np.array([-1, np.nan, np.inf, -np.inf, 0, 1e9], np.float32)).tolist() == [True] * 4 + [False] * 2


@pytest.mark.parametrize("looked_at", [1, 4, 8])
@pytest.mark.parametrize("dtype", ["u4", "u8", "i8", "f4", "f8"])
@pytest.mark.parametrize("value", [2**32 - 1, 2**32 - 2, 2**31, 10**7, 2**20, 65535, 65534])
def test_a_dead_pixel_of_any_value_and_type_is_no_data_and_named(value: int, dtype: str, looked_at: int):
    counts = COUNTS.astype(dtype)
    counts[:, 10, 11] = value
    found = find_invalid(counts[:looked_at])
    assert np.argwhere(found.of(counts)).tolist() == [[n, 10, 11] for n in range(8)]
    assert len(found.notes) == 1
    assert found.notes[0].startswith("1 pixel")


def test_the_note_says_where_and_how_much():
    counts = COUNTS.copy()
    counts[:, 10, 11] = 10**7
    assert "row 10, column 11: 10000000" in find_invalid(counts).notes[0]


@pytest.mark.parametrize("line", [np.s_[:, 20, :], np.s_[:, :, 40], np.s_[:, 20:22, 30:32]])
def test_a_stuck_row_column_or_cluster_is_found_whole(line: tuple[slice | int, ...]):
    counts = COUNTS.copy()
    counts[line] = 10**6
    expected = np.zeros((SIDE, SIDE), bool)
    expected[line[1:]] = True
    np.testing.assert_array_equal(find_invalid(counts).bad, expected)


def test_a_hot_pixel_beside_a_gap_of_marks_is_found():
    counts = COUNTS.copy()
    counts[:, 30:34] = 2**32 - 1
    counts[:, 35, 5] = 10**7
    assert np.argwhere(find_invalid(counts).bad).tolist() == [[35, 5]]


def test_a_full_counter_is_no_data_wherever_it_ends():
    counts = np.minimum(COUNTS, 900).astype(np.uint16)
    found = find_invalid(counts)
    assert found.marks == (900.0,)
    np.testing.assert_array_equal(found.of(counts), counts == 900)


@pytest.mark.parametrize("looked_at", [1, 4, 8])
@pytest.mark.parametrize("shape", ["disc", "square"])
@pytest.mark.parametrize("photons", [1e3, 1e6, 1e9])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.95])
def test_a_beam_is_never_masked(share: float, photons: float, shape: str, looked_at: int):
    for contrast in (0.02, 0.5):
        found = find_invalid(frames(share, photons, shape, contrast)[:looked_at])
        assert found.is_nothing, found.notes


def test_a_beam_of_one_pixel_is_not_masked():
    counts = RANDOM.poisson(2.0, (8, SIDE, SIDE)).astype(np.uint32)
    counts[:, 32, 32] = RANDOM.poisson(1e5, 8)
    assert find_invalid(counts).is_nothing
    off_centre = np.roll(counts, 15, axis=2)
    assert find_invalid(off_centre).bad.sum() == 1
    expected = np.zeros((SIDE, SIDE))
    expected[32, 47] = 1.0
    assert find_invalid(off_centre, expected=expected).is_nothing


def test_frames_without_light_or_full_everywhere_tell_nothing_wrong():
    for value in (0, 2**32 - 1):
        found = find_invalid(np.full((4, SIDE, SIDE), value, np.uint32))
        assert not found.bad.any()
    assert find_invalid(np.zeros((4, SIDE, SIDE), np.uint16)).is_nothing
    assert find_invalid(np.full((4, SIDE, SIDE), np.nan)).is_nothing


def test_nothing_is_said_of_pixels_that_a_mask_has_already():
    counts = COUNTS.copy()
    counts[:, 10, 11] = 2**32 - 2
    mask = np.zeros((SIDE, SIDE), bool)
    mask[10, 11] = True
    assert find_invalid(counts, mask).notes == ()


def test_a_pixel_that_never_counts_amid_changing_light_is_dead():
    counts = RANDOM.poisson(np.linspace(100, 900, 8)[:, None, None], (8, SIDE, SIDE))
    counts[:, 32, 30] = 0
    assert np.argwhere(find_invalid(counts).bad).tolist() == [[32, 30]]


def test_one_frame_tells_whether_more_should_be_waited_for():
    assert not has_suspects(COUNTS[0])
    hot = COUNTS[0].copy()
    hot[10, 11] = 20000
    assert has_suspects(hot)
    line = COUNTS[0].copy()
    line[10] = 20000
    assert has_suspects(line)


def test_a_mask_that_looks_inverted_is_named():
    mask = np.ones((SIDE, SIDE), bool)
    mask[3, 4] = False
    assert mask_doubt(mask) == "the mask leaves 1 of 4,096 pixels; is it inverted?"
    assert mask_doubt(~mask) is None
    light = frames(0.9, 1e6, contrast=0.1).sum(0)
    radius = np.hypot(*np.mgrid[-32:32, -32:32])
    assert str(mask_doubt(radius < 28, light)).endswith("of the light; is it inverted?")
    assert mask_doubt(radius < 4, light) is None


def test_frames_to_look_at_lie_all_over_the_scan():
    assert some_frames(1).tolist() == [0]
    assert some_frames(100, 4).tolist() == [0, 33, 66, 99]


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_marks_that_were_found_are_no_data_in_any_type(dtype: type):
    counts = np.minimum(COUNTS, 900)
    np.testing.assert_array_equal(find_invalid(counts).of(counts.astype(dtype)), counts == 900)
