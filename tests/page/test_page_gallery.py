"""The gallery of scans and the session map."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from daemon.publish.hub import UpdateHub
from tests.support.page_tools import PageViewer, even_update, wavy

pytestmark = pytest.mark.browser


def test_scans_are_found_and_chosen_in_gallery_and_map(look: Callable[[], PageViewer], hub: UpdateHub) -> None:
    hub.publish_layer(even_update(wavy((40, 40))))
    viewer = look()
    viewer.until_frames("network", 1)
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
