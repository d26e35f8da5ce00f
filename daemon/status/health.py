"""Health of the parts: lasting faults, and whether the threads respond."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from daemon.engine.face import EngineFace
from daemon.intake.thread import Intake
from daemon.journal import Journal
from daemon.results.records import RecordFiles
from daemon.results.writer import ProductWriter
from daemon.service import descriptors
from daemon.status.status_warnings import StatusWarning
from streams.sockets.receiver import MessageReceiver

HANGS_S = 60.0
"""A thread that has not finished a round for this time, s, hangs; the longest round, a model's load, takes seconds."""


class Health:
    """Examines the parts; quick and safe from any thread.

    Parameters
    ----------
    receivers
        Returns the receivers that should run.
    has_started
        Whether every thread has been started; before that, none can have ended.
    """

    def __init__(
        self,
        *,
        engine: EngineFace,
        intake: Intake,
        writer: ProductWriter,
        records: RecordFiles,
        journal: Journal | None,
        receivers: Callable[[], Sequence[MessageReceiver]],
        has_started: Callable[[], bool] = lambda: True,
    ) -> None:
        self._engine = engine
        self._intake = intake
        self._writer = writer
        self._records = records
        self._journal = journal
        self._receivers = receivers
        self._has_started = has_started
        self.cluster: Callable[[], list[str]] = list
        """Returns the faults of a cluster's workers."""

    def dead(self) -> list[str]:
        """Return the names of threads that have ended."""
        if not self._has_started():
            return []
        parts = (
            ("engine", self._engine.is_alive),
            ("intake", self._intake.is_alive),
            ("writer", self._writer.is_alive),
        )
        names = [name for name, is_alive in parts if not is_alive]
        return names + [f"{receiver.name} receiver" for receiver in self._receivers() if not receiver.is_alive]

    def hanging(self) -> list[str]:
        """Return the names of threads that have not responded for a minute."""
        limit = time.monotonic() - HANGS_S
        parts = (("engine", self._engine), ("intake", self._intake))
        return [name for name, part in parts if part.is_alive and part.beat < limit]

    def troubles(self) -> list[str]:
        """Return all lasting faults, the worst first, one sentence each without its full stop."""
        found = [StatusWarning.THREAD_ENDED.sentence.format(name=name) for name in self.dead()]
        found += [StatusWarning.THREAD_HANGS.sentence.format(name=name) for name in self.hanging()]
        if (few := descriptors.trouble()) is not None:
            found.append(few)
        if self._journal is not None and self._journal.trouble is not None:
            found.append(self._journal.trouble)
        found += self.cluster()
        found += [failure for failure in (self._writer.failure, self._records.failure) if failure is not None]
        return found

    @property
    def is_alive(self) -> bool:
        """Whether every thread runs and responds; only then is the watchdog fed."""
        return not self.dead() and not self.hanging()
