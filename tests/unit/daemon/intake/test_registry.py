"""The registry of scans: one rule of opening, and ends that leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from daemon.intake.admission import Admission, Entry, PackedFrame, SentPositions
from daemon.intake.engine_scans import RegisteredScans
from daemon.intake.preprocess import Prepared
from daemon.intake.registry import ScanRegistry
from daemon.intake.replay import Replay, close_recorded
from daemon.intake.scan import Scan
from daemon.journal import Journal, Keeper, ScanNames, pack
from daemon.messages import verdict_fields
from daemon.metrics import Metrics
from daemon.results.disk import ResultDisk
from daemon.results.records import RecordFiles
from streams.errors import CodecError
from streams.frame import Frame, Position, PositionM, PositionNews, ScanEnd, ScanPoint, ScanStart
from streams.refusal_reasons import RefusalReason
from tests.support.registry_tools import SIDE_PX, TIMEOUT_S, Clock, make_preprocess, make_registry

COUNTS = np.ones((SIDE_PX, SIDE_PX), dtype=np.uint16)
WHERE = PositionM(0.0, 0.0)


class Chain:
    """A registry that is fed as the intake feeds it; its engine stitches each frame at once."""

    def __init__(self, folder: Path, clock: Clock | None = None, *, has_journal: bool = False, **options: int) -> None:
        self.clock = clock or Clock()
        self.journal = Journal(folder / "journal", 1 << 30) if has_journal else None
        keeper = None if self.journal is None else Keeper(self.journal, ScanNames(folder, self.journal.folder), 10.0)
        if self.journal is not None:
            self.journal.folder.mkdir(exist_ok=True)
            self.journal.start()
        self.scans, self.told = make_registry(folder, keeper, self.clock, **options)
        self.admission = Admission(self.scans, SentPositions(), Metrics(), self._stitch)

    def _stitch(self, points: list[ScanPoint]) -> None:
        for point in points:
            self.scans.mark_stitched(point.scan_id, [point.index])

    def take(self, *entries: Entry) -> None:
        self.admission.take(entries)

    def send(self, wire_id: str, frames: int = 2) -> None:
        """Send a whole scan: start, frames, end."""
        self.take(ScanStart(wire_id, frames), *(frame(wire_id, i) for i in range(frames)), ScanEnd(wire_id))

    def tick(self) -> None:
        with self.scans.lock:
            self.scans.end_silent()
            self.scans.hand_on_finished()
        self.admission.flush()

    def close_all(self) -> None:
        """Close what is complete, as the writer of products does."""
        for scan in self.told.complete:
            state = self.scans.finish(scan, is_stopping=False)
            self.scans.close(scan, state=state, ended="now", verdict=verdict_fields(self.scans.verdict(scan.id)))
            self.scans.put_away(scan)
        self.told.complete.clear()


def frame(wire_id: str, index: int) -> PackedFrame:
    counted = Frame(wire_id, index, COUNTS, 0, WHERE)
    return PackedFrame(counted, pack(COUNTS))


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return Chain(tmp_path)


OPENERS: list[Entry] = [
    ScanStart("s"),
    frame("s", 0),
    frame("s", 0).frame,
    CodecError(RefusalReason.SHAPE, "a frame that cannot be read", "s", 0),
    Prepared("s", (2, 2), "configuration"),
]


@pytest.mark.parametrize("opener", OPENERS, ids=lambda entry: type(entry).__name__)
@pytest.mark.parametrize("has_journal", [False, True], ids=["no journal", "journal"])
def test_whatever_comes_first_opens_a_scan_once(tmp_path: Path, opener: Entry, has_journal: bool) -> None:
    chain = Chain(tmp_path, has_journal=has_journal)
    chain.take(opener, *OPENERS[1:])
    assert chain.told.started == ["s"]
    assert chain.scans.running() == ["s"]
    if chain.journal is not None:
        chain.journal.stop()
        assert (chain.journal.folder / "s").is_dir()


def test_what_names_no_frame_opens_nothing(chain: Chain) -> None:
    chain.take([Position("s", 0, WHERE)], PositionNews(), ScanEnd("s"), CodecError(RefusalReason.MALFORMED, "no scan"))
    assert (chain.told.started, chain.scans.newest) == ([], None)


def by_end(chain: Chain, wire_id: str) -> None:
    chain.take(ScanEnd(wire_id))


def by_silence(chain: Chain, _wire_id: str) -> None:
    chain.clock.now_s += TIMEOUT_S + 1


def by_operator(chain: Chain, wire_id: str) -> None:
    assert chain.scans.stop(wire_id)


def by_new_scan(chain: Chain, wire_id: str) -> None:
    chain.send(wire_id)


ENDS = [by_end, by_silence, by_operator, by_new_scan]


@pytest.mark.parametrize("end", ENDS)
def test_each_end_of_a_scan_closes_it_and_leaves_nothing_open(
    tmp_path: Path, end: Callable[[Chain, str], None]
) -> None:
    chain = Chain(tmp_path, has_journal=True)
    chain.take(ScanStart("s", 3), frame("s", 0))
    end(chain, "s")
    chain.tick()
    assert chain.told.complete[0].id == "s"
    chain.close_all()
    scan = chain.scans.get("s")
    assert scan is not None
    assert scan.record.state == ("stopped" if end is by_operator else "incomplete")
    assert scan.verdict is not None
    assert chain.scans.running() == []
    assert not chain.scans.stop("s")
    assert chain.journal is not None
    chain.journal.stop()
    assert chain.journal.unfinished() == []
    assert [scan.id for scan in held(chain.scans)] == []


def held(scans: ScanRegistry) -> list[Scan]:
    """Return the scans that hold more than their record and their small facts."""
    known = [scan for name in scans.listing() if (scan := scans.get(name["id"])) is not None]
    return [scan for scan in known if scan.is_open or scan.runs or scan.is_running]


def test_late_frames_of_a_closed_scan_are_in_its_account_and_open_none(chain: Chain) -> None:
    chain.send("s")
    chain.tick()
    chain.take(frame("s", 1), Prepared("s", (1, 1), "middle", ("a note",)))
    assert chain.told.started == ["s"]
    chain.close_all()
    record = chain.scans.get("s")
    assert record is not None
    chain.take(frame("s", 1), Prepared("s", (3, 3), "middle", ("another note",)))
    assert record.record.center_px == (1, 1)  # a closed scan's record is its own
    assert chain.told.started == ["s"]


def test_scans_beyond_the_number_that_is_kept_are_forgotten_but_for_running_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.intake.registry.KEPT_RECORDS", 10)
    chain = Chain(tmp_path)
    chain.take(ScanStart("long", 1000))
    for number in range(100):
        chain.clock.now_s += 1.0
        chain.take(frame("long", number))
        chain.send(f"s{number}")
        chain.tick()
        chain.close_all()
    names = [record["id"] for record in chain.scans.listing()]
    assert names == [*(f"s{number}" for number in range(99, 89, -1)), "long"]
    assert chain.scans.running() == ["long"]


def test_a_scan_goes_on_from_the_journal_and_is_closed_at_its_end(tmp_path: Path) -> None:
    first = Chain(tmp_path, has_journal=True)
    first.take(ScanStart("s", 4), Prepared("s", (1, 2), "probe"), *(frame("s", i) for i in range(2)))
    assert first.journal is not None
    first.journal.stop()
    again = Chain(tmp_path, has_journal=True)
    assert again.journal is not None
    close_recorded(again.journal, again.scans)
    rounds = []
    assert again.scans.keeper is not None
    replay = Replay(again.scans, again.scans.keeper, make_preprocess(), again.admission)
    replay.play_all(lambda: rounds.append(1))
    scan = again.scans.get("s")
    assert scan is not None
    assert (scan.record.center_px, scan.is_open, again.told.started) == ((1, 2), True, ["s"])
    again.take(Prepared("s", (0, 0), "middle"), *(frame("s", i) for i in range(1, 4)), ScanEnd("s"))
    again.tick()
    again.close_all()
    assert (scan.record.state, scan.record.center_px) == ("complete", (1, 2))
    assert scan.record.verdict is not None
    assert (scan.record.verdict["received"], scan.record.verdict["duplicate"]) == (5, 1)
    again.journal.stop()
    third = Chain(tmp_path, has_journal=True)
    assert third.journal is not None
    assert third.journal.unfinished() == []
    assert [record["state"] for record in third.scans.listing()] == ["complete"]
    third.journal.stop()


def test_a_scan_whose_record_the_disk_refuses_is_not_put_away(tmp_path: Path) -> None:
    faults = [OSError(28, "No space left on device")]

    def write(path: Path, content: bytes) -> None:
        if faults:
            raise faults[0]
        path.write_bytes(content)

    chain = Chain(tmp_path, has_journal=True)
    chain.scans.records = RecordFiles(tmp_path, ResultDisk(write_record=write))
    chain.send("s")
    chain.tick()
    chain.close_all()
    assert chain.journal is not None
    assert "the record of scan s is not written" in (chain.scans.records.failure or "")
    assert not (chain.journal.folder / "s" / "closed").exists()
    faults.clear()
    chain.scans.write_records()
    assert chain.scans.records.failure is None
    assert chain.scans.put_away(chain.scans.get("s"))
    chain.journal.stop()
    assert (chain.journal.folder / "s" / "closed").exists()


class HastyClock(Clock):
    """A twentieth of a second passes between any two looks, so that room for one more scan comes while a frame is entered."""

    def __call__(self) -> float:
        self.now_s += 0.05
        return self.now_s


def test_frames_of_too_many_scans_are_refused_and_never_open_a_scan_that_nobody_ends(tmp_path: Path) -> None:
    chain = Chain(tmp_path, HastyClock(), max_new_scans=1)
    for number in range(40):
        chain.take(
            Frame(f"s{number}", 0, COUNTS, 0),
            CodecError(RefusalReason.SHAPE, "a frame that cannot be read", f"s{number}", 1),
        )
    flood = chain.scans.get("too-many-scans")
    assert flood is not None
    known = {record["id"] for record in chain.scans.listing()}
    assert set(chain.scans.join.open_scans) <= known
    received = [chain.scans.verdict(name).received for name in known]
    assert sum(received) == 80
    assert set(chain.scans.verdict("too-many-scans").refused) == {"scan_flood"}


def test_the_engine_finds_its_part_of_a_scan_until_it_closes_it(tmp_path: Path) -> None:
    chain = Chain(tmp_path)
    engine_scans = RegisteredScans[None](chain.scans)
    assert engine_scans.get("s") is None
    chain.send("s")
    part = engine_scans.open("s")
    assert engine_scans.get("s") is part
    engine_scans.close("s")
    assert engine_scans.get("s") is None
    with pytest.raises(KeyError):
        engine_scans.open("s")


def test_the_account_goes_with_the_record_and_its_figures_stay(tmp_path: Path) -> None:
    chain = Chain(tmp_path)
    chain.send("s")
    chain.tick()
    before = chain.scans.verdict("s")
    chain.close_all()
    scan = chain.scans.get("s")
    assert scan is not None
    assert scan.account is None
    assert chain.scans.verdict("s") == before
    assert (chain.scans.overtaken("s"), chain.scans.light("s", 0)) == (0, None)
    chain.scans.mark_stitched("s", [0])  # late words of the engine change nothing
    chain.scans.refuse("s", 0, RefusalReason.ENGINE_ERROR)
    assert chain.scans.verdict("s") == before
