"""The viewer page in a real browser, fed by a real hub over real HTTP."""

from __future__ import annotations

import io
import math
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from test_publish_http import FakeDaemon
from test_publish_wire import make_update, random_walk

from daemon.publish import png
from daemon.publish.http import HttpServer, create_app
from daemon.publish.hub import UpdateHub
from daemon.snapshot import LayerName, LayerUpdate, Region

playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="the browser tests need Debian's chromium"),
]

WATCH_POLICY = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
"""
READ_LAYER = """async ([layer, y, x, h, w]) => {
    await ptycholive.stage.settled();
    const picture = ptycholive.session.pictures[layer];
    const values = [];
    for (let row = y; row < y + h; row += 1) for (let column = x; column < x + w; column += 1) {
        const {re, im, weight} = picture.valueAt(row, column);
        values.push(re, im, weight);
    }
    return values;
}"""
READ_COLOURS = """async ([y, x, h, w]) => {
    await ptycholive.stage.settled();
    const bytes = [];
    for (let row = y; row < y + h; row += 1) for (let column = x; column < x + w; column += 1) {
        const tile = [...ptycholive.stage.picture.tiles.values()].find(
            (t) => row >= t.y && row < t.y + 512 && column >= t.x && column < t.x + 512);
        const drawn = tile.canvas.getContext("2d").getImageData(column - tile.x, row - tile.y, 1, 1).data;
        bytes.push(...drawn);
    }
    return bytes;
}"""
READ_SCREEN = """async ([y, x]) => {
    await ptycholive.stage.settled();
    const [top, left] = ptycholive.stage.camera.toScreen(y + 0.5, x + 0.5).map(Math.floor);
    return [...ptycholive.stage.context.getImageData(left, top, 1, 1).data];
}"""


class Viewer:
    """A page and what the tests ask of it."""

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        self.faults: list[str] = []
        page.on("console", lambda message: message.type == "error" and self.faults.append(message.text))
        page.on("pageerror", lambda fault: self.faults.append(str(fault)))
        page.add_init_script(WATCH_POLICY)
        page.goto(url)
        self.until("ptycholive.connection.state === 'open'")

    def until(self, condition: str) -> None:
        self.page.wait_for_function(f"() => {condition}")

    def until_frames(self, layer: str, stitched: int) -> None:
        self.until(f"ptycholive.session.pictures.{layer}?.header.frames_stitched === {stitched}")

    def layer(self, layer: str, origin: tuple[int, int], shape: tuple[int, int]) -> tuple[NDArray[Any], NDArray[Any]]:
        values = np.array(self.page.evaluate(READ_LAYER, [layer, *origin, *shape]), dtype=np.float32)
        values = values.reshape(*shape, 3)
        return values[..., :2].copy().view(np.complex64)[..., 0], values[..., 2]

    def colours(self, origin: tuple[int, int], shape: tuple[int, int]) -> NDArray[np.uint8]:
        drawn = self.page.evaluate(READ_COLOURS, [*origin, *shape])
        return np.array(drawn, dtype=np.uint8).reshape(*shape, 4)

    def text(self, selector: str) -> str:
        return str(self.page.locator(selector).text_content())


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def source() -> FakeDaemon:
    return FakeDaemon()


@pytest.fixture
def hub() -> UpdateHub:
    return UpdateHub()


@pytest.fixture
def server(source: FakeDaemon, hub: UpdateHub) -> Iterator[HttpServer]:
    server = HttpServer(create_app(source, hub), "127.0.0.1", 0)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def look(browser: Any, server: HttpServer) -> Iterator[Callable[[], Viewer]]:
    """Opens the page; at the end nothing may have gone wrong in it."""
    context = browser.new_context(viewport={"width": 1000, "height": 700})
    viewers: list[Viewer] = []

    def open_page() -> Viewer:
        viewers.append(Viewer(context.new_page(), server.url))
        return viewers[-1]

    yield open_page
    for viewer in viewers:
        assert viewer.page.evaluate("violations") == []
        assert viewer.faults == []
    context.close()


def even_update(
    pixels: NDArray[np.complex64],
    *,
    origin_px: tuple[int, int] = (0, 0),
    weight: NDArray[np.float32] | None = None,
    shape: tuple[int, int] | None = None,
    place: tuple[int, int] = (0, 0),
    stitched: int = 1,
    layer: LayerName = "network",
    scan_id: str = "scan-1",
) -> LayerUpdate:
    """An update of one region, of weight 1 unless told otherwise."""
    weight = np.ones(pixels.shape, dtype=np.float32) if weight is None else weight
    region = Region(*place, *pixels.shape, pixels, weight)
    shape = pixels.shape if shape is None else shape
    return LayerUpdate(scan_id, layer, shape, origin_px, 1e-8, stitched, stitched, 0, 0.2, False, (region,), 1)


def wavy(shape: tuple[int, int], depth_rad: float = 0.6) -> NDArray[np.complex64]:
    """Pixels whose amplitude and phase differ everywhere."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    phase = depth_rad * np.sin(x / 5.0) * np.cos(y / 7.0)
    return ((0.8 + 0.4 * y / shape[0] + 0.05 * x / shape[1]) * np.exp(1j * (phase + 1.0))).astype(np.complex64)


