"""What was noticed about a scan, in words for a tired person: one sentence each, with what to do where there is something."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from streams.join.account import EndedBy, ScanAccount
from streams.join.source_run import SourceRun
from streams.refusal_reasons import RefusalReason

__all__ = ["findings"]

_LEAST_FRAMES = 8
_LEAST_DUPLICATES = 10
_DUPLICATE_RATIO = 0.02
_OUTSIDE_RATIO = 0.1
_RATIO_TOLERANCE = 0.02
_RATIO_TOLERANCE_OPEN = 0.1
_ENDINGS: dict[EndedBy, str] = {
    "all_there": "all its frames came, but its end message did not",
    "source": "the run or its position source has ended and no more frames came; the detector's end message was lost",
    "new_scan": "a new scan began before its end: the detector was restarted or armed anew, or its end message was lost",
    "crowd": "too many scans were open at once, so it was closed; check what else sends to this endpoint",
    "silence": "frames stopped and no end message came: the detector was stopped, or its end message was lost",
}


def findings(scan: ScanAccount) -> list[str]:
    """Return the findings of a scan as it stands; none for one that went well."""
    return [sentence for look in _LOOKS for sentence in look(scan)]


def _start(scan: ScanAccount) -> Iterator[str]:
    if scan.refuses_all:
        yield "scans open faster than any of them gives a picture; check what sends to the frame stream"
    if scan.has_start or not scan.received:
        return
    late = f"; the first frame heard was {scan.indexes.first}" if scan.indexes.first else ""
    yield f"its start message was not heard{late}: this program or the network came late, or the header was lost"


def _end(scan: ScanAccount) -> Iterator[str]:
    if scan.ended_by in _ENDINGS:
        yield _ENDINGS[scan.ended_by]


def _frames(scan: ScanAccount) -> Iterator[str]:
    if scan.duplicate >= max(_LEAST_DUPLICATES, _DUPLICATE_RATIO * scan.received):
        yield f"{scan.duplicate} frames came twice; check that only one sender feeds the frame stream"
    if scan.dark:
        yield f"{scan.dark} frames are dark, without a single count: the shutter was closed or the beam off"
    if scan.indexes.expected and scan.indexes.beyond > scan.indexes.expected:
        yield f"frames up to {scan.indexes.beyond - 1} came where {scan.indexes.expected} were announced"
    for reason, words in scan.first_refusals.items():
        first = words.removeprefix(f"scan {scan.scan_id}, ")
        yield f"{scan.refused(reason)} frames were refused ({reason.words}); the first: {first}"


def _positions(scan: ScanAccount) -> Iterator[str]:
    if scan.positions.conflicts:
        yield (
            f"{scan.positions.conflicts} positions came again with other values; check that only one position source "
            "sends"
        )
    if scan.positions.messages_refused:
        yield f"{scan.positions.messages_refused} position messages were refused; the first: {scan.positions.first_refusal}"
    if scan.positions.beyond_limit:
        yield f"{scan.positions.beyond_limit} positions are beyond what is kept for a scan; check the source's numbers"
    if (bad := scan.refused(RefusalReason.BAD_POSITION)) > 0:
        yield f"{bad} frames have a position that is no number, or farther away than any stage moves"
    if (outside := scan.refused(RefusalReason.OUTSIDE_MOSAIC)) > _OUTSIDE_RATIO * scan.received:
        yield f"{outside} frames lie too far from the others for one picture; check [positions] unit and scale"
    if (far := scan.refused(RefusalReason.FAR_FROM_OTHERS)) > 0:
        words = "1 frame lies far from all others" if far == 1 else f"{far} frames lie far from all others"
        yield f"{words}: left out of the picture; see whether an encoder slips"
    if scan.positions.announced is not None and scan.positions.announced.fault is not None:
        yield scan.positions.announced.fault
    if scan.positions.source_restarted and scan.ended_by != "new_scan":
        yield "the position source began anew in mid-scan; frames after that have no position"
    elif scan.positions.source is not None and scan.positions.source.fault is not None:
        yield scan.positions.source.fault


def _samples(scan: ScanAccount) -> Iterator[str]:
    run = scan.positions.source
    if run is None or not run.samples:
        return
    if run.samples_lost:
        yield f"{run.samples_lost} of {run.samples} position samples never came; their frames have no position"
    if scan.ended_at is None:
        if scan.indexes.expected and run.samples > 1.1 * run.samples_per_frame * max(
            scan.indexes.expected, _LEAST_FRAMES
        ):
            yield _too_many(run, scan.indexes.expected)
    else:
        yield from _ratio(scan, run)


def _too_many(run: SourceRun, expected: int) -> str:
    return (
        f"{run.samples} position samples have come for {expected} frames, but [positions] samples_per_frame is "
        f"{run.samples_per_frame}; correct it"
    )


def _ratio(scan: ScanAccount, run: SourceRun) -> Iterator[str]:
    """Compare samples and frames of a scan that has ended."""
    configured, frames = run.samples_per_frame, scan.indexes.beyond
    is_whole = scan.ended_by in ("end", "all_there", "source") and frames >= (scan.indexes.expected or 0)
    if frames < _LEAST_FRAMES or not is_whole:
        return
    found = run.samples / frames
    tolerance = _RATIO_TOLERANCE if run.has_ended else _RATIO_TOLERANCE_OPEN
    if abs(found / configured - 1) <= tolerance:
        return
    whole = max(1, round(found))
    words = f"{run.samples} position samples came for {frames} frames"
    if whole != configured and abs(found - whole) <= tolerance * whole:
        yield f"{words}, so {whole} a frame, but [positions] samples_per_frame is {configured}; set it to {whole}"
    elif run.has_ended and scan.indexes.expected == frames:
        yield f"{words}, {found:.2f} a frame where [positions] samples_per_frame is {configured}; check the trigger"


def _slip(scan: ScanAccount) -> Iterator[str]:
    if scan.positions.timing.slip is not None:
        index, frames = scan.positions.timing.slip
        yield (
            f"from about frame {index} on, frames and positions are {frames:+d} frames apart by their clocks; triggers "
            "were lost"
        )


_LOOKS: tuple[Callable[[ScanAccount], Iterator[str]], ...] = (_start, _end, _frames, _positions, _samples, _slip)
