"""Each fault that live streams have, through a real daemon: what becomes of the frames, what it says, and that the next
scan is perfect without a restart. The names of the rows are those of the table in ``deploy/docs/how-to/positions.md``.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bitshuffle
import numpy as np
import pytest

from streams.compression import HEADER
from streams.join.scan_warnings import ScanWarning
from tests.support.daemon_tools import adds_up
from tests.support.stream_rig import CODEC, COUNTS, FRAMES, Message, Rig, end, images, run, running_rig, start, whole


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with running_rig(tmp_path_factory.mktemp("faults")) as made:
        yield made


@dataclass
class Expected:
    """What becomes of a scan: account (parts of it), result, words in its notes."""

    verdict: dict[str, Any]
    result: str = "complete"
    notes: tuple[str, ...] = ()
    name: str | None = None
    rfactor_below: float | None = None


@dataclass
class Row:
    """What is sent in one scan; ``then`` is sent once the first part's ``stitched`` frames are in the picture."""

    frames: list[Message]
    positions: list[bytes]
    expected: list[Expected]
    stitched: int = 0
    then: Callable[[Rig], None] = field(default=lambda rig: None)


def dropped_frame(series: int) -> Row:
    frames = whole(series)
    del frames[6]
    return Row(frames, run(), [Expected({"missing": 1, "stitched": 23}, "incomplete")])


def duplicate(series: int) -> Row:
    frames = whole(series)
    frames.insert(9, frames[6])
    return Row(frames, run(), [Expected({"duplicate": 1, "stitched": 24})])


def out_of_order(series: int) -> Row:
    frames = images(series)
    random.Random(1).shuffle(frames)
    return Row([start(series), *frames, end(series)], run(), [Expected({"duplicate": 0, "stitched": 24})])


def late_positions(series: int) -> Row:
    def then(rig: Rig) -> None:
        rig.status(lambda status: status["waiting_for_positions"] == FRAMES)
        rig.send([end(series)], run())

    return Row(whole(series)[:-1], [], [Expected({"stitched": 24, "without_position": 0})], then=then)


def lost_panda_message(series: int) -> Row:
    positions = run()
    del positions[2]
    notes = (ScanWarning.SAMPLES_LOST.text(lost=10, samples=48),)
    return Row(whole(series), positions, [Expected({"stitched": 19, "without_position": 5}, "incomplete", notes)])


def position_source_restart(series: int) -> Row:
    def then(rig: Rig) -> None:
        rig.send([], run(shift=3.0))
        rig.send([*images(series)[10:], end(series)])

    notes = (ScanWarning.SOURCE_RESTARTED.text(),)
    expected = Expected({"stitched": 10, "without_position": 14}, "incomplete", notes)
    return Row([start(series), *images(series)[:10]], run()[:3], [expected], stitched=10, then=then)


def receiver_starts_late(series: int) -> Row:
    notes = (
        ScanWarning.NO_START.text(
            first="; the first frame received was 10, so the 10 before it are counted as missing"
        ),
        ScanWarning.SAMPLES_LOST.text(lost=20, samples=48),
    )
    expected = Expected({"expected": None, "stitched": 14, "missing": 10}, "incomplete", notes)
    return Row(whole(series)[11:], run()[3:], [expected])


def header_lost(series: int) -> Row:
    notes = (ScanWarning.NO_START.text(first=""),)
    return Row(whole(series)[1:], run(), [Expected({"stitched": 24, "missing": 0}, "complete", notes)])


def series_change_mid_scan(series: int) -> Row:
    def then(rig: Rig) -> None:
        rig.send(whole(rig.next_series()), run())

    notes = (ScanWarning.END_NEW_SCAN.text(),)
    old = Expected({"stitched": 10, "missing": 14}, "incomplete", notes)
    frames = [start(series), *images(series)[:10]]
    return Row(frames, run()[:4], [Expected({"stitched": 24}, name="next"), old], stitched=10, then=then)


def end_lost(series: int) -> Row:
    notes = (ScanWarning.END_ALL_THERE.text(),)
    return Row(whole(series)[:-1], run(), [Expected({"stitched": 24}, "complete", notes)])


def end_early(series: int) -> Row:
    def then(rig: Rig) -> None:
        rig.status(lambda status: status["waiting_for_positions"] == FRAMES)
        rig.send([], run())

    frames = whole(series)
    frames.insert(20, frames.pop())
    return Row(frames, [], [Expected({"stitched": 24, "refused": {}})], then=then)


def more_frames_than_planned(series: int) -> Row:
    frames = [start(series, 20), *images(series), end(series)]
    notes = (ScanWarning.BEYOND_EXPECTED.text(last=23, expected=20),)
    return Row(frames, run(), [Expected({"expected": 20, "stitched": 24}, "complete", notes)])


def same_series_number_reused(series: int) -> Row:
    def then(rig: Rig) -> None:
        rig.send(whole(series), run())

    again = Expected({"stitched": 24}, name=f"{series}-2")
    return Row(whole(series), run(), [Expected({"stitched": 24}), again], stitched=24, then=then)


