"""Words for what was wrong with positions."""

from __future__ import annotations

import numpy as np
import pytest

from ptychopinn.positions.kinds import error_words

SIDE = 12
ROWS, COLUMNS = (part.ravel() for part in np.divmod(np.arange(SIDE * SIDE), SIDE))
SNAKE = 8.0 * np.stack([ROWS, np.where(ROWS % 2, SIDE - 1 - COLUMNS, COLUMNS)], axis=1)
AWAY = SNAKE - SNAKE.mean(axis=0)
TIME = np.linspace(-1, 1, len(SNAKE))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (0.02 * AWAY, "positions are off by about 0.7 px: scale +1.96%"),
        (AWAY @ np.array([[0, -0.03], [0.03, 0]]), "rotation"),
        (np.stack([0.05 * AWAY[:, 1], 0 * TIME], 1), "shear"),
        (np.stack([6 * TIME**2, 3 * TIME**3], 1), "drift"),
        (np.stack([0 * TIME, 1.5 * np.where(ROWS % 2, -1.0, 1.0)], 1), "backlash 2.8 px"),
        (np.random.default_rng(0).normal(size=SNAKE.shape), "scatter 1.4 px rms"),
    ],
    ids=["scale", "rotation", "shear", "drift", "backlash", "scatter"],
)
def test_each_kind_is_named(error: np.ndarray, words: str):
    assert words in error_words(SNAKE + error, SNAKE)


def test_wild_frames_are_counted_and_exact_positions_have_no_kind():
    told = SNAKE.copy()
    told[[3, 50]] += 20.0
    assert error_words(told, SNAKE).endswith(": 2 wild frames")
    assert error_words(SNAKE, SNAKE) == "positions are off by about 0.0 px"
    assert error_words(SNAKE[:2] + np.nan, SNAKE[:2]) == "positions are off by about 0.0 px"