def image_of(body: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(body)))


def test_loads_clean_and_waits(look: Callable[[], Viewer]) -> None:
    viewer = look()
    assert viewer.page.locator("#empty").is_visible()
    assert "No picture yet" in viewer.text("#empty")
    assert viewer.page.locator("#banner").is_hidden()


@pytest.mark.parametrize(
    ("name", "table"), [("sequential", png.sequential_map()), ("cyclic", png.cyclic_map()), ("grey", png.grey_map())]
)
def test_colour_tables_are_those_of_the_png(look: Callable[[], Viewer], name: str, table: NDArray[np.uint8]) -> None:
    drawn = look().page.evaluate("async (name) => [...(await import('/page/colours.js'))[name]]", name)
    np.testing.assert_array_equal(np.array(drawn).reshape(256, 3), table)


@pytest.mark.parametrize("view", ["phase", "amplitude", "coverage"])
def test_picture_has_the_colours_of_the_png(look: Callable[[], Viewer], hub: UpdateHub, view: png.View) -> None:
    shape = (30, 40)
    weight = np.linspace(0.5, 1.0, 1200, dtype=np.float32).reshape(shape)
    weight[:2] = 0
    hub.publish_layer(even_update(wavy(shape), origin_px=(-20, -7), weight=weight))
    viewer = look()
    viewer.until_frames("network", 1)
    viewer.page.select_option("#span", "2")
    viewer.page.locator(f"input[value={view}]").check(force=True)
    canvas = hub.canvas("scan-1", "network")
    assert canvas is not None
    wanted = image_of(png.draw_layer(canvas, view, math.pi / 2)[0])
    drawn = viewer.colours((-20, -7), shape)
    np.testing.assert_array_equal(drawn[..., 3], wanted[..., 3])
    seen = wanted[..., 3] > 0
    table = {"amplitude": png.grey_map()}.get(view, png.sequential_map()).astype(int)
    one_step = np.abs(np.diff(table, axis=0)).max()
    assert np.abs(drawn[seen].astype(int) - wanted[seen].astype(int)).max() <= one_step
    assert (drawn[seen] == wanted[seen]).all(axis=-1).mean() > 0.98
    assert viewer.page.evaluate(READ_SCREEN, [-10, 5]) == drawn[10, 12].tolist()
    assert viewer.page.evaluate(READ_SCREEN, [-20, 5])[3] == 0


@pytest.mark.parametrize("seen_before", [0, 6, 12])
def test_snapshot_and_deltas_make_the_picture_bit_for_bit(
    look: Callable[[], Viewer], hub: UpdateHub, seen_before: int
) -> None:
    updates = random_walk(np.random.default_rng(seen_before), 12)
    updates += random_walk(np.random.default_rng(seen_before + 1), 12, "refined")
    for update in updates[:seen_before]:
        hub.publish_layer(update)
    viewer = look()
    for update in updates[seen_before:]:
        hub.publish_layer(update)
    for layer in ("network", "refined"):
        viewer.until_frames(layer, 11)
        canvas = hub.canvas("scan-1", layer)
        assert canvas is not None
        pixels, weight = viewer.layer(layer, canvas.origin_px, canvas.shape)
        assert pixels.tobytes() == canvas.object.tobytes()
        assert weight.tobytes() == canvas.weight.tobytes()


