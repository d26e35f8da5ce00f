"""The webhook: its messages, and receivers that are slow, dead or rude. The receiver is Python's own HTTP server."""

from __future__ import annotations

import queue
import socket

import pytest

from daemon.messages import Grade, ScanState, WebhookMessage
from daemon.notify import webhook as module
from daemon.notify.webhook import MAX_WAITING, Webhook
from daemon.publish.hub import UpdateHub
from tests.support import messages
from tests.support.webhook_receiver import receiving

PATIENCE_S = 60.0
BAD = messages.assessment(grade=Grade.BAD, reason="The beam is lost", action="Check the shutter", code="beam_lost")


def test_it_posts_each_change_of_grade_and_the_end(hub: UpdateHub) -> None:
    with receiving() as (url, posted):
        hook = Webhook(hub, url, lambda: "http://page")
        hook.start()
        for assessment in (messages.assessment(), BAD, BAD, messages.assessment()):
            hub.publish_status(messages.status(assessment=assessment))
        hub.publish_status(messages.status(scan_id="scan-2"))  # a new scan that begins well
        hub.publish_scan(messages.ended("scan-2", assessment=BAD, result=ScanState.INCOMPLETE, product="/p.h5"))
        found = [posted.get(timeout=PATIENCE_S) for _ in range(3)]
        hook.stop()
    assert [(one["event"], one["grade_before"], one["grade"]) for one in found] == [
        ("grade", None, "bad"),
        ("grade", "bad", "good"),
        ("ended", None, "bad"),
    ]
    messages.check(WebhookMessage, found[0])
    assert found[0]["text"] == "BAD - scan scan-1: The beam is lost. Check the shutter."
    assert (found[2]["product"], found[2]["page"], found[2]["state"]) == ("/p.h5", "http://page", "incomplete")


def test_a_receiver_that_never_answers_holds_nobody(hub: UpdateHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.2)
    counted: queue.Queue[str] = queue.Queue()
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes the connection, and is silent
        hook = Webhook(hub, f"http://127.0.0.1:{mute.getsockname()[1]}", count=counted.put)
        hook.start()
        for k in range(3 * MAX_WAITING):
            grade = (Grade.BAD, Grade.GOOD)[k % 2]
            hub.publish_status(messages.status(assessment=messages.assessment(grade=grade)))
        assert counted.get(timeout=PATIENCE_S) == "dropped"
        hook.stop(wait_s=0.1)


def test_a_receiver_that_fails_once_gets_the_message_again(hub: UpdateHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT_S", 0.01)
    codes, counted = iter((500, 200)), queue.Queue[str]()
    with receiving(lambda: next(codes)) as (url, posted):
        hook = Webhook(hub, url, count=counted.put)
        hook.start()
        hub.publish_status(messages.status(assessment=BAD))
        assert counted.get(timeout=PATIENCE_S) == "ok"
        assert posted.get_nowait() == posted.get_nowait()
        hook.stop()


def test_a_dead_receiver_is_given_up_and_its_secret_is_not_logged(
    hub: UpdateHub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT_S", 0.01)
    counted: queue.Queue[str] = queue.Queue()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    hook = Webhook(hub, f"http://user:geheim@127.0.0.1:{port}/geheim", count=counted.put)
    hook.start()
    hub.publish_status(messages.status(assessment=BAD))
    assert counted.get(timeout=PATIENCE_S) == "failed"
    hook.stop()
    assert f"127.0.0.1:{port}" in caplog.text
    assert "geheim" not in caplog.text


@pytest.fixture
def hub() -> UpdateHub:
    return UpdateHub()
