"""The webhook: posts JSON to ``[notify] url`` when the grade of a scan changes, and at the end of each scan.

It has its own thread and a short queue. A receiver that is slow or dead costs its own messages, and nothing else.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import deque
from collections.abc import Callable
from http.client import HTTPException
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from daemon.messages import AssessmentFields, Grade, GradedFields, ScanEnded, Status, WebhookEvent, WebhookMessage
from daemon.publish.hub import HubEvent, UpdateHub

TIMEOUT_S = 5.0
"""Longest wait for the receiver to connect or to answer, s."""
TRIES = 3
"""Attempts to deliver one message."""
FIRST_WAIT_S = 1.0
"""Wait before the second attempt, s; doubled for the third."""
MAX_WAITING = 64
"""Messages that wait for a slow receiver; the oldest is dropped first."""
OPENER = build_opener(ProxyHandler({}))
"""Ignores http_proxy, as all of the daemon does."""

log = logging.getLogger(__name__)


class Webhook:
    """Listens to the hub and posts from its own thread; ``page`` gives the address of the page.

    ``count`` is called with ``ok``, ``failed`` or ``dropped`` for each message.
    """

    def __init__(
        self,
        hub: UpdateHub,
        url: str,
        page: Callable[[], str] = lambda: "",
        count: Callable[[str], None] = lambda result: None,
    ) -> None:
        self._hub = hub
        self._url = url
        self._host = urlsplit(url).netloc.rpartition("@")[2]  # the rest of an address may be a secret
        self._page = page
        self._count = count
        self._judged: tuple[str | None, Grade | None] = (None, None)
        self._waiting: deque[WebhookMessage] = deque()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhook", daemon=True)

    def start(self) -> None:
        """Start the thread and listen."""
        self._hub.subscribe(self._take)
        self._thread.start()

    def stop(self, wait_s: float = TIMEOUT_S) -> None:
        """Try each waiting message once more, but not for longer than ``wait_s`` in all."""
        self._hub.unsubscribe(self._take)
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(wait_s)
        with self._changed:
            self._waiting.clear()

    # called by the publishing threads; nothing here waits

    def _take(self, event: HubEvent) -> None:
        if event.status is not None:
            self._take_status(event.status)
        elif event.scan is not None and event.scan["state"] == "ended":
            self._take_end(event.scan)

    def _take_status(self, status: Status) -> None:
        """Send a message if the grade has changed; a scan that begins well is not worth one."""
        assessment, scan_id = status["assessment"], status["scan_id"]
        before = self._grade_before(scan_id)
        if assessment["grade"] == (before or Grade.GOOD):
            return
        self._put(
            {
                **_graded("grade", scan_id, assessment, before),
                "state": status["scan_state"],
                "verdict": status["verdict"],
                "product": None,
                "page": self._page(),
            }
        )

    def _take_end(self, ended: ScanEnded) -> None:
        assessment = ended["assessment"]
        if assessment is None:
            return
        self._put(
            {
                **_graded("ended", ended["scan_id"], assessment, self._grade_before(ended["scan_id"])),
                "state": ended["result"],
                "verdict": ended["verdict"],
                "product": ended["product"],
                "page": self._page(),
            }
        )

    def _grade_before(self, scan_id: str | None) -> Grade | None:
        return self._judged[1] if self._judged[0] == scan_id else None

    def _put(self, message: WebhookMessage) -> None:
        with self._changed:
            self._judged = message["scan_id"], message["grade"]
            if len(self._waiting) >= MAX_WAITING:
                self._waiting.popleft()
                self._count("dropped")
            self._waiting.append(message)
            self._changed.notify_all()

    # called by the webhook's thread

    def _run(self) -> None:
        while (message := self._next()) is not None:
            self._deliver(message)

    def _next(self) -> WebhookMessage | None:
        with self._changed:
            while not self._waiting:
                if self._stopping.is_set():
                    return None
                self._changed.wait()
            return self._waiting.popleft()

    def _deliver(self, message: WebhookMessage) -> None:
        wait_s, body = FIRST_WAIT_S, json.dumps(message).encode()
        for k in range(TRIES):
            if k and self._stopping.wait(wait_s):
                break
            wait_s *= 2 if k else 1
            try:
                request = Request(self._url, body, {"Content-Type": "application/json"})  # noqa: S310
                with OPENER.open(request, timeout=TIMEOUT_S):
                    self._count("ok")
                    return
            except (OSError, HTTPException, ValueError) as fault:  # URLError and timeouts are OSErrors
                reason = getattr(fault, "reason", fault)
                log.warning("the webhook at %s did not take a message: %s", self._host, reason)
        self._count("failed")


def _graded(
    event: WebhookEvent, scan_id: str | None, assessment: AssessmentFields, before: Grade | None
) -> GradedFields:
    about = "the daemon" if scan_id is None else f"scan {scan_id}{' has ended' if event == 'ended' else ''}"
    words = f"{assessment['grade'].upper()} - {about}: {assessment['reason']}. {assessment['action']}."
    return {
        "event": event,
        "scan_id": scan_id,
        "grade": assessment["grade"],
        "grade_before": before,
        "reason": assessment["reason"],
        "action": assessment["action"],
        "text": words,
    }
