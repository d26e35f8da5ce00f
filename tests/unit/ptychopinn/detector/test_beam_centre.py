"""The beam's centre from the sum of frames."""

from __future__ import annotations

import numpy as np
import pytest

from ptychopinn.detector.beam_centre import CentreFinder

SHAPE, BEAM, SIZE = (190, 230), (83, 141), 64
NO_BAD = np.zeros(SHAPE, dtype=bool)


def annulus(size: int, binning: int = 1) -> np.ndarray:
    """A zone plate's far field: a ring, brighter to one side; the beam in the middle of pixel size / 2."""
    pixel = (np.arange(size * binning) + 0.5) / binning - 0.5 - size // 2
    radius = np.hypot(*np.meshgrid(pixel, pixel, indexing="ij"))
    return ((radius < 0.3 * size) & (radius > 0.1 * size)) * (1 + pixel / size)[None, :]


class Beam:
    """Poisson frames of a beam whose speckle changes from frame to frame."""

    def __init__(self, counts: float, *, binning: int = 1, beam: tuple[int, int] = BEAM, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.clean = np.zeros(SHAPE)
        pattern = annulus(SIZE, binning)
        half = SIZE // 2 * binning + (binning - 1) // 2
        rows = np.arange(len(pattern)) + beam[0] - half
        columns = np.arange(len(pattern)) + beam[1] - half
        keep_rows, keep_columns = (rows >= 0) & (rows < SHAPE[0]), (columns >= 0) & (columns < SHAPE[1])
        self.clean[np.ix_(rows[keep_rows], columns[keep_columns])] = pattern[np.ix_(keep_rows, keep_columns)]
        self.clean *= counts / pattern.sum()

    def frame(self) -> np.ndarray:
        speckle = self.random.exponential(1.0, (SHAPE[0] // 5, SHAPE[1] // 5))
        return self.random.poisson(self.clean * (0.3 + 0.7 * np.kron(speckle, np.ones((5, 5)))))


def found(finder: CentreFinder) -> tuple[int, int]:
    centre = finder.find()
    assert centre is not None
    assert centre.method == "probe"
    return centre.center_px


@pytest.mark.parametrize("counts", [500, 1e4, 1e6])
def test_the_beam_is_found_to_the_pixel_from_bright_to_faint(counts: float):
    finder, beam = CentreFinder(SHAPE, annulus(SIZE)), Beam(counts)
    for _ in range(24):
        finder.add(beam.frame(), NO_BAD)
    assert found(finder) == BEAM


@pytest.mark.parametrize("binning", [2, 4])
def test_with_binning_the_centre_is_the_pixel_that_the_crop_takes_for_it(binning: int):
    finder = CentreFinder(SHAPE, annulus(SIZE // binning * 1), binning)
    pattern = np.kron(annulus(SIZE // binning), np.ones((binning, binning))) * 50
    frame = np.zeros(SHAPE)
    half = SIZE // 2 + (binning - 1) // 2
    frame[BEAM[0] - half :, BEAM[1] - half :][:SIZE, :SIZE] = pattern
    finder.add(frame, NO_BAD)
    assert found(finder) == BEAM


def test_hot_pixels_hot_groups_and_a_hot_row_move_nothing():
    finder, beam = CentreFinder(SHAPE, annulus(SIZE)), Beam(1e4)
    random = np.random.default_rng(1)
    hot = random.integers(0, 188, (60, 2))
    for _ in range(16):
        frame = beam.frame()
        for y, x in hot[:40]:
            frame[y, x] = 30000
        for y, x in hot[40:]:
            frame[y : y + 2, x : x + 2] = 50000
        frame[150] = 20000
        finder.add(frame, NO_BAD)
    assert found(finder) == BEAM


def test_a_beam_stop_and_a_gap_cost_pixels_and_move_nothing():
    finder, beam = CentreFinder(SHAPE, annulus(SIZE)), Beam(1e5)
    bad = NO_BAD.copy()
    bad[76:82] = True  # a gap of the module
    for _ in range(16):
        frame = beam.frame()
        frame[BEAM[0] - 9 : BEAM[0] + 9, : BEAM[1] + 9] = 0  # a stop on an arm, not in the mask
        finder.add(frame, bad)
    row, column = found(finder)
    assert abs(row - BEAM[0]) <= 1
    assert abs(column - BEAM[1]) <= 1


@pytest.mark.parametrize("beam", [(12, 141), (83, 215), (180, 8)])
def test_a_beam_at_the_frames_edge_is_found_where_it_is(beam: tuple[int, int]):
    finder, source = CentreFinder(SHAPE, annulus(SIZE)), Beam(1e6, beam=beam)
    for _ in range(8):
        finder.add(source.frame(), NO_BAD)
    assert np.abs(np.subtract(found(finder), beam)).max() <= 1


def test_darkness_with_hot_pixels_has_no_centre_and_does_not_spoil_what_follows():
    finder, beam = CentreFinder(SHAPE, annulus(SIZE)), Beam(3e3)
    random = np.random.default_rng(2)
    hot = random.integers(0, 190, (2, 80))
    for _ in range(100):
        dark = random.poisson(0.002, SHAPE)
        dark[tuple(hot)] = 40000
        finder.add(dark, NO_BAD)
    assert finder.find() is None
    for _ in range(8):
        frame = beam.frame()
        frame[tuple(hot)] = 40000
        finder.add(frame, NO_BAD)
    assert found(finder) == BEAM


def test_a_beam_unlike_the_probes_is_taken_at_its_bright_spot():
    finder = CentreFinder(SHAPE, annulus(SIZE))
    y, x = np.ogrid[: SHAPE[0], : SHAPE[1]]
    spot = 1000.0 * (np.hypot(y - 60, x - 100) < 4)
    finder.add(spot, NO_BAD)
    centre = finder.find()
    assert centre is not None
    assert centre.method == "spot"
    assert np.abs(np.subtract(centre.center_px, (60, 100))).max() <= 2


def test_a_probe_whose_pattern_is_itself_a_spike_is_not_cut_off():
    pattern = np.zeros((SIZE, SIZE))
    pattern[31:34, 31:34] = 1
    finder = CentreFinder(SHAPE, pattern)
    frame = np.zeros(SHAPE)
    frame[BEAM[0] - 1 : BEAM[0] + 2, BEAM[1] - 1 : BEAM[1] + 2] = 500
    finder.add(frame, NO_BAD)
    assert found(finder) == BEAM
