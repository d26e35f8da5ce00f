"""The account of a scan's frames as it is sent."""

from typing import TYPE_CHECKING

from ptycholive_client.messages import VerdictFields

if TYPE_CHECKING:
    from streams.join.account import AccountSnapshot


def verdict_fields(verdict: "AccountSnapshot") -> VerdictFields:
    """Return an account of frames as it is sent."""
    return {
        "expected": verdict.expected,
        "received": verdict.received,
        "duplicate": verdict.duplicate,
        "missing": verdict.missing,
        "refused": {reason.value: count for reason, count in verdict.refused.items()},
        "without_position": verdict.without_position,
        "pending": verdict.pending,
        "stitched": verdict.stitched,
    }
