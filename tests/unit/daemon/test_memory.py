from __future__ import annotations

import gc
import weakref

import pytest

from daemon.memory import spare, tidy


class Ring:
    """Something that holds itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def ring() -> Ring:
    gc.disable()
    yield Ring()
    gc.enable()
    gc.unfreeze()


def test_tidying_drops_what_only_a_cycle_holds(ring: Ring):
    seen = weakref.ref(Ring())
    assert seen() is not None
    tidy()
    assert seen() is None


def test_what_is_there_at_the_start_is_passed_over(ring: Ring):
    held = gc.get_freeze_count()
    spare()
    assert gc.get_freeze_count() > held
    assert not any(o is ring for o in gc.get_objects())
