"""What holds for the whole suite: in CI no test may be skipped, and how many ran is said."""

from __future__ import annotations

import os

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts = {word: len(terminalreporter.stats.get(word, ())) for word in ("passed", "failed", "skipped", "error")}
    words = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    terminalreporter.write_line(f"Tests that ran: {counts['passed'] + counts['failed']} ({words})")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if "CI" in os.environ and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
