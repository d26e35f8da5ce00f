"""The account of one scan: the outcome of each frame message that was received for it.

At every moment

    received = stitched + duplicate + refused + without_position + pending

Only the methods of :class:`ScanAccount` change the account, and each of them keeps this sum:

- a message is received as a duplicate, as refused, or as a frame that is pending from then on;
- a pending frame then becomes stitched, refused, or without position.

A pending frame waits for its position, is held back because it lies far from all others, or is in flight: handed on as
a scan point and not yet reported stitched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from streams.frame import MOVING, Frame, PositionM
from streams.join.far_frames import FarFrames
from streams.join.index_tables import IndexSet
from streams.join.scan_positions import ScanPositions
from streams.join.seen_indexes import SeenIndexes
from streams.refusal_reasons import RefusalReason

__all__ = ["AccountSnapshot", "EndedBy", "ScanAccount", "WaitingFrame"]

EndedBy = Literal["end", "all_there", "source", "new_scan", "crowd", "silence", "operator"]
"""Why a scan was closed: its end message; all frames there, or the end of the position source, and then silence; a newer
scan; too many open at once; silence alone; an operator."""


@dataclass(frozen=True, slots=True)
class AccountSnapshot:
    """The account of a scan at one moment, in messages; ``missing`` counts indexes that never came.

    If ``expected`` is known, ``missing`` counts the unseen indexes below it; otherwise the gaps below the highest index.
    """

    expected: int | None
    received: int
    duplicate: int
    missing: int
    refused: dict[RefusalReason, int]
    without_position: int
    pending: int
    stitched: int

    @property
    def adds_up(self) -> bool:
        """Whether each message received is in exactly one place of the account. False is a fault of this program."""
        parts = (self.stitched, self.duplicate, *self.refused.values(), self.without_position, self.pending)
        return min(parts) >= 0 and self.received == sum(parts)

    @property
    def is_complete(self) -> bool:
        """Whether every frame that the scan should have is in the picture, or was taken while the stage moved."""
        gated = self.refused.get(RefusalReason.STAGE_MOVING, 0)  # left out as configured, so not lost
        if self.expected is not None:
            return self.missing == 0 and self.pending == 0 and self.stitched + gated >= self.expected
        return not (self.missing or self.pending or self.without_position or sum(self.refused.values()) > gated)


class WaitingFrame(NamedTuple):
    """A frame that waits for its position ``since`` a time; ``number`` counts all frames that ever waited."""

    frame: Frame
    since: float
    number: int


class ScanAccount:
    """The account of one scan and the frames that are pending in it.

    Four sets of indexes tell what a new copy of a frame is worth: those that came at all (``indexes``), of which a good
    copy was taken (``_taken``), of which a copy was refused for its position (``_misplaced``), and ``_pending``.
    """

    __slots__ = (
        "_dark",
        "_duplicate",
        "_ended_at",
        "_ended_by",
        "_far",
        "_first_refusals",
        "_has_start",
        "_held_back",
        "_is_put_away",
        "_misplaced",
        "_pending",
        "_received",
        "_refused",
        "_refuses_all",
        "_stitched",
        "_taken",
        "_waiting",
        "_was_cut_short",
        "_without_position",
        "indexes",
        "opened_at",
        "positions",
        "scan_id",
        "wire_id",
    )

    def __init__(self, scan_id: str, expected: int | None, opened_at: float, wire_id: str = "") -> None:
        self.scan_id: Final = scan_id
        self.wire_id: Final = wire_id
        self.opened_at: Final = opened_at
        self.indexes: Final = SeenIndexes(expected)
        self.positions: Final = ScanPositions(scan_id)
        self._has_start = self._refuses_all = self._was_cut_short = self._is_put_away = False
        self._ended_at: float | None = None
        self._ended_by: EndedBy | None = None
        self._received = self._duplicate = self._stitched = self._without_position = self._dark = 0
        self._refused: Counter[RefusalReason] = Counter()
        self._first_refusals: dict[RefusalReason, str] = {}
        self._taken, self._misplaced, self._pending = IndexSet(), IndexSet(), IndexSet()
        self._waiting: dict[int, WaitingFrame] = {}
        self._far: FarFrames | None = None
        self._held_back: Mapping[int, object] = {}

    # Receiving: the sum grows by one message, and so does one of its parts.

    def receive(self, frame: Frame, position_m: PositionM | None) -> bool:
        """Count a frame with its position, if known; return whether it is the first good copy, and so pending now."""
        self._received += 1
        if self._refuses_all:
            self._refused[RefusalReason.SCAN_FLOOD] += 1
            return False
        if self._ended_at is not None and not self._pending:
            self._refused[RefusalReason.AFTER_END] += 1
            return False
        index = frame.index
        self.indexes.add(index)
        if frame.exposed_s is not None:
            self.positions.timing.add_frame(index, frame.exposed_s)
        if frame.is_dark:
            self._dark += 1
        is_no_better = position_m is not None and index in self._misplaced and not position_m.is_place
        if is_no_better or not self._taken.add(index):
            self._duplicate += 1
            return False
        self._pending.add(index)
        return True

    def receive_refused(self, reason: RefusalReason, index: int | None = None, sentence: str = "") -> None:
        """Count a message that was refused before it became a frame; a good copy of it may still come."""
        self._received += 1
        reason = RefusalReason.SCAN_FLOOD if self._refuses_all else reason
        self._refused[reason] += 1
        if sentence:
            self._first_refusals.setdefault(reason, sentence)
        if index is not None and not self._refuses_all and not self.is_finished:
            self.indexes.add(index)

    # A pending frame: it moves between waiting, held back and in flight without a change of the account.

    def wait(self, frame: Frame, since: float, number: int) -> None:
        """Let a pending frame wait for its position."""
        self._waiting[frame.index] = WaitingFrame(frame, since, number)

    def end_wait(self, index: int) -> Frame:
        """Return a waiting frame whose position is known now; it stays pending."""
        return self._waiting.pop(index).frame

    def hold_back_far_frames(self, far: FarFrames) -> None:
        """Hold back the frames of this scan that lie far from all others, from now on."""
        self._far, self._held_back = far, far.held

    # The end of a pending frame: from one part of the sum to another.

    def mark_stitched(self, indexes: Iterable[int]) -> None:
        """Move frames in flight to stitched; other indexes change nothing."""
        waiting, held_back = self._waiting, self._held_back
        done: Iterable[int] = map(int, indexes)
        if waiting or held_back:
            done = filter(lambda index: index not in waiting and index not in held_back, done)
        self._stitched += self._pending.discard_all(done)

    def give_up(self, index: int) -> Frame:
        """Move a waiting frame to without position; return it."""
        self._pending.discard(index)
        self._without_position += 1
        return self._waiting.pop(index).frame

    def refuse(self, reason: RefusalReason, index: int) -> Frame | None:
        """Move a pending frame to refused; a good copy may come again. Return the frame if it waited."""
        waiting = self._waiting.pop(index, None)
        if self._pending.discard(index):
            self._refused[reason] += 1
            self._taken.discard(index)
        return None if waiting is None else waiting.frame

    def refuse_misplaced(self, index: int, position_m: PositionM) -> None:
        """Move a pending frame to refused: its position cannot be a place on a stage, or the stage moved during it."""
        self.refuse(RefusalReason.STAGE_MOVING if position_m == MOVING else RefusalReason.BAD_POSITION, index)
        self._misplaced.add(index)

    # The scan's life.

    def note_start(self, was_heard: bool) -> None:
        """Note whether the scan's start message was received."""
        self._has_start = was_heard

    def refuse_all(self) -> None:
        """Refuse every message from now on: this scan stands for those that opened too fast."""
        self._refuses_all = True

    def end(self, ended_by: EndedBy, at: float, *, was_cut_short: bool) -> None:
        """End the scan: no new frame is expected."""
        self._ended_by, self._ended_at, self._was_cut_short = ended_by, at, was_cut_short

    def put_away(self) -> None:
        """Free the memory that only an unfinished scan needs; from now on the account does not change but for late messages."""
        self._is_put_away = True
        self.indexes.drop_set()
        self.positions.drop_table()
        self._taken, self._misplaced, self._pending = IndexSet(), IndexSet(), IndexSet()

    # Reading.

    @property
    def received(self) -> int:
        """Frame messages received, whatever became of them."""
        return self._received

    @property
    def duplicate(self) -> int:
        """Further copies of frames that were taken already."""
        return self._duplicate

    @property
    def stitched(self) -> int:
        """Frames in the picture."""
        return self._stitched

    @property
    def dark(self) -> int:
        """Frames without a single count."""
        return self._dark

    @property
    def past_waiting(self) -> int:
        """Frames taken that do not wait for a position: they have one, or were given up."""
        return len(self._taken) - len(self._waiting)

    @property
    def waiting(self) -> Mapping[int, WaitingFrame]:
        """Frames that wait for their position, by index, the oldest first."""
        return self._waiting

    @property
    def far(self) -> FarFrames | None:
        """The frames held back; ``None`` before the first frame, or if this scan holds none back."""
        return self._far

    @property
    def first_refusals(self) -> Mapping[RefusalReason, str]:
        """The sentence of the first message refused, by reason."""
        return self._first_refusals

    @property
    def has_start(self) -> bool:
        """Whether the scan's start message was received."""
        return self._has_start

    @property
    def refuses_all(self) -> bool:
        """Whether this scan stands for those that opened too fast."""
        return self._refuses_all

    @property
    def ended_at(self) -> float | None:
        """When the scan ended; ``None`` while it is open."""
        return self._ended_at

    @property
    def ended_by(self) -> EndedBy | None:
        """Why the scan was closed; ``None`` while it is open."""
        return self._ended_by

    @property
    def was_cut_short(self) -> bool:
        """Whether a new scan closed this one, not its own end."""
        return self._was_cut_short

    @property
    def is_finished(self) -> bool:
        """Whether the scan has ended and nothing is pending."""
        return self._ended_at is not None and not self._pending

    @property
    def is_put_away(self) -> bool:
        """Whether the scan was found to be finished: its tables are freed."""
        return self._is_put_away

    def refused(self, reason: RefusalReason) -> int:
        """Return how many messages were refused for a reason."""
        return self._refused[reason]

    def is_in_flight(self, index: int) -> bool:
        """Whether a frame was handed on as a scan point and is not yet stitched or refused."""
        return index in self._pending and index not in self._waiting and index not in self._held_back

    def snapshot(self) -> AccountSnapshot:
        """Return the account as it stands."""
        return AccountSnapshot(
            expected=self.indexes.expected,
            received=self._received,
            duplicate=self._duplicate,
            missing=self.indexes.missing,
            refused=dict(self._refused),
            without_position=self._without_position,
            pending=len(self._pending),
            stitched=self._stitched,
        )
