"""Every tool by keyboard alone and by mouse, on phone, tablet, 1080p and 4K; all controls are reached with Tab and show it."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.publish.http.interface import create_app
from daemon.publish.hub import UpdateHub
from tests.support.fake_daemon import FakeDaemon
from tests.support.fake_frames import FakeFrames, FakeProbes
from tests.support.http_server import serving
from tests.support.page_tools import PageViewer, even_update, wavy

pytestmark = pytest.mark.browser
SIZES = {"phone": (390, 844), "tablet": (820, 1180), "1080p": (1920, 1080), "4k": (3840, 2160)}
CONTROLS = """(root) => [...document.querySelector(root)
        .querySelectorAll("button, a[href], select, input, canvas[tabindex], [tabindex='0']")]
    .filter((part) => part.checkVisibility({visibilityProperty: true}) && !part.disabled && part.tabIndex >= 0
        && part.closest("dialog:not([open])") === null && !(part.type === "radio" && !part.checked))
    .map((part) => (part.dataset.name = part.id || part.value || part.textContent.trim() || part.getAttribute("aria-label")))"""
FOCUSED = """async () => {
    const part = document.activeElement;
    const seen = part.type === "radio" ? part.nextElementSibling : part;
    const isReached = () => {
        const box = seen.getBoundingClientRect();
        const at = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
        return at !== null && ([seen, part].some((one) => one.contains(at) || at.contains(one)) || part.id === "canvas");
    };
    if (!isReached()) await new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go))); // it scrolls
    const { outlineWidth, outlineStyle } = getComputedStyle(seen);
    return [part.dataset.name ?? "", parseFloat(outlineWidth) >= 1 && outlineStyle !== "none" && isReached()];
}"""
PIXEL = "() => { const { y, x } = ptycholive.stage.camera.goal; return [y, x]; }"
RANGE = "ptycholive.stage.settled().then(() => [ptycholive.stage.range.low, ptycholive.stage.range.high])"
FRAME = "ptycholive.inspector.frames.shown?.frame.index"


@pytest.fixture(scope="module")
def sized(browser: Any) -> Any:
    """One page for all sizes: a picture, frames, a probe, one scan."""
    hub = UpdateHub()
    hub.publish_layer(even_update(wavy((40, 40))))
    hub.publish_layer(even_update(2 * wavy((40, 40)), layer="refined"))
    with serving(create_app(FakeDaemon(), hub, frames=FakeFrames(), probes=FakeProbes())) as server:
        context = browser.new_context(viewport={"width": 390, "height": 844})
        viewer = PageViewer(context.new_page(), server.url)
        viewer.until_frames("network", 1)
        viewer.until_frames("refined", 1)
        viewer.until("document.querySelectorAll('#colours option').length > 8")
        yield viewer
        assert viewer.page.evaluate("violations") == []
        assert viewer.faults == []
        context.close()


@pytest.fixture(params=SIZES)
def viewer(sized: PageViewer, request: pytest.FixtureRequest) -> PageViewer:
    width, height = SIZES[request.param]
    sized.page.set_viewport_size({"width": width, "height": height})
    sized.page.evaluate("document.querySelectorAll('dialog[open]').forEach((dialog) => dialog.close())")
    for key in ("2", "1", "f"):  # another view ends a chosen range
        sized.page.keyboard.press(key)
    sized.page.evaluate("ptycholive.stage.settled()")
    return sized


def test_tab_reaches_every_control_and_shows_where_it_is(viewer: PageViewer) -> None:
    page = viewer.page
    _expect_all_reached(page, "body")
    for tool in ("frame", "probe", "range", "measure"):
        page.evaluate("(tool) => ptycholive.inspector.panel.show(tool)", tool)
        page.focus("#tab-" + tool)
        _expect_all_reached(page, ".panel")
    page.keyboard.press("i")
    for key in ("g", "n", "?"):
        page.keyboard.press(key)
        _expect_all_reached(page, "dialog[open]")
        page.keyboard.press("Escape")
        assert page.locator("dialog[open]").count() == 0


def test_every_tool_works_by_keyboard_alone(viewer: PageViewer) -> None:
    page = viewer.page
    _tab_to(page, "canvas")
    before = page.evaluate(PIXEL)
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    assert page.evaluate(PIXEL) == pytest.approx([before[0] + 1, before[1] + 1])  # pixel by pixel
    viewer.until("document.querySelector('#cursor').textContent.includes('rad')")
    page.keyboard.press("Enter")
    viewer.until(f"{FRAME} === 4")
    page.keyboard.press("]")
    viewer.until(f"{FRAME} === 5 && ptycholive.inspector.frames.map.map !== null")
    _tab_to(page, "frame-measured")
    for key in ("Shift+ArrowUp", "Shift+ArrowLeft", "ArrowDown"):
        page.keyboard.press(key)
    assert viewer.text("#frame-readout").startswith("row 1, column 0: measured 50")
    _tab_to(page, "frame-map")
    page.keyboard.press("ArrowDown")
    viewer.until(f"{FRAME} === 8")
    _tab_to(page, "tab-frame", back=True)
    page.keyboard.press("ArrowRight")
    viewer.until("ptycholive.inspector.probe.waves !== null")
    _tab_to(page, "probe-distance")
    page.keyboard.press("End")
    assert "behind the sample" in page.locator(".slider output").text_content()
    _tab_to(page, "tab-probe", back=True)
    page.keyboard.press("ArrowRight")
    _tab_to(page, "histogram")
    low, high = page.evaluate(RANGE)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowRight")
    lower, upper = page.evaluate(RANGE)
    assert low < lower < upper < high
    _tab_to(page, "tab-range", back=True)
    page.keyboard.press("ArrowRight")
    for kind, size in (("line", "100 nm"), ("region", "100 nm × 50 nm")):
        _tab_to(page, f"measure-{kind}")
        page.keyboard.press("Space")
        _tab_to(page, "canvas", back=True)
        page.keyboard.press("Enter")
        for key in ["Shift+ArrowRight"] * 10 + ([] if kind == "line" else ["Shift+ArrowDown"] * 5):
            page.keyboard.press(key)
        page.keyboard.press("Enter")
        assert page.locator("#tool-measure dd").first.text_content() == size
    page.keyboard.press("i")
    page.keyboard.press("g")
    _tab_to(page, "gallery-list")
    page.keyboard.press("Enter")
    viewer.until("document.querySelectorAll('.scan-card').length === 1")
    _tab_to(page, "gallery-search")
    for text, count in (("owl", 0), ("scan", 1)):
        page.keyboard.press("Control+a")
        page.keyboard.type(text)
        assert page.locator(".scan-card").count() == count
    _tab_to(page, "gallery-map-tab", back=True)
    page.keyboard.press("Enter")
    viewer.until("ptycholive.gallery.map.placed.length === 1")
    _tab_to(page, "session-map")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert page.evaluate("ptycholive.chosen.scan") == "scan-1"
    page.keyboard.press("Escape")  # back to the live picture
    assert page.evaluate("ptycholive.chosen.scan") is None


def test_every_tool_works_by_mouse(viewer: PageViewer) -> None:
    page = viewer.page
    page.click("#canvas")
    viewer.until(f"{FRAME} === 4")
    page.click("#frame-next")
    viewer.until(f"{FRAME} === 5")
    page.click("#tab-probe")
    page.locator("#probe-distance").click(position={"x": 3, "y": 6})
    assert "before the sample" in page.locator(".slider output").text_content()
    page.click("#tab-range")
    low, high = page.evaluate(RANGE)
    _drag(page, "#histogram", (0.9, 0.5), (0.6, 0.5))
    assert page.evaluate(RANGE)[1] < high
    page.click("#range-auto")
    assert page.evaluate(RANGE) == pytest.approx([low, high], rel=0.1)  # nearly the same is kept
    page.click("#tab-measure")
    page.click("#measure-line")
    _drag(page, "#canvas", (0.4, 0.5), (0.6, 0.5))
    assert page.locator("#tool-measure dd").nth(1).text_content() == "0.0°"
    page.click("[aria-label='Close the panel']")
    page.click("#gallery-open")
    page.click("#gallery-map-tab")
    viewer.until("ptycholive.gallery.map.placed.length === 1")
    box = page.locator("#session-map").bounding_box()
    page.click("#session-map", position={"x": box["width"] / 2, "y": box["height"] / 2})
    viewer.until("ptycholive.chosen.scan === 'scan-1'")
    page.keyboard.press("g")
    page.click("#gallery-list")
    page.locator(".scan-card").press("Enter")
    assert page.locator("#gallery").is_hidden()
    page.click("#now")
    page.click("#notes-open")
    page.click("#notes-close")
    page.select_option("#other-choice", "layer")
    page.click("#difference")
    viewer.until("ptycholive.second.range?.view === 'difference'")
    page.click("#difference")


def _expect_all_reached(page: Any, root: str) -> None:
    wanted, found = set(page.evaluate(CONTROLS, root)), {}
    for _ in range(3 * len(wanted) + 99):
        name, is_seen = page.evaluate(FOCUSED)
        found.setdefault(name, is_seen)
        page.keyboard.press("Tab")
        if wanted <= set(found):
            break
    wanted &= set(page.evaluate(CONTROLS, root))  # links to save are there while the daemon talks
    assert wanted - set(found) == set(), "not reached with Tab"
    assert [name for name in wanted if not found[name]] == [], "the focus is not seen, or under something else"


def _tab_to(page: Any, name: str, *, back: bool = False) -> None:
    for _ in range(80):
        if page.evaluate("document.activeElement.id") == name:
            return
        page.keyboard.press("Shift+Tab" if back else "Tab")
    raise AssertionError(f"{name} is not reached")


def _drag(page: Any, selector: str, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.locator(selector).scroll_into_view_if_needed()
    box = page.locator(selector).bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=3)
    page.mouse.up()
