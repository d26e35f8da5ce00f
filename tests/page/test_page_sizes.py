"""The page on phone, tablet, 1080p and 4K, with every tool: nothing overflows, nothing lies over something else."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daemon.cli.demo import SCAN
from daemon.cli.demo_faults import FAULTS, DemoOrders
from daemon.publish.http.demo import FOLDER_VARIABLE
from daemon.publish.http.interface import create_app
from daemon.publish.hub import UpdateHub
from tests.support.fake_daemon import FakeDaemon
from tests.support.http_server import serving
from tests.support.page_tools import PageViewer, even_update, wavy

pytestmark = pytest.mark.browser
SIZES = {"phone": (390, 844), "tablet": (820, 1180), "1080p": (1920, 1080), "4k": (3840, 2160)}
TOOLS = ("frame", "probe", "range", "measure")
SCREENSHOTS = os.environ.get("PTYCHOLIVE_SCREENSHOTS")
"""Folder for pictures of what was tested, to look at."""
COLLISIONS = """() => {
    const parts = [...document.querySelectorAll("button, select, .button, input:not([type=radio]), .card, figure, h1, .pill")]
        .filter((part) => part.checkVisibility({visibilityProperty: true}) && part.closest("dialog, .stage") === null)
        .map((part) => ({part, box: part.getBoundingClientRect()})).filter(({box}) => box.width > 0 && box.height > 0);
    const name = (part) => part.id || part.className || part.textContent.trim().slice(0, 20);
    const holder = ({part}) => part.closest(".cards, .panel-body, .toolbar, .save");
    const found = [];
    for (const [k, one] of parts.entries()) for (const other of parts.slice(k + 1)) {
        if (one.part.contains(other.part) || other.part.contains(one.part)) continue;
        const wide = Math.min(one.box.right, other.box.right) - Math.max(one.box.left, other.box.left);
        const high = Math.min(one.box.bottom, other.box.bottom) - Math.max(one.box.top, other.box.top);
        if (wide > 1.5 && high > 1.5 && holder(one) === holder(other)) found.push(`${name(one.part)} over ${name(other.part)}`);
    }
    for (const {part, box} of parts) {
        if (part.matches("button, .button") && part.scrollWidth > part.clientWidth + 1) found.push(`${name(part)} is cut`);
        if (box.right > window.innerWidth + 1 && part.closest(".toolbar") === null) found.push(`${name(part)} leaves the page`);
    }
    if (document.documentElement.scrollWidth > window.innerWidth) found.push("the page is wider than the screen");
    return found;
}"""


def test_every_tool_fits_on_every_screen(look: Callable[[], PageViewer], hub: UpdateHub) -> None:
    hub.publish_layer(even_update(wavy((400, 500))))
    viewer = look()
    viewer.until_frames("network", 1)
    page = viewer.page
    for size, (width, height) in SIZES.items():
        page.set_viewport_size({"width": width, "height": height})
        _expect_no_collisions(page, f"{size}-start")
        above_the_fold = "#grade" if size in ("phone", "tablet") else ".pattern-card"
        box = page.locator(above_the_fold).bounding_box()
        assert box["y"] + box["height"] <= height, f"{above_the_fold} is below the fold on {size}"
        page.keyboard.press("i")
        for tool in TOOLS if size != "4k" or SCREENSHOTS else TOOLS[:1]:  # 4K is drawn slowly without a GPU
            page.click(f"#tab-{tool}")
            _expect_no_collisions(page, f"{size}-{tool}")
            assert (
                page.locator(".tabs").bounding_box()["height"]
                < 1.5 * page.locator("#tab-frame").bounding_box()["height"]
            )
        page.keyboard.press("i")
        if size == "4k" and not SCREENSHOTS:
            continue
        for key, name in (("g", "gallery"), ("n", "notes"), ("?", "help")):
            page.keyboard.press(key)
            box = page.locator("dialog[open]").bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width + 1
            _keep(page, f"{size}-{name}")
            page.keyboard.press("Escape")


def test_a_button_of_the_demo_orders_its_fault(browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    orders = DemoOrders(tmp_path / "orders", SCAN)
    monkeypatch.setenv(FOLDER_VARIABLE, str(orders.folder))
    with serving(create_app(FakeDaemon(), UpdateHub())) as server:
        page = PageViewer(browser.new_page(), server.url).page
        page.get_by_role("button", name="Lost frames").press("Enter")
        page.wait_for_function("() => document.getElementById('demo-note').textContent.includes('15 %')")
        _expect_no_collisions(page, "demo")
        assert page.locator("#demo-buttons button").count() == len(FAULTS)
        page.close()
    assert orders.take() == "lost-frames"


def _expect_no_collisions(page: Any, name: str) -> None:
    _keep(page, name)
    assert page.evaluate(COLLISIONS) == [], name


def _keep(page: Any, name: str) -> None:
    if SCREENSHOTS is not None:
        page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png")