def parts_lost_by_a_proxy(series: int) -> Row:
    parts = [[part] for message in whole(series) for part in message]
    blobs = [k for k, part in enumerate(parts) if part[0][:1] != b"{"]
    del parts[blobs[7]]
    expected = Expected(
        {"stitched": 23, "refused": {"incomplete": 1}}, "incomplete", ("1 frames were refused (incomplete); the first",)
    )
    return Row(parts, run(), [expected])


def shape_change_within_series(series: int) -> Row:
    frames = whole(series)
    frames[6] = CODEC.encode_frame(str(series), 5, COUNTS[5][:120, :120])
    notes = ("1 frames were refused (shape); the first: frame 5 is 120 x 120 uint16, but the scan's frames are 128",)
    return Row(frames, run(), [Expected({"stitched": 23, "refused": {"shape": 1}}, "incomplete", notes)])


def corrupted_bytes(series: int) -> Row:
    frames = whole(series)
    head, about, blob, config = frames[6]
    frames[6] = [head, about, bytes([blob[0] ^ 1]) + blob[1:], config]
    notes = ("1 frames were refused (corrupt); the first: frame 5: bslz4 header announces",)
    return Row(frames, run(), [Expected({"stitched": 23, "refused": {"corrupt": 1}}, "incomplete", notes)])


def wrong_element_size(series: int) -> Row:
    """The bit-shuffle's element need not be the pixel's: what the label says is right."""
    frames = whole(series)
    for k in range(FRAMES):
        head, about, _, config = frames[1 + k]
        counts = COUNTS[k]
        body = bitshuffle.compress_lz4(counts.reshape(-1).view(np.uint32), 2048)
        about = about.replace(b"bs16-lz4<", b"bs32-lz4<")
        frames[1 + k] = [head, about, HEADER.pack(counts.nbytes, 8192) + bytes(body), config]
    return Row(frames, run(), [Expected({"stitched": 24, "refused": {}}, rfactor_below=0.3)])


def masked_dead_saturated(series: int) -> Row:
    def spoil(counts: np.ndarray) -> np.ndarray:
        counts[40:44, 50:60] = 65535
        return counts

    frames = [start(series), *images(series, change=spoil), end(series)]
    notes = (
        "40 pixels (row 40, column 50: 65535; row 40, column 51: 65535; row 40, column 52: 65535, and 37 more) marked",
    )
    return Row(frames, run(), [Expected({"stitched": 24}, "complete", notes, rfactor_below=0.3)])


def all_zero_frames(series: int) -> Row:
    frames = whole(series)
    for k in (3, 4):
        frames[1 + k] = CODEC.encode_frame(str(series), k, np.zeros_like(COUNTS[k]))
    notes = (ScanWarning.DARK.text(count=2),)
    return Row(frames, run(), [Expected({"stitched": 24}, "complete", notes)])


ROWS = [
    dropped_frame,
    duplicate,
    out_of_order,
    late_positions,
    lost_panda_message,
    position_source_restart,
    receiver_starts_late,
    header_lost,
    series_change_mid_scan,
    end_lost,
    end_early,
    more_frames_than_planned,
    same_series_number_reused,
    parts_lost_by_a_proxy,
    shape_change_within_series,
    corrupted_bytes,
    wrong_element_size,
    masked_dead_saturated,
    all_zero_frames,
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.__name__)
def test_row(rig: Rig, row: Callable[[int], Row]) -> None:
    series = rig.next_series()
    case = row(series)
    rig.send(case.frames, case.positions)
    if case.stitched:
        rig.stitched(series, case.stitched)
    case.then(rig)
    for expected in case.expected:
        name = expected.name or str(series)
        header = rig.ended(str(rig.series) if name == "next" else name)
        verdict = header["verdict"]
        assert {key: verdict[key] for key in expected.verdict} == expected.verdict
        assert adds_up(verdict)
        assert verdict["pending"] == 0
        assert header["result"] == expected.result
        assert len(header["notes"]) == len(expected.notes), header["notes"]
        for note in expected.notes:
            assert any(note in said for said in header["notes"]), header["notes"]
        if expected.rfactor_below is not None:
            assert header["rfactors"]["network"] < expected.rfactor_below
        for note in expected.notes:
            rig.says(note)
    rig.clean_scan()


def test_row_slow_consumer(tmp_path: Path) -> None:
    """Full queues hold the sender back; nothing is lost."""
    with running_rig(tmp_path, "limits.queue_bytes=40000", "model.batch_frames=1", "positions.timeout_s=30") as rig:
        rig.send(whole(7, 200), run(200))
        header = rig.ended("7")
    assert header["result"] == "complete"
    assert header["verdict"]["stitched"] == 200


def test_records_keep_what_was_said(rig: Rig) -> None:
    series = rig.next_series()
    rig.send(whole(series)[1:], run())
    header = rig.ended(str(series))
    path = Path(rig.daemon.scans.records.folder(str(series))) / "scan.json"
    assert json.loads(path.read_text())["notes"] == header["notes"]
    assert header["notes"][0] == ScanWarning.NO_START.text(first="")
