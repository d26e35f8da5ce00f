"""The page says whether the scan is good, why, and what to do; and it does not raise false alarms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon.messages import Grade, ScanFields, ScanState
from daemon.publish.http.interface import HttpServer, create_app
from daemon.publish.hub import UpdateHub
from tests.support import messages
from tests.support.fake_daemon import PastDaemon, write_old_product
from tests.support.http_server import serving
from tests.support.page_tools import PageViewer, even_update, wavy

pytestmark = pytest.mark.browser
NOTES: list[Any] = [
    {
        "grade": Grade.BAD,
        "sentence": "Patterns look transposed",
        "action": "Set orientation",
        "since": "2026-01-02T03:04:05+00:00",
    },
    {"grade": Grade.CHECK, "sentence": "3 samples never arrived", "action": "", "since": None},
    {"grade": Grade.GOOD, "sentence": "No end message", "action": "", "since": None},
]
MISFIT = messages.assessment(
    grade=Grade.BAD,
    reason="Patterns look transposed",
    action="Set orientation",
    code="misfit",
    is_rfactor_meaningful=False,
    notes=NOTES,
)
OLD = messages.verdict(expected=300, received=290, duplicate=0, missing=10, stitched=290)


class Shift(PastDaemon):
    """A daemon with a past scan that was not good."""

    def scans(self) -> list[ScanFields]:
        assessment = messages.assessment(
            grade=Grade.CHECK, reason="10 of 300 frames are lost", action="Repeat", code="lost"
        )
        figures = {"rfactor": 0.25, "rfactor_network": 0.35, "expected_correlation": 0.7}
        old = messages.scan("old", state=ScanState.INCOMPLETE, verdict=OLD, assessment=assessment, **figures)
        return [messages.scan(), old]


@pytest.fixture
def source() -> Shift:
    return Shift()


@pytest.fixture
def server(source: Shift, hub: UpdateHub) -> Iterator[HttpServer]:
    with serving(create_app(source, hub)) as server:
        yield server


def test_the_card_says_grade_reason_action_and_what_remains(
    look: Callable[[], PageViewer], hub: UpdateHub, tmp_path: Path
) -> None:
    hub.publish_scan(messages.started("scan-1", 520))
    hub.publish_status(messages.status(frames_received=259, frames_stitched=250, receive_rate_hz=40.0))
    viewer = look()
    viewer.until("document.querySelector('#grade').textContent === 'GOOD'")
    assert viewer.text("#reason") == "No fault found in 516 frames."
    assert viewer.text("#remains") == "261 of 520 to come, about 6.5 s"
    assert viewer.text("#certainty") == "0.96"
    hub.publish_status(messages.status(assessment=MISFIT))
    viewer.until("document.querySelector('#assessment').dataset.grade === 'bad'")
    assert (viewer.text("#reason"), viewer.text("#action")) == ("Patterns look transposed.", "Set orientation.")
    assert [viewer.text(place) for place in ("#r-refined", "#r-network", "#certainty")] == ["–", "–", "–"]
    assert viewer.text("#withheld").startswith("Not shown")
    assert viewer.page.title().startswith("⚠")
    for opening in (lambda: viewer.page.keyboard.press("n"), lambda: viewer.page.click("#notes-open")):
        opening()
        shown = viewer.page.locator("#notes-list li")
        assert [row.get_attribute("data-grade") for row in shown.all()] == ["bad", "check", "good"]
        box = shown.first.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 1000
        viewer.page.click("#notes-close")


def test_frames_without_a_picture_are_not_waited_for(look: Callable[[], PageViewer], hub: UpdateHub) -> None:
    hub.publish_scan(messages.started("scan-1", 516))
    hub.publish_status(messages.status(frames_received=259, frames_stitched=0))
    viewer = look()
    viewer.until("document.querySelector('#empty').textContent === '259 frames received, none is in the picture yet'")


def test_an_incomplete_scan_is_called_incomplete(look: Callable[[], PageViewer], hub: UpdateHub) -> None:
    hub.publish_scan(messages.started("scan-1", 516))
    hub.publish_layer(even_update(wavy((20, 20)), complete=True))
    hub.publish_scan(messages.ended("scan-1", result=ScanState.INCOMPLETE))
    viewer = look()
    viewer.until("document.querySelector('#tag').textContent.endsWith('incomplete')")
    assert viewer.page.get_attribute("#tag", "data-result") == "incomplete"
    red, _, blue = viewer.page.evaluate(
        "getComputedStyle(document.querySelector('#tag')).color.match(/\\d+/g).map(Number)"
    )
    assert red > 2 * blue


def test_a_sender_may_leave_when_all_frames_are_there(look: Callable[[], PageViewer], hub: UpdateHub) -> None:
    streams = [messages.stream(connected=False, silent_s=20.0), messages.stream("positions", connected=False)]
    whole = messages.verdict(expected=516, received=516, missing=0, stitched=516, duplicate=0)
    hub.publish_status(messages.status(streams=streams, verdict=whole))
    viewer = look()
    viewer.until("document.querySelectorAll('#streams li').length === 2")
    states = viewer.page.evaluate("[...document.querySelectorAll('#streams li')].map((row) => row.dataset.state)")
    assert states == ["idle", "idle"]
    assert viewer.page.locator("#banner").is_hidden()
    hub.publish_status(messages.status(streams=streams))
    viewer.until("document.querySelector('#streams li').dataset.state === 'gone'")


def test_a_past_scan_and_a_comparison_are_true(
    look: Callable[[], PageViewer], source: Shift, hub: UpdateHub, tmp_path: Path
) -> None:
    source.product = tmp_path / "product.h5"
    write_old_product(source.product)
    hub.publish_layer(even_update(wavy((40, 40), 0.9), layer="refined"))
    hub.publish_status(messages.status())
    viewer = look()
    viewer.until_frames("refined", 1)
    viewer.until("document.querySelector('#scan-choice').options.length === 3")
    viewer.page.select_option("#other-choice", "scan:old")
    viewer.until("ptycholive.second.range !== null && ptycholive.second.range.high === ptycholive.stage.range.high")
    viewer.page.select_option("#scan-choice", "old")
    viewer.until("document.querySelector('#scan').textContent === 'old'")
    assert [viewer.text(place) for place in ("#stitched", "#r-refined", "#r-network", "#certainty")] == [
        "290", "0.250", "0.350", "0.70",
    ]  # fmt: skip
    assert viewer.page.get_attribute("#assessment", "data-grade") == "check"
    viewer.until("ptycholive.stage.picture?.header.scan_id === 'old'")
    viewer.until("document.querySelector('#empty-second').textContent.startsWith('This is the same picture')")
    viewer.page.keyboard.press("Escape")
    viewer.until("document.querySelector('#stitched').textContent === '490'")


def test_the_alarm_sounds_once_for_each_worse_grade(look: Callable[[], PageViewer], hub: UpdateHub) -> None:
    viewer = look()
    viewer.page.click("#alarm")
    assert viewer.page.get_attribute("#alarm", "aria-pressed") == "true"
    check = messages.assessment(grade=Grade.CHECK)
    for assessment in (messages.assessment(), check, check, MISFIT, messages.assessment(), check):
        hub.publish_status(messages.status(assessment=assessment))
        viewer.until(f"ptycholive.session.status?.assessment.grade === '{assessment['grade']}'")
        viewer.page.evaluate("ptycholive.alarm.look(ptycholive.session.scanId, ptycholive.session.status.assessment)")
    assert viewer.page.evaluate("ptycholive.alarm.alarms") == 3


@pytest.mark.parametrize("width", [390, 1000])
def test_every_route_of_the_docs_can_be_reached(look: Callable[[], PageViewer], width: int) -> None:
    viewer = look()
    viewer.page.set_viewport_size({"width": width, "height": 700})
    viewer.page.goto(viewer.page.url.rstrip("/") + "/docs")
    heads = viewer.page.locator("h2")
    for head in (heads.first, heads.last):
        head.scroll_into_view_if_needed()
        box = head.bounding_box()
        assert 0 <= box["y"] < 700
    assert viewer.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    viewer.page.evaluate("window.violations = []")
