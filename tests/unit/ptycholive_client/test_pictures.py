"""Pictures of the light client: values, extent, crop, HTML, PNG, layers for napari, the choice of a layer."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ptycholive_client import EndpointError, Picture
from ptycholive_client.drawing import layer_colours, png
from ptycholive_client.follower import _Chosen
from ptycholive_client.html import MOST_SIDE_PX, view_png
from ptycholive_client.napari import layer_options, show
from ptycholive_client.viewer import Viewer
from ptycholive_client.web_updates import updates_address


def picture(height: int = 30, width: int = 40) -> Picture:
    """Return a picture whose rows 4 to 9 and columns 5 to 14 are covered."""
    weight = np.zeros((height, width), np.float32)
    weight[4:10, 5:15] = 1
    pixels = np.where(weight > 0, 2 * np.exp(0.3j), 0).astype(np.complex64)
    return Picture("<a>", "network", (-10, 20), 5e-8, 7, 8, 0, 0.1234, False, 0, pixels, weight)


def test_values_are_nan_where_nothing_is_covered() -> None:
    seen = picture()
    covered = seen.weight > 0
    np.testing.assert_allclose(seen.phase()[covered], 0, atol=1e-6)
    np.testing.assert_allclose(seen.amplitude()[covered], 2)
    assert np.isnan(seen.phase()[~covered]).all()
    assert np.isnan(seen.amplitude()[~covered]).all()


def test_the_crop_keeps_its_place() -> None:
    part = picture().cropped()
    assert part.shape == (6, 10)
    assert part.origin_px == (-6, 25)
    assert part.extent_um == pytest.approx((1.25, 1.75, 0.0, -0.3))
    assert replace(part, pixel_size_m=None).extent_um is None


def test_the_faint_rim_is_cropped() -> None:
    seen = picture()
    seen.weight[0, 0] = 1e-3
    assert seen.cropped().shape == (6, 10)


def test_a_box_is_the_same_place_whatever_is_covered() -> None:
    box = (-0.6, 0.5, 0.1, 3.0)  # um; a pixel has 0.05 um
    small, large = picture(14, 20).boxed(box), picture(30, 40).boxed(box)
    assert small.shape == large.shape == (14, 50)
    assert small.origin_px == large.origin_px == (-12, 10)
    np.testing.assert_array_equal(small.object, large.object)
    assert (large.weight > 0).sum() == 60
    assert large.weight[6, 15] == 1  # row 4 of the picture, column 5
    for wrong in ((0, 0, 0, 1), (0, 0, 1, float("nan")), (0, 0, 1e6, 1e6)):
        with pytest.raises(ValueError, match="box"):
            picture().boxed(wrong)
    with pytest.raises(ValueError, match="pixel size"):
        replace(picture(), pixel_size_m=None).boxed(box)


def test_an_empty_picture_has_words_instead_of_pictures() -> None:
    seen = picture()
    empty = replace(seen, weight=np.zeros_like(seen.weight))
    assert empty.cropped().shape == (0, 0)
    assert "nothing is covered" in empty._repr_html_()
    assert "<img" not in empty._repr_html_()


def test_html_has_both_views_and_escapes_the_scan() -> None:
    html = picture()._repr_html_()
    assert len(re.findall("data:image/png;base64,", html)) == 2
    assert "&lt;a&gt;" in html
    assert "<a>" not in html
    assert "R 0.123" in html
    assert "0.3 x 0.5 µm" in html


def test_the_png_is_what_another_program_reads() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (17, 23, 4), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png(colours)))), colours)
    smooth, _ = layer_colours(picture(), "phase")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png(smooth)))), smooth)


def test_large_pictures_are_reduced() -> None:
    seen = replace(picture(1200, 20), weight=np.ones((1200, 20), np.float32))
    assert Image.open(io.BytesIO(view_png(seen))).height <= MOST_SIDE_PX


def test_napari_gets_micrometres_and_gaps() -> None:
    layers = layer_options(picture())
    assert layers["phase"]["scale"] == pytest.approx((0.05, 0.05))
    assert layers["phase"]["translate"] == pytest.approx((-0.5, 1.0))
    assert np.isnan(layers["phase"]["data"][0, 0])


def test_a_layer_of_napari_is_replaced() -> None:
    window = SimpleNamespace(layers={}, text_overlay=SimpleNamespace(visible=False, text=""))
    window.add_image = lambda *, name, **options: window.layers.update({name: SimpleNamespace(**options)})
    show(window, picture())
    first = window.layers["phase"]
    show(window, picture(50, 60))
    assert window.layers["phase"] is first
    assert first.data.shape == (50, 60)
    assert "7 frames" in window.text_overlay.text


def test_the_best_layer_never_goes_back_to_the_network() -> None:
    chosen, network = _Chosen("best"), picture()
    refined = replace(network, layer="refined")
    taken = [chosen.take(seen) for seen in (network, refined, network, replace(network, scan_id="b"))]
    assert taken == [True, True, False, True]
    assert [_Chosen("network").take(seen) for seen in (network, refined)] == [True, False]


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("http://host:8080", "ws://host:8080/api/v1/updates"),
        ("https://host/", "wss://host/api/v1/updates"),
        ("ws://host:1/other", "ws://host:1/other"),
    ],
)
def test_the_page_has_the_updates(given: str, address: str) -> None:
    assert updates_address(given) == address


def test_an_address_without_a_host_is_refused() -> None:
    with pytest.raises(EndpointError, match="not a valid address"):
        Viewer("http:///x")
