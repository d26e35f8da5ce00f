"""The end of the daemon where a part of it hangs."""

from __future__ import annotations

import threading

import pytest

from daemon.cli import serve


class Exited(Exception):
    """In place of the end of the process."""


def test_the_process_ends_where_a_thread_hangs(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    def end(code: int) -> None:
        raise Exited(code)

    monkeypatch.setattr(serve.os, "_exit", end)
    answers = iter([[], [], ["engine", "intake"]])
    with pytest.raises(Exited, match="1"):
        serve.end_if_it_hangs(lambda: next(answers), threading.Event(), look_s=0.0)
    assert "engine and intake: hung" in caplog.text
    assert "resume at the next start" in caplog.text


def test_an_end_in_order_is_left_alone():
    is_done = threading.Event()
    is_done.set()
    serve.end_if_it_hangs(lambda: ["engine"], is_done)
