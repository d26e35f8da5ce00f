"""The set of indexes agrees with Python's own."""

from __future__ import annotations

import random

from streams.join.index_tables import IndexSet


def test_indexes_removed_together_are_those_that_were_there() -> None:
    drawn = random.Random(0)
    ours, plain = IndexSet(), set[int]()
    for _ in range(40):
        some = [drawn.randrange(5000) for _ in range(100)]
        for index in some:
            assert ours.add(index) is (index not in plain)
            plain.add(index)
        gone = [drawn.randrange(5000) for _ in range(80)] * 2  # each twice
        assert ours.discard_all(gone) == len(plain & set(gone))
        plain -= set(gone)
        assert len(ours) == len(plain)
        assert all((index in ours) is (index in plain) for index in range(0, 5000, 7))
    assert ours.discard_all(range(5000)) == len(plain)
    assert not len(ours)
    assert ours._words == {}
