"""The state of the page in its address, preferences, the trend of R over a reload, the wall display."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from daemon.publish.hub import UpdateHub
from tests.support import messages
from tests.support.page_tools import PageViewer, even_update, wavy

pytestmark = pytest.mark.browser


def test_a_reload_shows_the_same(look: Callable[[], PageViewer], hub: UpdateHub) -> None:
    hub.publish_layer(even_update(wavy((40, 40))))
    viewer = look()
    page = viewer.page
    viewer.until_frames("network", 1)
    hub.publish_status(messages.status(scan_id="scan-1", rfactor={"network": 0.3, "refined": 0.2}))
    viewer.until("ptycholive.session.history.length > 0")
    for key in ("2", "r", "i", "+"):
        page.keyboard.press(key)
    viewer.until("ptycholive.inspector.frames.shown !== null")
    viewer.until("location.hash.includes('frame=4') && location.hash.includes('at=')")
    viewer.until("ptycholive.stage.camera.isSettled")
    viewer.until("!ptycholive.stage.camera.follows")
    scale = page.evaluate("ptycholive.stage.camera.goal.scale")
    viewer.until(f"Math.abs(Number(location.hash.split('at=')[1].split('%2C')[2].split('&')[0]) / {scale} - 1) < 1e-2")
    page.reload()
    viewer.until("ptycholive.inspector.frames.shown?.frame.index === 4")
    assert page.evaluate("[ptycholive.chosen.view, ptycholive.chosen.isFlat]") == ["amplitude", True]
    assert page.locator("input[value=amplitude]").is_checked()
    assert page.evaluate("ptycholive.stage.camera.goal.scale") == pytest.approx(scale, rel=1e-2)
    assert page.evaluate("ptycholive.session.history.length") > 0
    page.goto(page.url.split("#")[0])
    page.reload()
    viewer.until("ptycholive.chosen.view === 'amplitude'")  # a matter of taste is kept by the browser
    assert page.evaluate("ptycholive.stage.camera.follows")


def test_the_wall_shows_picture_and_cards_alone(look: Callable[[], PageViewer], hub: UpdateHub) -> None:
    hub.publish_layer(even_update(wavy((40, 40))))
    viewer = look()
    viewer.page.keyboard.press("k")
    viewer.page.locator(".toolbar").first.wait_for(state="hidden")
    assert viewer.page.locator(".cards").is_visible()
    viewer.until("location.hash.includes('kiosk=1')")
    viewer.page.keyboard.press("k")
    viewer.page.locator(".toolbar").first.wait_for(state="visible")
