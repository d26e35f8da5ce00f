"""Callbacks of the engine: the account of frames, viewers, files, fine-tuning, diagnosis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from daemon.engine.examination import Examination
from daemon.engine.position_search import PlacedFrame, PositionSearch
from daemon.engine.result import ScanResult
from daemon.engine.sums import SumsPort
from daemon.publish.snapshot import LayerUpdate
from ptychopinn.frame_store import StoredPattern
from streams.refusal_reasons import RefusalReason


@dataclass(frozen=True, slots=True)
class EngineEvents:
    """Callbacks of the engine; every call is quick.

    ``on_stitched(scan_id, indexes)`` and ``on_refused(scan_id, index, reason)`` close the account of frames;
    ``on_finished`` comes once for each scan passed to :meth:`Engine.finish`, ``on_checkpoint`` while a scan runs.
    ``on_improved`` comes after it at most once, where spare time made a closed scan's picture better or found its resolution.
    ``is_newest(scan_id)`` says whether the figures of a scan are those that the metrics show.
    ``on_positions(scan_id, error_px, sentence)`` comes where frames were laid at positions found from them; None: at those told.
    ``on_left`` comes at the end for a scan that is not done: frames of it wait on the disk for the next start.
    ``sums`` takes the sums of the network layer in place of its pictures, where a reader merges several engines.
    """

    on_update: Callable[[LayerUpdate], None]
    on_stitched: Callable[[str, Sequence[int]], None]
    on_refused: Callable[[str, int, RefusalReason], None]
    on_finished: Callable[[ScanResult], None]
    on_checkpoint: Callable[[ScanResult], None]
    frames_received: Callable[[str], int]
    on_left: Callable[[ScanResult, int], None] = lambda _result, _waiting: None
    on_improved: Callable[[ScanResult], None] = lambda _result: None
    is_newest: Callable[[str], bool] = lambda _scan_id: True
    on_positions: Callable[[str, float | None, str], None] = lambda _scan_id, _error_px, _sentence: None
    sums: SumsPort | None = None


class FrameLearner(Protocol):
    """The fine-tuning, as the engine sees it; both calls only queue."""

    def offer(self, scan_id: str, index: int, amplitude: NDArray[np.float32], position_px: tuple[float, float]) -> None:
        """Take a stitched frame."""

    def label(self, scan_id: str, index: int, patch: NDArray[np.complex64]) -> None:
        """Take the refined object at a frame's place."""


class ExaminerPort(Protocol):
    """The diagnosis, as the engine sees it; every call is quick."""

    def wants(self, scan: Examination, frames: int, *, has_ended: bool) -> bool:
        """Whether to diagnose a scan that has this number of frames."""

    def examine(self, scan: Examination, frames: Sequence[tuple[StoredPattern, tuple[float, float]]]) -> None:
        """Take stored patterns and positions (pixels)."""

    def holds(self, scan: Examination) -> bool:
        """Whether a scan that has ended should wait for the diagnosis."""


class PositionFinderPort(Protocol):
    """The search for true positions, as the engine sees it; every call is quick."""

    def wants(self, search: PositionSearch, frames: int, *, has_ended: bool) -> bool:
        """Whether to look for the positions of a scan that has this number of frames."""

    def find(self, search: PositionSearch, frames: list[PlacedFrame], probe: torch.Tensor, *, has_ended: bool) -> None:
        """Take frames in order of time, and the probe ``(modes, N, N)``."""

    def is_awaited(self, search: PositionSearch) -> bool:
        """Whether a scan that has ended should wait for a search that runs."""
