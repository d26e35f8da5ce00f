"""What the fine-tuning of every family of networks has to do."""

import math

import pytest


def assert_promoted(tuner, options, steps):
    """Train a candidate: it is promoted for its scores, which the active network then has."""
    first = tuner.score(tuner.active)
    for _ in range(steps):
        assert math.isfinite(tuner.step())
    verdict, active, candidate = tuner.compare()
    assert verdict == "promoted"
    assert active == first
    assert candidate.rfactor < first.rfactor * (1 - options.promote_if)
    assert tuner.score(tuner.active) == pytest.approx(candidate, rel=1e-6)
