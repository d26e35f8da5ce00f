"""Finds the warnings about the stream of a scan: one sentence each, with a remedy where there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from streams.join.account import EndedBy, ScanAccount
from streams.join.scan_warnings import ScanWarning
from streams.join.source_run import SourceRun
from streams.refusal_reasons import RefusalReason

__all__ = ["warnings_about"]

_LEAST_FRAMES = 8
"""Frames from which on the ratio of samples to frames is judged; with fewer, one lost sample changes it too much."""
_LEAST_DUPLICATES = 10
_DUPLICATE_RATIO = 0.02
"""Duplicates, and their share of the frames, from which on there is a warning; a reconnecting sender repeats a few."""
_OUTSIDE_RATIO = 0.1
"""Share of frames outside the mosaic that means a wrong unit and not single outliers."""
_RATIO_TOLERANCE = 0.02
"""Relative deviation of samples per frame that is no fault: a scan may lose a few samples at its ends."""
_RATIO_TOLERANCE_OPEN = 0.1
"""The same while the source still sends: it may be ahead of the detector or behind."""
_ENDINGS: dict[EndedBy, ScanWarning] = {
    "all_there": ScanWarning.END_ALL_THERE,
    "source": ScanWarning.END_SOURCE,
    "new_scan": ScanWarning.END_NEW_SCAN,
    "crowd": ScanWarning.END_CROWD,
    "silence": ScanWarning.END_SILENCE,
}


def warnings_about(scan: ScanAccount) -> list[str]:
    """Return the warnings about a scan at this moment; none for one that went well."""
    return [sentence for check in _CHECKS for sentence in check(scan)]


def _account(scan: ScanAccount) -> Iterator[str]:
    if not scan.snapshot().adds_up:
        yield ScanWarning.ACCOUNT.text()


def _start(scan: ScanAccount) -> Iterator[str]:
    if scan.refuses_all:
        yield ScanWarning.TOO_MANY_SCANS.text()
    if scan.has_start or not scan.received:
        return
    index = scan.indexes.first
    first = f"; the first frame received was {index}, so the {index} before it are counted as missing" if index else ""
    yield ScanWarning.NO_START.text(first=first)


def _end(scan: ScanAccount) -> Iterator[str]:
    if scan.ended_by in _ENDINGS:
        yield _ENDINGS[scan.ended_by].text()


def _frames(scan: ScanAccount) -> Iterator[str]:
    if scan.duplicate >= max(_LEAST_DUPLICATES, _DUPLICATE_RATIO * scan.received):
        yield ScanWarning.DUPLICATES.text(count=scan.duplicate)
    if scan.dark:
        yield ScanWarning.DARK.text(count=scan.dark)
    expected, beyond = scan.indexes.expected, scan.indexes.beyond
    if expected and beyond > expected:
        yield ScanWarning.BEYOND_EXPECTED.text(last=beyond - 1, expected=expected)
    for reason, sentence in scan.first_refusals.items():
        first = sentence.removeprefix(f"scan {scan.scan_id}, ")
        yield ScanWarning.REFUSED.text(count=scan.refused(reason), reason=reason.words, sentence=first)


def _positions(scan: ScanAccount) -> Iterator[str]:
    positions = scan.positions
    if positions.conflicts:
        yield ScanWarning.POSITION_CONFLICTS.text(count=positions.conflicts)
    if positions.messages_refused:
        yield ScanWarning.POSITION_MESSAGES.text(count=positions.messages_refused, sentence=positions.first_refusal)
    if positions.beyond_limit:
        yield ScanWarning.POSITIONS_BEYOND.text(count=positions.beyond_limit)
    if (bad := scan.refused(RefusalReason.BAD_POSITION)) > 0:
        yield ScanWarning.BAD_POSITIONS.text(count=bad)
    if (moving := scan.refused(RefusalReason.STAGE_MOVING)) > 0:
        yield ScanWarning.STAGE_MOVING.text(count=moving)
    if (outside := scan.refused(RefusalReason.OUTSIDE_MOSAIC)) > _OUTSIDE_RATIO * scan.received:
        yield ScanWarning.OUTSIDE_MOSAIC.text(count=outside)
    if (far := scan.refused(RefusalReason.FAR_FROM_OTHERS)) > 0:
        yield ScanWarning.FAR_FRAMES.text(count=far)


def _runs(scan: ScanAccount) -> Iterator[str]:
    positions = scan.positions
    if positions.announced is not None and positions.announced.fault is not None:
        yield positions.announced.fault
    if positions.source_restarted and scan.ended_by != "new_scan":
        yield ScanWarning.SOURCE_RESTARTED.text()
    elif positions.source is not None and positions.source.fault is not None:
        yield positions.source.fault


def _samples(scan: ScanAccount) -> Iterator[str]:
    run, expected = scan.positions.source, scan.indexes.expected
    if run is None or not run.samples:
        return
    if run.samples_lost:
        yield ScanWarning.SAMPLES_LOST.text(lost=run.samples_lost, samples=run.samples)
    if scan.ended_at is not None:
        yield from _ratio(scan, run)
    elif expected:
        most = (1 + _RATIO_TOLERANCE_OPEN) * run.samples_per_frame * max(expected, _LEAST_FRAMES)
        if run.samples > most:
            yield ScanWarning.TOO_MANY_SAMPLES.text(
                samples=run.samples, frames=expected, configured=run.samples_per_frame
            )


def _ratio(scan: ScanAccount, run: SourceRun) -> Iterator[str]:
    """Compare samples and frames of a scan that has ended."""
    configured, frames, expected = run.samples_per_frame, scan.indexes.beyond, scan.indexes.expected
    is_whole = scan.ended_by in ("end", "all_there", "source") and frames >= (expected or 0)
    if frames < _LEAST_FRAMES or not is_whole:
        return
    found = run.samples / frames
    tolerance = _RATIO_TOLERANCE if run.has_ended else _RATIO_TOLERANCE_OPEN
    if abs(found / configured - 1) <= tolerance:
        return
    whole = max(1, round(found))
    numbers = {"samples": run.samples, "frames": frames, "configured": configured}
    if whole != configured and abs(found - whole) <= tolerance * whole:
        yield ScanWarning.WRONG_SAMPLES_PER_FRAME.text(found=whole, **numbers)
    elif run.has_ended and expected == frames:
        yield ScanWarning.UNEVEN_SAMPLES.text(found=found, **numbers)


def _slip(scan: ScanAccount) -> Iterator[str]:
    if scan.positions.timing.slip is not None:
        index, frames = scan.positions.timing.slip
        yield ScanWarning.LOST_TRIGGERS.text(index=index, frames=frames)


_CHECKS: tuple[Callable[[ScanAccount], Iterator[str]], ...] = (
    _account, _start, _end, _frames, _positions, _runs, _samples, _slip,
)  # fmt: skip
