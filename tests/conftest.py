"""The whole suite: one thread for each process, no skipped test in CI, and a count of the tests that ran."""

from __future__ import annotations

import os

import pytest

for threads in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(threads, "1")  # before NumPy and torch are imported: two workers share two cores


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts = {word: len(terminalreporter.stats.get(word, ())) for word in ("passed", "failed", "skipped", "error")}
    words = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    terminalreporter.write_line(f"Tests that ran: {counts['passed'] + counts['failed']} ({words})")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if "CI" in os.environ and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
