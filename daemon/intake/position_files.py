"""Positions that a run of the control system leaves in files: read in a thread of its own, as soon as they are there."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from daemon.files.rows import read_rows
from ptychopinn.errors import FileFormatError
from streams.frame import FileSamples, PositionNews
from streams.position_sources.bluesky import BlueskyReader

log = logging.getLogger(__name__)

PAUSE_S = 0.5
LEAST_PATIENCE_S = 10.0
"""Writers flush every second or at the run's end."""
MOST_WAITING = 4096


class PositionFiles:
    """Reads what a reader's news want, and delivers what comes of it.

    Parameters
    ----------
    folders
        Where files may lie; none that a message names elsewhere is opened.
    patience_s
        How long a file may keep its rows back: it is written while the run goes on.
    deliver
        Called with news, in the thread.
    """

    def __init__(
        self,
        reader: BlueskyReader,
        folders: Sequence[Path],
        patience_s: float,
        deliver: Callable[[PositionNews], None],
    ) -> None:
        self._reader = reader
        self._folders = [folder.resolve() for folder in folders]
        self._patience_s = patience_s
        self._deliver = deliver
        self._waiting: deque[tuple[FileSamples, float]] = deque(maxlen=MOST_WAITING)
        self._changed = threading.Condition()
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="position-files", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what waits is left."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def want(self, wanted: Sequence[FileSamples]) -> None:
        """Queue samples to be read (any thread)."""
        with self._changed:
            self._waiting.extend((each, time.monotonic() + self._patience_s) for each in wanted)
            self._changed.notify_all()

    def _run(self) -> None:
        while (some := self._next()) is not None:
            left = [(each, until) for each, until in some if not self._is_done(each, until)]
            with self._changed:
                self._waiting.extendleft(reversed(left))
                if left:
                    self._changed.wait_for(lambda: self._is_over, PAUSE_S)

    def _next(self) -> list[tuple[FileSamples, float]] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_over or bool(self._waiting))
            some = list(self._waiting)
            self._waiting.clear()
            return None if self._is_over else some

    def _is_done(self, wanted: FileSamples, until: float) -> bool:
        """Read samples, or give them up; False while they may still come."""
        path = Path(wanted.dataset.path)
        fault = self._why_closed(path)
        is_late = fault is not None or time.monotonic() >= until
        if fault is None:
            try:
                values = read_rows(path, dataset=wanted.dataset.name, start=wanted.start, stop=wanted.stop)
            except FileFormatError as refused:
                fault = str(refused)
            else:
                self._deliver(self._reader.fill(wanted, values))
                return True
        if is_late:
            words = f"the positions {wanted.dataset.key} are in a file that was not read: {fault}"
            log.warning("%s", words)
            self._deliver(self._reader.give_up(wanted, words))
        return is_late

    def _why_closed(self, path: Path) -> str | None:
        """Return why a file is not opened at all."""
        try:
            place = path.resolve()
        except (OSError, ValueError, RuntimeError) as fault:
            return f"{str(path)[:80]!r} is not a valid path ({fault})"
        if not any(place.is_relative_to(folder) for folder in self._folders):
            return f"{path} lies in none of [positions] resource_folders; add its folder there"
        return None
