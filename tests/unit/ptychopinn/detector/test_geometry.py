"""Geometry against figures written out: orientations, crop, pixels without data, the object pixel of the contract."""

import numpy as np
import pytest

from ptychopinn.detector import geometry

CORNERS = {
    "identity": [[1, 2], [3, 4]],
    "fliplr": [[2, 1], [4, 3]],
    "flipud": [[3, 4], [1, 2]],
    "rot180": [[4, 3], [2, 1]],
    "transpose": [[1, 3], [2, 4]],
    "antitranspose": [[4, 2], [3, 1]],
    "rot90_cw": [[3, 1], [4, 2]],
    "rot90_ccw": [[2, 4], [1, 3]],
}


@pytest.mark.parametrize("name", geometry.ORIENTATIONS)
def test_orientations(name):
    assert geometry.orient(np.array([[1, 2], [3, 4]]), name).tolist() == CORNERS[name]


def test_crop_puts_the_beam_at_the_middle_and_refuses_to_leave_the_frame():
    frame = np.arange(100).reshape(10, 10)
    assert geometry.crop(frame, (4, 5), 4)[2, 2] == 45
    with pytest.raises(geometry.GeometryError, match="exceeds the frame"):
        geometry.crop(frame, (1, 5), 4)


def test_pixels_without_data_become_minus_one():
    counts = np.array([[0, 9], [65535, 300]], dtype=np.uint16)
    mask = np.array([[True, False], [False, False]])
    assert geometry.to_amplitude(counts, mask, 200).tolist() == [[-1, 3], [-1, -1]]


def test_object_pixel_of_the_contract():
    assert geometry.object_pixel_size_m(8800.0, 1.92, 75e-6, 128) == pytest.approx(2.8178e-8, rel=1e-4)
