"""The probe panel: modes, propagation, difference."""

from __future__ import annotations

import pytest

from tests.support.page_tools import PageViewer

pytestmark = pytest.mark.browser
COLOUR = "(name) => [...document.querySelector(name).getContext('2d').getImageData(2, 6, 1, 1).data]"


def test_the_probe_is_shown_by_mode_and_along_the_beam(viewer: PageViewer) -> None:
    page = viewer.page
    page.keyboard.press("i")
    page.focus("#tab-frame")
    page.keyboard.press("ArrowRight")  # the next tab
    viewer.until("ptycholive.inspector.probe.waves !== null")
    assert page.locator("#probe-mode option").all_text_contents() == ["1: 80.0 %", "2: 20.0 %"]
    first = page.evaluate(COLOUR, "#probe-amplitude")
    page.select_option("#probe-mode", "1")
    assert page.evaluate(COLOUR, "#probe-amplitude") != first
    phase = page.evaluate(COLOUR, "#probe-phase")
    waves = "ptycholive.inspector.probe.waves"
    page.evaluate(f"window.before = {waves}")
    page.focus("#probe-distance")
    page.keyboard.press("End")
    viewer.until(f"{waves} !== window.before")
    assert page.evaluate(COLOUR, "#probe-phase") != phase
    assert "8 µm behind the sample" in page.locator(".slider output").text_content()
    page.select_option("#probe-which", "difference")
    viewer.until("document.querySelector('#probe-note').textContent === 'there is no difference'")
    viewer.faults.clear()  # Chromium logs the 404
