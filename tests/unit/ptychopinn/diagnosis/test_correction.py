"""Corrections: turns about pixel N/2 agree between patterns, positions and pictures, and compose."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from ptychopinn.diagnosis.correction import TURNS, Correction, composed, moved, turn_matrix, turned
from ptychopinn.physics.diffraction import expected_counts


def random_patches(count: int, size: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    field = rng.normal(size=(count, size, size)) + 1j * rng.normal(size=(count, size, size))
    return field.astype(np.complex64)


@pytest.mark.parametrize("turn", TURNS)
def test_a_turned_object_under_a_turned_probe_gives_the_turned_pattern(turn: str) -> None:
    probe, patch = random_patches(2, 16)
    straight = expected_counts(torch.from_numpy(probe[None]), torch.from_numpy(patch)).numpy()
    both = (torch.from_numpy(turned(field, turn)) for field in (probe[None], patch))
    np.testing.assert_allclose(expected_counts(*both).numpy(), turned(straight, turn), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("turn", TURNS)
def test_a_position_moves_as_the_pixel_it_names(turn: str) -> None:
    size, offset = 16, np.array([3, -2])
    image = np.zeros((size, size), dtype=np.float32)
    image[tuple(offset + size // 2)] = 1.0
    found = np.argwhere(turned(image, turn) == 1.0)[0] - size // 2
    np.testing.assert_array_equal(found, turn_matrix(turn) @ offset)


def test_turns_compose_to_turns() -> None:
    image = np.arange(64.0).reshape(8, 8)
    for first, then in product(TURNS, TURNS):
        np.testing.assert_array_equal(turned(turned(image, first), then), turned(image, composed(first, then)))


def test_a_conjugate_probe_looks_as_patterns_turned_by_180_degrees() -> None:
    probe, patch = random_patches(2, 16)
    straight = expected_counts(torch.from_numpy(probe[None]), torch.from_numpy(patch)).numpy()
    conjugate = expected_counts(torch.from_numpy(probe.conj()[None]), torch.from_numpy(patch.conj())).numpy()
    np.testing.assert_allclose(conjugate, turned(straight, "rot180"), rtol=1e-3, atol=1e-3)


def test_what_comes_in_at_the_edge_is_no_data() -> None:
    pattern = np.ones((1, 6, 6), dtype=np.float32)
    out = moved(pattern, (2, -1))
    assert (out[0, :2] == -1).all()
    assert (out[0, :, -1] == -1).all()
    assert (out[0, 2:, :-1] == 1).all()


def test_one_correction_after_another_is_one_correction() -> None:
    rng = np.random.default_rng(0)
    patterns, places = rng.random((2, 16, 16)).astype(np.float32), rng.normal(size=(5, 2))
    turns = ("fliplr", "rot90_cw", "antitranspose")
    for first_turn, then_turn in product(turns, turns):
        first = Correction((1, -2), first_turn, "transpose", 1.1, is_conjugate=True)
        then = Correction((-1, 1), then_turn, "fliplr", 0.9, is_conjugate=True, counts_ratio=2.0)
        both = then.after(first)
        inner = (slice(None), slice(4, -4), slice(4, -4))  # away from the edges, where data were lost
        np.testing.assert_array_equal(both.patterns(patterns)[inner], then.patterns(first.patterns(patterns))[inner])
        np.testing.assert_allclose(both.positions(places), then.positions(first.positions(places)))
        assert not both.is_conjugate
        assert both.counts_ratio == 2.0


def test_no_correction_changes_nothing() -> None:
    assert Correction().is_nothing
    assert Correction().after(Correction()).is_nothing
    patterns = np.ones((1, 8, 8), dtype=np.float32)
    assert Correction().patterns(patterns) is patterns