def test_growth_keeps_the_place_that_the_user_looks_at(look: Callable[[], Viewer], hub: UpdateHub) -> None:
    hub.publish_layer(even_update(wavy((60, 60))))
    viewer = look()
    viewer.until_frames("network", 1)
    viewer.page.evaluate("ptycholive.stage.settled()")
    box = viewer.page.locator("#canvas").bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    viewer.page.mouse.move(*middle)
    viewer.page.mouse.down()
    viewer.page.mouse.move(middle[0] + 50, middle[1] + 30, steps=3)
    viewer.page.mouse.up()
    viewer.page.mouse.wheel(0, -120)
    viewer.page.select_option("#span", "2")
    place = viewer.page.evaluate("ptycholive.stage.settled().then(() => ptycholive.stage.camera.toScreen(30, 30))")
    colour = viewer.page.evaluate(READ_SCREEN, [30, 30])
    grown = wavy((60, 60))
    hub.publish_layer(even_update(grown, origin_px=(-600, -60), shape=(720, 180), place=(0, 0), stitched=2))
    viewer.until_frames("network", 2)
    assert (
        viewer.page.evaluate("ptycholive.stage.settled().then(() => ptycholive.stage.camera.toScreen(30, 30))") == place
    )
    assert viewer.page.evaluate(READ_SCREEN, [30, 30]) == colour
    assert viewer.page.get_attribute("#fit", "aria-pressed") == "false"
    viewer.page.keyboard.press("f")
    viewer.page.evaluate("ptycholive.stage.settled()")
    top, left = viewer.page.evaluate("ptycholive.stage.camera.toScreen(-600, -60)")
    assert top > 0
    assert left > 0
    assert viewer.page.get_attribute("#fit", "aria-pressed") == "true"


def test_follows_the_growing_picture_until_panned(look: Callable[[], Viewer], hub: UpdateHub) -> None:
    hub.publish_layer(even_update(wavy((60, 60))))
    viewer = look()
    for step in range(2, 5):
        hub.publish_layer(even_update(wavy((60, 60)), shape=(60 * step, 60), place=(60 * (step - 1), 0), stitched=step))
    viewer.until_frames("network", 4)
    viewer.page.evaluate("ptycholive.stage.settled()")
    height = viewer.page.evaluate("ptycholive.stage.canvas.height")
    bottom, _ = viewer.page.evaluate("ptycholive.stage.camera.toScreen(240, 60)")
    top, _ = viewer.page.evaluate("ptycholive.stage.camera.toScreen(0, 0)")
    assert 0 < top < bottom < height


def test_small_delta_paints_its_own_pixels_only(look: Callable[[], Viewer], hub: UpdateHub) -> None:
    whole = wavy((1100, 1100))
    hub.publish_layer(even_update(whole))
    viewer = look()
    viewer.until_frames("network", 1)
    viewer.page.evaluate("""async () => {
        await ptycholive.stage.settled();
        window.painted = [];
        const plain = OffscreenCanvasRenderingContext2D.prototype.putImageData;
        OffscreenCanvasRenderingContext2D.prototype.putImageData = function (image, ...rest) {
            window.painted.push([image.height, image.width]);
            return plain.call(this, image, ...rest);
        };
    }""")
    part = np.ascontiguousarray(whole[100:120, 200:217])
    hub.publish_layer(even_update(part, shape=whole.shape, place=(100, 200), stitched=2))
    viewer.until_frames("network", 2)
    viewer.page.evaluate("ptycholive.stage.settled()")
    assert viewer.page.evaluate("painted") == [[20, 17]]


def test_layers_and_views_switch(look: Callable[[], Viewer], hub: UpdateHub) -> None:
    hub.publish_layer(even_update(wavy((20, 20))))
    viewer = look()
    viewer.until_frames("network", 1)
    assert viewer.text("#tag").startswith("network (no refined picture yet)")
    hub.publish_layer(even_update(wavy((20, 20), 0.1), layer="refined", stitched=2))
    viewer.until_frames("refined", 2)
    viewer.until("document.querySelector('#tag').textContent.startsWith('refined · 2 frames')")
    viewer.page.keyboard.press("l")
    assert viewer.text("#tag").startswith("network · 1 frame")
    assert viewer.page.locator("input[value=network]").is_checked()
    for key, title in (("2", "Amplitude"), ("3", "Coverage / weighted visits"), ("1", "Phase / rad")):
        viewer.page.keyboard.press(key)
        viewer.page.evaluate("ptycholive.stage.settled()")
        assert viewer.text("#bar-title") == title
    viewer.page.select_option("#span", "1")
    viewer.page.evaluate("ptycholive.stage.settled()")
    assert (viewer.text("#bar-low"), viewer.text("#bar-high")) == ("−π", "+π")


