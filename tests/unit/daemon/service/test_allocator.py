"""What Python's collector is asked to do, and to leave alone."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from daemon.service.allocator import freeze_objects, release_memory


class Ring:
    """Something that holds itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """The collector, which comes only when it is asked to."""
    gc.disable()
    yield
    gc.enable()


def test_tidying_drops_what_only_a_cycle_holds():
    seen = weakref.ref(Ring())
    assert seen() is not None
    release_memory()
    assert seen() is None


def test_what_is_there_at_the_start_is_passed_over():
    ring, held = Ring(), gc.get_freeze_count()
    freeze_objects()
    assert gc.get_freeze_count() > held
    assert not any(o is ring for o in gc.get_objects())
