"""A million damaged messages at every reader of a stream.

``PTYCHOLIVE_FUZZ_MESSAGES`` is how many, over all readers together.
"""

from __future__ import annotations

import os

import pytest

from tests.support.fuzz_run import check, fuzz
from tests.support.fuzz_tools import Target, targets

MESSAGES = int(os.environ.get("PTYCHOLIVE_FUZZ_MESSAGES", "1000000"))
TARGETS = targets()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_very_many_damaged_messages(target: Target) -> None:
    count = -(-MESSAGES // len(TARGETS))
    check(fuzz(target, count, seed=2), count)