def test_reads_the_pixel_under_the_pointer(look: Callable[[], Viewer], hub: UpdateHub) -> None:
    pixels = np.ones((40, 40), dtype=np.complex64)
    pixels[10, 30] = 0.5 * np.exp(0.25j)
    hub.publish_layer(even_update(pixels, origin_px=(100, 200)))
    viewer = look()
    viewer.until_frames("network", 1)
    y, x = viewer.page.evaluate("""async () => {
        await ptycholive.stage.settled();
        const box = ptycholive.stage.canvas.getBoundingClientRect();
        const [top, left] = ptycholive.stage.camera.toScreen(110.5, 230.5);
        return [box.top + top, box.left + left];
    }""")
    viewer.page.mouse.move(x, y)
    words = viewer.text("#cursor")
    assert "amplitude 0.500" in words
    assert "phase +0.250 rad" in words
    assert "x +2.30  y +1.10 µm" in words
    assert viewer.text("#scale-text").endswith("nm")


def test_follows_the_newest_scan(look: Callable[[], Viewer], hub: UpdateHub) -> None:
    hub.publish_layer(even_update(wavy((20, 20)), scan_id="one"))
    viewer = look()
    viewer.until_frames("network", 1)
    hub.publish_scan({"scan_id": "two", "state": "started"})
    viewer.until("ptycholive.session.scanId === 'two'")
    assert viewer.page.evaluate("ptycholive.stage.picture") is None
    hub.publish_layer(even_update(wavy((20, 20)), scan_id="one", stitched=5))
    hub.publish_layer(even_update(wavy((20, 20)), scan_id="two", stitched=7))
    viewer.until_frames("network", 7)
    assert viewer.text("#scan") == "two"


def test_text_from_streams_stays_text(look: Callable[[], Viewer], hub: UpdateHub) -> None:
    hostile = "<img src=x onerror='window.hacked=1'>"
    hub.publish_scan({"scan_id": hostile, "state": "started"})
    verdict = {"received": 3, "stitched": 1, "refused": {hostile: 2}}
    streams = [{"name": hostile, "endpoint": hostile, "connected": True, "messages": 1, "bytes": 2, "silent_s": 0}]
    texts = {"sentence": hostile, "device": hostile, "version": hostile, "model": {"name": hostile, "generation": 1}}
    hub.publish_status({"scan_id": hostile, "state": "degraded", "verdict": verdict, "streams": streams, **texts})
    hub.publish_layer(even_update(wavy((20, 20)), scan_id=hostile))
    viewer = look()
    viewer.until_frames("network", 1)
    viewer.until("document.querySelector('#scan').textContent !== ''")
    for place in ("#scan", "#sentence", "#device", "#version", "#banner", "#streams .name", "#streams .endpoint"):
        assert viewer.text(place) == hostile
    assert hostile in viewer.text("#verdict")
    assert viewer.page.locator("img[src=x]").count() == 0
    assert viewer.page.evaluate("window.hacked") is None


FULL_STATUS = {
    "state": "scanning",
    "sentence": "All is well.",
    "scan_id": "scan-1",
    "frames_received": 516,
    "frames_stitched": 490,
    "frames_pending": 0,
    "expected_frames": 520,
    "receive_rate_hz": 101.26,
    "stitch_rate_hz": 98.74,
    "latency_s": 0.146,
    "rfactor": {"network": 0.1668, "refined": 0.151},
    "verdict": {"expected": 520, "received": 516, "duplicate": 26, "stitched": 490, "pending": 0, "missing": 30},
    "streams": [
        {"name": "frames", "endpoint": "tcp://a:1", "connected": True, "messages": 516, "bytes": 17e6, "silent_s": 0.1},
        {"name": "positions", "endpoint": "tcp://a:2", "connected": False, "messages": 0, "bytes": 0, "silent_s": 60},
    ],
    "model": {"name": "lift", "generation": 3},
    "device": "cpu",
    "refine_updates": 12345,
    "subscribers": 2,
    "version": "0.1.0",
}


