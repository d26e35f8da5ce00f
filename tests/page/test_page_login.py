"""A browser logs in by the form."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.http_server import running

pytestmark = pytest.mark.browser
TOKEN = "a-long-enough-token"


def test_a_real_browser_logs_in_and_sees_the_page_live(browser: Any) -> None:
    with running(token=TOKEN) as server, browser.new_context() as context:
        page = context.new_page()
        page.goto(server.url)
        page.fill("input[name=token]", "wrong")
        page.click("button")
        page.fill("input[name=token]", TOKEN)
        with page.expect_websocket() as opened:
            page.click("button")
        opened.value.wait_for_event("framereceived")
        assert page.url == f"{server.url}/"
