"""The gallery of scans and the session map."""

from __future__ import annotations

import pytest

from tests.support.page_tools import PageViewer

pytestmark = pytest.mark.browser


def test_scans_are_found_and_chosen_in_gallery_and_map(viewer: PageViewer) -> None:
    page = viewer.page
    page.keyboard.press("g")
    viewer.until("[...ptycholive.gallery.thumbs.values()].some((thumb) => thumb !== null)")
    assert page.locator(".scan-card").count() == 1
    page.fill("#gallery-search", "owl")
    assert page.locator(".scan-card").count() == 0
    page.fill("#gallery-search", "scan")
    page.click("#gallery-map-tab")
    size = page.locator("#session-map").bounding_box()
    page.click("#session-map", position={"x": size["width"] / 2, "y": size["height"] / 2})
    viewer.until("ptycholive.chosen.scan === 'scan-1'")
    assert page.locator("#gallery").is_hidden()
    page.keyboard.press("g")
    page.click("#gallery-list")
    page.locator(".scan-card").press("Enter")
    assert page.locator("#gallery").is_hidden()