def test_status_in_words_and_numbers(look: Callable[[], Viewer], hub: UpdateHub) -> None:
    hub.publish_scan({"scan_id": "scan-1", "state": "started"})
    hub.publish_status(FULL_STATUS)
    viewer = look()
    viewer.until("document.querySelector('#stitched').textContent === '490'")
    shown = {
        "#state": "scanning",
        "#sentence": "All is well.",
        "#received": "516 received",
        "#receive-rate": "101",
        "#stitch-rate": "98.7",
        "#latency": "146 ms",
        "#r-network": "0.167",
        "#r-refined": "0.151",
        "#verdict": "516 received = 490 stitched + 26 duplicate",
        "#model": "lift · generation 3",
        "#refine-updates": "12,345",
        "#banner": "Not connected: positions.",
    }
    assert {place: viewer.text(place) for place in shown} == shown
    assert viewer.page.get_attribute("#progress", "aria-valuenow") == "490"
    assert viewer.text("#streams li:nth-child(1) .what") == "516 msg · 17.0 MB"
    assert viewer.text("#streams li:nth-child(2) .what") == "not connected"


@pytest.mark.parametrize("empty", [{}, dict.fromkeys(FULL_STATUS), {**dict.fromkeys(FULL_STATUS), "verdict": {}}])
def test_status_without_anything_does_no_harm(
    look: Callable[[], Viewer], hub: UpdateHub, empty: dict[str, Any]
) -> None:
    viewer = look()
    hub.publish_status(empty)
    viewer.until("ptycholive.session.status !== null && document.querySelector('#state').textContent === 'unknown'")
    assert viewer.text("#latency") == "–"


@pytest.mark.parametrize(
    ("verdict", "has_ended", "words"),
    [
        ({"received": 3, "stitched": 3}, True, "3 received = 3 stitched"),
        ({"received": 5, "stitched": 2, "pending": 3}, False, "5 received = 2 stitched + 3 waiting"),
        (
            {
                "expected": 9,
                "received": 7,
                "stitched": 4,
                "without_position": 1,
                "refused": {"not_finite": 2},
                "missing": 2,
            },
            True,
            "7 received = 4 stitched + 1 without position + 2 refused (not finite); 2 of 9 expected never came",
        ),
        ({"received": 5, "stitched": 2}, True, "5 received = 2 stitched + 3 unaccounted for"),
        ({}, True, ""),
    ],
)
def test_verdict_adds_up_or_says_so(
    look: Callable[[], Viewer], verdict: dict[str, Any], has_ended: bool, words: str
) -> None:
    script = "async ([verdict, ended]) => (await import('/page/words.js')).verdictWords(verdict, ended)"
    assert look().page.evaluate(script, [verdict, has_ended]) == words


def test_comes_back_after_the_daemon_restarts(
    browser: Any, source: FakeDaemon, hub: UpdateHub, server: HttpServer
) -> None:
    hub.publish_layer(even_update(wavy((20, 20))))
    hub.publish_status(FULL_STATUS)
    context = browser.new_context()
    viewer = Viewer(context.new_page(), server.url)
    viewer.until_frames("network", 1)
    server.stop()
    viewer.until("document.querySelector('#banner').textContent.startsWith('Connection to the daemon lost')")
    assert viewer.page.get_attribute("html", "data-feed") == "stale"
    assert viewer.text("#receive-rate") == "–"
    assert viewer.text("#state") == "unknown"
    again = UpdateHub()
    second = HttpServer(create_app(source, again), "127.0.0.1", server.port)
    second.start()
    viewer.until("ptycholive.connection.state === 'open'")
    again.publish_status({**FULL_STATUS, "streams": []})
    viewer.until("document.querySelector('#banner').textContent.startsWith('Connected again')")
    again.publish_layer(even_update(wavy((25, 20)), stitched=2))
    viewer.until_frames("network", 2)
    viewer.until("document.documentElement.dataset.feed === 'live'")
    assert viewer.page.locator("#banner").is_hidden()
    context.close()
    second.stop()


