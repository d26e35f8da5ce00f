"""Each test of this folder runs with both forms of placement."""

from tests.support.placements import placement

__all__ = ["placement"]
