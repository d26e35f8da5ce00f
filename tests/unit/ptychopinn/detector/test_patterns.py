"""From raw frames to patterns."""

from __future__ import annotations

import numpy as np
import pytest

from ptychopinn.detector.geometry import ORIENTATIONS, orient, to_amplitude
from ptychopinn.detector.patterns import Crop, PatternMaker, as_pattern_dtype, binned, is_dark, is_no_data, no_data
from ptychopinn.errors import GeometryError

RANDOM = np.random.default_rng(0)
FRAME = RANDOM.integers(0, 1000, (40, 50)).astype(np.uint16)


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_the_crop_of_a_turned_frame_lies_around_the_beam(name: str):
    turned = orient(FRAME, name)
    make = PatternMaker(turned.shape, Crop((20, 22), 16), name)
    pattern = make(FRAME)
    np.testing.assert_array_equal(pattern, turned[12:28, 14:30])
    assert pattern.flags.c_contiguous
    assert pattern.dtype == np.uint16


def test_a_crop_does_not_keep_the_frame_in_memory():
    wide = np.zeros((64, 16), dtype=np.uint16)
    assert PatternMaker(wide.shape, Crop((32, 8), 16))(wide).base is None
    whole = np.zeros((16, 16), dtype=np.uint16)
    assert PatternMaker(whole.shape, Crop((8, 8), 16))(whole).base is whole


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8", ">u2", ">f4"])
@pytest.mark.parametrize("saturation", [100.0, None])
def test_mask_saturation_and_the_two_greatest_values_are_no_data_in_every_dtype(dtype: str, saturation: float | None):
    kind = np.dtype(dtype)
    frame = np.full((16, 16), 5, dtype=kind)
    frame[2, 3] = 101  # above saturation
    frame[2, 4] = 100
    frame[5, 6:8] = [np.nan, np.inf] if kind.kind == "f" else [np.iinfo(kind).max, np.iinfo(kind).max - 1]
    expected = np.zeros((16, 16), dtype=bool)
    expected[[5, 5, 8], [6, 7, 9]] = True
    expected[2, 3] = saturation is not None
    if kind.kind != "u":
        frame[7, 7] = -1
        expected[7, 7] = True
    mask = np.zeros((16, 16), dtype=bool)
    mask[8, 9] = True
    pattern = PatternMaker((16, 16), Crop((8, 8), 16), masks=[mask], saturation=saturation)(frame)
    assert pattern.dtype in (np.uint8, np.uint16, np.uint32, np.float32)
    assert pattern.dtype.itemsize <= max(kind.itemsize, 1)
    np.testing.assert_array_equal(is_no_data(pattern), expected)
    np.testing.assert_array_equal(to_amplitude(pattern) == -1, expected)
    assert to_amplitude(pattern)[2, 4] == 10


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_a_pattern_is_dark_whatever_its_bad_pixels_say(dtype: type):
    pattern = np.zeros((16, 16), dtype=dtype)
    pattern[3, 3] = no_data(pattern.dtype)
    pattern[8, 8] = np.nan if pattern.dtype.kind == "f" else no_data(pattern.dtype) - 1
    assert is_dark(pattern)
    pattern[5, 5] = 1
    assert not is_dark(pattern)


def test_counts_beyond_uint32_are_no_data_not_wrapped():
    counts = np.array([[2**32 + 7, 3]], dtype=np.uint64)
    assert is_no_data(as_pattern_dtype(counts)).tolist() == [[True, False]]
    assert as_pattern_dtype(counts)[0, 1] == 3


def test_masks_of_frame_and_pattern_are_joined_and_another_is_refused():
    of_frame, of_pattern = np.zeros((40, 50), dtype=bool), np.zeros((16, 16), dtype=bool)
    of_frame[20, 25], of_pattern[0, 0] = True, True
    pattern = PatternMaker((40, 50), Crop((20, 25), 16), masks=[of_frame, of_pattern])(FRAME)
    assert np.argwhere(is_no_data(pattern)).tolist() == [[0, 0], [8, 8]]
    with pytest.raises(GeometryError, match="fits neither"):
        PatternMaker((40, 50), Crop((20, 25), 16), masks=[np.zeros((3, 3), dtype=bool)])


def test_the_flat_field_multiplies_and_marks_pixels_without_a_factor():
    flat = np.full((40, 50), 1.5)
    flat[20, 25], flat[20, 26], flat[20, 27] = 0, np.nan, -1
    pattern = PatternMaker((40, 50), Crop((20, 25), 16), flatfield=flat, saturation=900.0)(FRAME)
    assert pattern.dtype == np.float32
    raw = FRAME[12:28, 17:33]
    bad = raw > 900
    bad[8, 8:11] = True
    np.testing.assert_array_equal(is_no_data(pattern), bad)
    np.testing.assert_allclose(pattern[~bad], 1.5 * raw[~bad])


@pytest.mark.parametrize("binning", [1, 2, 4])
@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "f4"])
def test_binned_pixels_are_sums_and_the_beam_stays_in_the_middle_one(binning: int, dtype: str):
    frame = RANDOM.integers(0, 200, (80, 90)).astype(dtype)
    make = PatternMaker((80, 90), Crop((41, 47), 8, binning))
    pattern = make(frame)
    assert pattern.shape == (8, 8)
    parts = frame.astype(np.int64)
    top, left = 41 - 4 * binning - (binning - 1) // 2, 47 - 4 * binning - (binning - 1) // 2
    side = 8 * binning
    expected = parts[top : top + side, left : left + side].reshape(8, binning, 8, binning).sum((1, 3))
    np.testing.assert_array_equal(pattern, expected)
    beam = np.zeros((80, 90), dtype=dtype)
    beam[41, 47] = 9
    assert np.argwhere(make(beam)).tolist() == [[4, 4]]


def test_one_bad_pixel_makes_its_binned_pixel_bad_and_large_sums_do_not_wrap():
    counts = np.full((4, 4), 60000, dtype=np.uint16)
    counts[0, 1] = 65535
    assert binned(counts, 2).tolist() == [[2**32 - 1, 240000], [240000, 240000]]
    large = np.full((2, 2), 2**32 - 2, dtype=np.uint32)
    assert is_no_data(binned(large, 2)).all()


def test_what_lies_outside_the_frame_is_no_data_and_most_of_it_is_refused():
    make = PatternMaker((40, 50), Crop((5, 46), 16))
    pattern = make(FRAME)
    assert make.is_clipped
    bad = np.zeros((16, 16), dtype=bool)
    bad[:3], bad[:, 12:] = True, True
    np.testing.assert_array_equal(is_no_data(pattern), bad | (pattern == 65535))
    np.testing.assert_array_equal(pattern[3:, :12], FRAME[:13, 38:50])
    with pytest.raises(GeometryError, match="set \\[detector\\] center_px"):
        PatternMaker((40, 50), Crop((-30, 48), 16))(FRAME)
    with pytest.raises(GeometryError, match="the frames of the scan are"):
        make(FRAME.T)
