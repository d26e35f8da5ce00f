"""Whether the parts work: what is wrong for as long as it lasts, and whether the threads still turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from daemon.engine.loop import Engine
from daemon.intake.thread import Intake
from daemon.journal import Journal
from daemon.results.records import ScanBook
from daemon.results.writer import ProductWriter
from daemon.service import descriptors
from streams.sockets.receiver import Source

HANGS_S = 60.0


class Health:
    """Looks at the parts; quick and safe from any thread.

    Parameters
    ----------
    receivers
        Gives those that should run.
    """

    def __init__(
        self,
        engine: Engine,
        intake: Intake,
        writer: ProductWriter,
        book: ScanBook,
        journal: Journal | None,
        receivers: Callable[[], Sequence[Source]],
    ) -> None:
        self._engine = engine
        self._intake = intake
        self._writer = writer
        self._book = book
        self._journal = journal
        self._receivers = receivers

    def dead(self) -> list[str]:
        """Return the names of threads that have ended."""
        parts = (
            ("engine", self._engine.is_alive),
            ("intake", self._intake.is_alive),
            ("writer", self._writer.is_alive),
        )
        names = [name for name, is_alive in parts if not is_alive]
        return names + [f"{receiver.name} receiver" for receiver in self._receivers() if not receiver.is_alive]

    def hanging(self) -> list[str]:
        """Return the names of threads that have not come round for a minute."""
        limit = time.monotonic() - HANGS_S
        parts = (("engine", self._engine), ("intake", self._intake))
        return [name for name, part in parts if part.is_alive and part.beat < limit]

    def troubles(self) -> list[str]:
        """Return what is wrong now, the worst first, one sentence each without its stop; empty while all is well."""
        found = [f"the {name} has ended; restart the daemon" for name in self.dead()]
        found += [f"the {name} has hung for more than a minute" for name in self.hanging()]
        if (few := descriptors.trouble()) is not None:
            found.append(few)
        if self._journal is not None and self._journal.trouble is not None:
            found.append(self._journal.trouble)
        found += [failure for failure in (self._writer.failure, self._book.failure) if failure is not None]
        return found

    @property
    def is_alive(self) -> bool:
        """Whether the watchdog may be told so: every thread runs and turns."""
        return not self.dead() and not self.hanging()
