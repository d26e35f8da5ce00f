"""Views, colours and ranges of the viewer page."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from daemon.publish.hub import UpdateHub
from daemon.publish.png import grey_map, oklch_to_srgb, sequential_map
from tests.support.page_tools import PageViewer, even_update, image_of, wavy

pytestmark = pytest.mark.browser


def test_complex_view_shows_phase_as_hue_and_amplitude_as_brightness(
    look: Callable[[], PageViewer], hub: UpdateHub
) -> None:
    phase = np.linspace(-3.0, 3.0, 40)[None, :].repeat(30, axis=0)
    amplitude = np.linspace(0.0, 1.0, 30)[:, None]
    hub.publish_layer(even_update((amplitude * np.exp(1j * phase)).astype(np.complex64)))
    viewer = look()
    viewer.until_frames("network", 1)
    viewer.page.keyboard.press("4")
    drawn = viewer.colours((0, 0), (30, 40))[..., :3].astype(int)
    assert drawn[0].max() == 0
    assert (np.diff(drawn.sum(axis=-1).mean(axis=1)) >= 0).all()
    top, mean = viewer.page.evaluate("[ptycholive.stage.range.top, ptycholive.stage.range.mean]")
    share = np.floor(63 * min(1.0, amplitude[20, 0] / top)) / 63
    turned = np.angle(np.exp(1j * (phase[20] - mean)))
    hue = 2 * np.pi * np.floor(255 * (turned + np.pi) / (2 * np.pi)) / 256 + np.deg2rad(75)
    wanted = oklch_to_srgb(np.full(40, 0.84 * share), np.full(40, 0.125 * share), hue).astype(int)
    assert np.abs(drawn[20] - wanted).max() <= 6  # a step of either table


def test_flattening_takes_the_slope_of_the_phase_off(look: Callable[[], PageViewer], hub: UpdateHub) -> None:
    y, x = np.mgrid[:60, :80]
    slope = np.exp(1j * (0.05 * y - 0.11 * x + 0.4)).astype(np.complex64)
    hub.publish_layer(even_update(slope, origin_px=(-30, 17)))
    viewer = look()
    viewer.until_frames("network", 1)
    viewer.page.keyboard.press("r")
    viewer.page.evaluate("ptycholive.stage.settled()")
    assert viewer.page.evaluate("ptycholive.stage.measured.ramp") == pytest.approx([0.05, -0.11], abs=1e-4)
    assert viewer.page.evaluate("ptycholive.stage.measured.reach") < 0.01
    viewer.page.select_option("#span", "2")
    assert np.ptp(viewer.colours((-30, 17), (60, 80)).astype(int), axis=(0, 1)).max() <= 6
    assert viewer.page.get_attribute("#flat", "aria-pressed") == "true"


def test_generation_view_says_who_wrote_each_pixel_last(look: Callable[[], PageViewer], hub: UpdateHub) -> None:
    whole = wavy((40, 40))
    hub.publish_layer(even_update(whole, generation=2))
    viewer = look()
    viewer.until_frames("network", 1)
    hub.publish_layer(even_update(whole[:10, :10], shape=(40, 40), place=(5, 5), generation=3, stitched=2))
    viewer.until_frames("network", 2)
    viewer.page.keyboard.press("6")
    drawn = viewer.colours((0, 0), (40, 40))
    newer = np.zeros((40, 40), dtype=bool)
    newer[5:15, 5:15] = True
    table = sequential_map()
    assert (drawn[newer][:, :3] == table[255]).all()
    assert (drawn[~newer][:, :3] == table[0]).all()
    assert (viewer.text("#bar-low"), viewer.text("#bar-high")) == ("2", "3")


def test_a_page_that_comes_later_knows_the_generations(look: Callable[[], PageViewer], hub: UpdateHub) -> None:
    whole = wavy((64, 96))
    hub.publish_layer(even_update(whole, origin_px=(-32, 480), generation=2))
    newest = even_update(
        whole[:32, :32], origin_px=(-32, 480), shape=(64, 96), place=(32, 64), generation=3, stitched=2
    )
    hub.publish_layer(newest)
    viewer = look()
    viewer.until_frames("network", 2)
    places = "[[-32, 480], [-1, 575], [0, 543], [0, 544], [31, 575]]"
    found = viewer.page.evaluate(f"{places}.map(([y, x]) => ptycholive.stage.picture.valueAt(y, x).generation)")
    assert found == [2, 2, 2, 3, 3]


def test_weight_view_counts_in_powers_of_ten(look: Callable[[], PageViewer], hub: UpdateHub) -> None:
    weight = np.logspace(-4, 0, 41, dtype=np.float32)[None, :].repeat(20, axis=0)
    hub.publish_layer(even_update(wavy((20, 41)), weight=weight))
    viewer = look()
    viewer.until_frames("network", 1)
    viewer.page.keyboard.press("5")
    drawn = viewer.colours((0, 0), (20, 41))[3, :, :3].astype(int)
    wanted = sequential_map()[np.clip(255 * (np.log10(weight[3]) + 4) / 4, 0, 255).astype(int)].astype(int)
    assert np.abs(drawn - wanted).max() <= 6
    assert viewer.text("#bar-low") == "−4"


def test_colours_are_chosen_and_the_range_is_held(look: Callable[[], PageViewer], hub: UpdateHub) -> None:
    hub.publish_layer(even_update(wavy((20, 20), 0.2)))
    viewer = look()
    viewer.until_frames("network", 1)
    viewer.page.select_option("#colours", "grey")
    drawn = viewer.colours((0, 0), (20, 20))
    assert (drawn[..., 0] == drawn[..., 1]).all()
    assert set(drawn[..., 0].ravel().tolist()) <= set(grey_map()[:, 0].tolist())
    viewer.page.keyboard.press("h")
    held = viewer.page.evaluate("ptycholive.stage.settled().then(() => ptycholive.stage.range.high)")
    hub.publish_layer(even_update(wavy((20, 20), 1.5), stitched=2))
    viewer.until_frames("network", 2)
    assert viewer.page.evaluate("ptycholive.stage.settled().then(() => ptycholive.stage.range.high)") == held
    viewer.page.keyboard.press("h")
    assert viewer.page.evaluate("ptycholive.stage.settled().then(() => ptycholive.stage.range.high)") > held


def test_looks_that_the_daemon_does_not_draw_are_saved_too(look: Callable[[], PageViewer], hub: UpdateHub) -> None:
    hub.publish_layer(even_update(wavy((20, 30)), origin_px=(-5, 500)))
    viewer = look()
    viewer.until_frames("network", 1)
    viewer.page.keyboard.press("4")
    viewer.until("document.querySelector('#save-png').getAttribute('download')?.endsWith('complex.png')")
    with viewer.page.expect_download() as download:
        viewer.page.click("#save-png")
    saved = image_of(download.value.path().read_bytes())
    np.testing.assert_array_equal(saved, viewer.colours((-5, 500), (20, 30)))


def test_every_control_has_a_name(look: Callable[[], PageViewer], hub: UpdateHub) -> None:
    hub.publish_layer(even_update(wavy((20, 20))))
    page = look().page
    nameless = page.evaluate("""() => [...document.querySelectorAll("button, input, select, a, canvas:not([aria-hidden])")]
        .filter((e) => !(e.ariaLabel || e.textContent.trim() || [...(e.labels ?? [])].some((l) => l.textContent.trim())))
        .map((e) => e.outerHTML)""")
    assert nameless == []
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("#help").is_hidden()


def test_dark_and_light_as_chosen(look: Callable[[], PageViewer]) -> None:
    page = look().page
    colour = "getComputedStyle(document.body).backgroundColor"
    shades = {}
    for _ in range(3):
        page.keyboard.press("t")
        shades[page.text_content("#theme")] = page.evaluate(colour)
    assert set(shades) == {"auto", "dark", "light"}
    assert shades["dark"] != shades["light"]
    page.keyboard.press("t")
    page.reload()
    assert page.text_content("#theme") == "dark"
    assert page.evaluate(colour) == shades["dark"]