def test_says_when_the_daemon_falls_silent(browser: Any, server: HttpServer, hub: UpdateHub) -> None:
    hub.publish_status(FULL_STATUS)
    context = browser.new_context()
    page = context.new_page()
    page.clock.install()
    viewer = Viewer(page, server.url)
    viewer.until("document.querySelector('#state').textContent === 'scanning'")
    page.clock.fast_forward(5000)
    viewer.until("document.querySelector('#banner').textContent.startsWith('No news from the daemon')")
    assert viewer.text("#stitch-rate") == "–"
    hub.publish_status({**FULL_STATUS, "streams": []})
    viewer.until("document.querySelector('#banner').hidden")
    context.close()


def test_rests_while_nobody_looks(browser: Any, server: HttpServer, hub: UpdateHub) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.clock.install()
    viewer = Viewer(page, server.url)
    hide = "(hidden) => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true}); "
    hide += "document.dispatchEvent(new Event('visibilitychange')); }"
    page.evaluate(hide, True)
    page.clock.fast_forward(6000)
    viewer.until("ptycholive.connection.state === 'resting'")
    hub.publish_layer(make_update(np.random.default_rng(0), stitched=4))
    page.evaluate(hide, False)
    viewer.until_frames("network", 4)
    context.close()


def test_asks_for_a_token_when_refused(browser: Any, source: FakeDaemon, hub: UpdateHub, server: HttpServer) -> None:
    context = browser.new_context()
    viewer = Viewer(context.new_page(), server.url)
    server.stop()
    guarded = HttpServer(create_app(source, hub), "127.0.0.1", server.port, token="secret")
    guarded.start()
    viewer.until("document.querySelector('#banner').textContent.startsWith('The daemon asks for a token')")
    context.close()
    guarded.stop()


def test_shows_the_last_pattern(look: Callable[[], Viewer], source: FakeDaemon, hub: UpdateHub) -> None:
    source.pattern = ("scan-1", 17, np.random.default_rng(0).random((16, 16)))
    hub.publish_layer(even_update(wavy((20, 20))))
    hub.publish_status(FULL_STATUS)
    viewer = look()
    viewer.until("document.querySelector('#pattern').naturalWidth === 16")
    assert viewer.text("#pattern-text") == "frame 17 · log scale"


def test_saves_what_is_shown(look: Callable[[], Viewer], source: FakeDaemon, hub: UpdateHub, tmp_path: Any) -> None:
    hub.publish_layer(even_update(wavy((20, 30))))
    viewer = look()
    viewer.until("document.querySelector('#save-npy').hasAttribute('href')")
    with viewer.page.expect_download() as download:
        viewer.page.click("#save-npy")
    assert download.value.suggested_filename == "scan-1_network.npy"
    np.testing.assert_array_equal(np.load(download.value.path()), wavy((20, 30)))
    viewer.page.select_option("#span", "2")
    viewer.until("document.querySelector('#save-png').getAttribute('href')?.includes('span=1.57')")
    with viewer.page.expect_download() as download:
        viewer.page.click("#save-png")
    assert image_of(download.value.path().read_bytes()).shape == (20, 30, 4)
    viewer.page.click("#save-product")
    viewer.until("document.querySelector('#save-note').textContent.includes('not written yet')")
    viewer.faults.clear()  # the browser notes each 404 that a person asked for
    source.product = tmp_path / "product.h5"
    source.product.write_bytes(b"\x89HDF")
    with viewer.page.expect_download() as download:
        viewer.page.click("#save-product")
    assert download.value.path().read_bytes() == b"\x89HDF"


def test_broken_messages_are_named_and_survived(look: Callable[[], Viewer], hub: UpdateHub) -> None:
    script = """async (bytes) => {
        const { decodeMessage } = await import("/page/wire.js");
        try { decodeMessage(new Uint8Array(bytes).buffer); } catch (fault) { return fault.message; }
        return "none";
    }"""
    page = look().page
    assert "tag" in page.evaluate(script, [0xC1])
    assert "array" in page.evaluate(script, [0x90])
    assert "topic" in page.evaluate(script, [0x92, 0xA1, 0x78, 0x80])
    assert "schema version" in page.evaluate(script, [0x92, 0xA4, 0x73, 0x63, 0x61, 0x6E, 0x80])
    assert "left over" in page.evaluate(script, [0x90, 0x01])
    assert "ends early" in page.evaluate(script, [0x91, 0xA4, 0x73])
