"""The whole suite: one thread for each process, no skipped test in CI, and a count of the tests that ran."""

from __future__ import annotations

import gc
import os
from itertools import chain, groupby, islice

import httpx
import pytest

for threads in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(threads, "1")  # before NumPy and torch are imported: two workers share two cores

httpx._config.DEFAULT_TIMEOUT_CONFIG.read = 100.0  # s; its 5 s would make the tests depend on the host's speed

# Folders whose tests start processes and wait for them; begun last they would leave a processor idle at the end
LONG = ("system", "interop")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give each worker its share of the long tests first; ``--dist worksteal`` hands each one run of the list."""
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    if workers > 1:
        items[:] = long_tests_first(items, workers)


@pytest.fixture(scope="module", autouse=True)
def _frozen_objects() -> None:
    """Exclude what is there from garbage collection, as a daemon's process does: a scan's end collects, in 0.5 s otherwise."""
    gc.collect()
    gc.freeze()


def long_tests_first(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """Return the tests in ``workers`` runs of equal length, each with files of long tests at its head."""
    long_files = [list(group) for _, group in groupby(filter(is_long, items), key=lambda item: item.path)]
    short = iter([item for item in items if not is_long(item)])
    heads = [list(chain.from_iterable(long_files[worker::workers])) for worker in range(workers)]
    runs = [[*head, *islice(short, max(0, len(items) // workers - len(head)))] for head in heads]
    return [*chain.from_iterable(runs), *short]


def is_long(item: pytest.Item) -> bool:
    return any(folder in item.path.parts for folder in LONG)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts = {word: len(terminalreporter.stats.get(word, ())) for word in ("passed", "failed", "skipped", "error")}
    words = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    terminalreporter.write_line(f"Tests that ran: {counts['passed'] + counts['failed']} ({words})")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if "CI" in os.environ and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
