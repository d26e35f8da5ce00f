"""Positions of frames from the numbered samples of a position source.

Frame i has the samples from ``first_sample + i * samples_per_frame`` on, and its position is their mean. A sample is
identified by its number since the run began, never by its order of arrival, so a lost message affects only the frames whose
samples it contained.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from streams.errors import PositionError
from streams.frame import MOVING, Position, PositionM
from streams.untrusted import MAX_INDEX, shown

__all__ = ["UNITS_M", "Sampler", "SourceOptions", "monitor_sampler"]

UNITS_M = {"m": 1.0, "mm": 1e-3, "um": 1e-6, "nm": 1e-9, "pm": 1e-12}
_MAX_GAPS = 1024
"""Gaps in the numbers that late samples can still fill."""
_MAX_PARTIAL = 4096
"""Incomplete frames that are kept; a gap leaves two of them."""


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """Options for reading a source.

    Attributes
    ----------
    channels
        Names of the y and the x channel.
    factors_m
        Metres per unit of (y, x), with signs.
    time_channel
        Name of the channel with the time of each sample, seconds since the run began, if there is one.
    monitor_channel
        Name of the data key with the beam monitor, for Bluesky events, if there is one.
    event_stream
        Name of the event stream that contains the positions, for a source with several.
    max_motion_m
        A frame whose samples lie farther apart gets :data:`streams.frame.MOVING` as its position; ``None``: any distance.
    """

    channels: tuple[str, str]
    factors_m: tuple[float, float] = (1.0, 1.0)
    samples_per_frame: int = 1
    first_sample: int = 0
    time_channel: str | None = None
    monitor_channel: str | None = None
    event_stream: str = "primary"
    max_motion_m: float | None = None


@dataclass(slots=True)
class _Partial:
    """A frame of which some samples have arrived."""

    count: int
    total: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    time_s: float | None


def monitor_sampler(options: SourceOptions) -> Sampler:
    """Return a sampler of the beam monitor, whose positions have its mean over a frame as y and as x."""
    return Sampler(replace(options, factors_m=(1.0, 1.0), max_motion_m=None))


class Sampler:
    """Collects the samples of one run of a source; ``begin`` starts the next run.

    ``samples`` is one more than the highest number seen, ``lost`` the number of missing samples below it, ``repeated`` the
    number of samples that arrived again and were ignored.
    """

    def __init__(self, options: SourceOptions) -> None:
        self._options = options
        self._has_gate = options.max_motion_m is not None
        self.begin()

    def begin(self) -> None:
        """Start a run: forget all samples."""
        self.samples = self.lost = self.repeated = 0
        self._gaps: list[tuple[int, int]] = []
        self._partial: dict[int, _Partial] = {}

    def resume(self, frames: int) -> None:
        """Continue a run in which the first ``frames`` frames have their samples already."""
        self.samples = self._options.first_sample + frames * self._options.samples_per_frame if frames else 0

    def add(self, first: int, values: NDArray[np.float64], times_s: NDArray[np.float64] | None) -> list[Position]:
        """Take samples ``(n, 2)`` [y, x] in the source's unit, numbered from ``first``; return the completed positions.

        Raises :class:`PositionError` for impossible numbers; then nothing has changed.
        """
        stop = first + len(values)
        if not 0 <= first <= stop <= MAX_INDEX * self._options.samples_per_frame:
            raise PositionError(f"sample numbers from {shown(first)} on are impossible in a scan; restart the source")
        fresh = self._fresh(first, stop)
        self.repeated += len(values) - sum(end - start for start, end in fresh)
        positions: list[Position] = []
        with np.errstate(all="ignore"):
            for start, end in fresh:
                part = slice(start - first, end - first)
                positions += self._take(start, values[part], None if times_s is None else times_s[part])
        return positions

    def _fresh(self, first: int, stop: int) -> list[tuple[int, int]]:
        """Return the new ones of these numbers, and note them."""
        fresh, gaps = [], []
        for start, end in self._gaps:
            low, high = max(start, first), min(end, stop)
            if low >= high:
                gaps.append((start, end))
                continue
            fresh.append((low, high))
            gaps += [(a, b) for a, b in ((start, low), (high, end)) if a < b]
        self.lost -= sum(end - start for start, end in fresh)
        if stop > self.samples:
            fresh.append((max(first, self.samples), stop))
            if first > self.samples:
                gaps.append((self.samples, first))
                self.lost += first - self.samples
            self.samples = stop
        self._gaps = gaps[-_MAX_GAPS:]
        return fresh

    def _take(self, start: int, values: NDArray[np.float64], times_s: NDArray[np.float64] | None) -> list[Position]:
        per_frame = self._options.samples_per_frame
        early = self._options.first_sample - start
        if early > 0:
            start, values, times_s = start + early, values[early:], None if times_s is None else times_s[early:]
        if not len(values):
            return []
        frame, offset = divmod(start - self._options.first_sample, per_frame)
        positions: list[Position] = []
        done = 0
        if offset:
            done = min(per_frame - offset, len(values))
            positions += self._add_to(frame, values[:done], times_s)
            frame += 1
        whole = (len(values) - done) // per_frame
        if whole:
            part = slice(done, done + whole * per_frame)
            means = values[part].reshape(whole, per_frame, 2).mean(axis=1) if per_frame > 1 else values[part]
            spread = np.ptp(values[part].reshape(whole, per_frame, 2), axis=1) if self._has_gate else None
            is_moving = None if spread is None else self._is_moving(spread)
            taken = None if times_s is None else times_s[part][::per_frame].tolist()
            positions += self._positions(frame, means, taken, is_moving)
            done, frame = part.stop, frame + whole
        if done < len(values):
            positions += self._add_to(frame, values[done:], None if times_s is None else times_s[done:])
        return positions

    def _add_to(self, frame: int, values: NDArray[np.float64], times_s: NDArray[np.float64] | None) -> list[Position]:
        time_s = None if times_s is None else float(times_s[0])
        part = self._partial.setdefault(frame, _Partial(0, np.zeros(2), values[0], values[0], time_s))
        part.count += len(values)
        part.total += values.sum(axis=0)
        if self._has_gate:
            part.low, part.high = np.minimum(part.low, values.min(axis=0)), np.maximum(part.high, values.max(axis=0))
        if part.count == self._options.samples_per_frame:
            del self._partial[frame]
            mean = part.total / part.count
            is_moving = self._is_moving((part.high - part.low)[None]) if self._has_gate else None
            return self._positions(frame, mean[None], None if part.time_s is None else [part.time_s], is_moving)
        if len(self._partial) > _MAX_PARTIAL:
            del self._partial[next(iter(self._partial))]
        return []

    def _is_moving(self, spreads: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return for each frame whether the stage moved too far, from the spreads ``(n, 2)`` of its samples."""
        most_m = self._options.max_motion_m or np.inf
        is_moving: NDArray[np.bool_] = np.hypot(*(spreads * np.asarray(self._options.factors_m)).T) > most_m
        return is_moving

    def _positions(
        self,
        first: int,
        values: NDArray[np.float64],
        times_s: list[float] | None,
        is_moving: NDArray[np.bool_] | None = None,
    ) -> list[Position]:
        metres = (values * np.asarray(self._options.factors_m)).tolist()
        if is_moving is not None:
            metres = [MOVING if moves else place for moves, place in zip(is_moving.tolist(), metres, strict=True)]
        return [
            Position(None, first + k, PositionM(y, x), None if times_s is None else times_s[k])
            for k, (y, x) in enumerate(metres)
        ]
