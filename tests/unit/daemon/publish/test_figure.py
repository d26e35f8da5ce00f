"""Figures: cropped to the covered part, with bars of the right length, and values that programs read back."""

from __future__ import annotations

import io
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from daemon.publish.colour_maps import NAMES, colour_table
from daemon.publish.figure import (
    FigureOptions,
    bar_length,
    make_figure,
    npz_bytes,
    png_bytes,
    svg_bytes,
    tiff_bytes,
)
from daemon.publish.snapshot import LayerCanvas
from tests.support.page_tools import wavy

PIXEL_M = 28e-9


@pytest.fixture(scope="module")
def canvas() -> LayerCanvas:
    """200 x 300 pixels; the middle is covered, a faint rim around it, nothing else."""
    weight = np.zeros((200, 300), dtype=np.float32)
    weight[30:170, 40:260] = 0.01
    weight[40:160, 50:250] = 1
    return LayerCanvas("scan <1>", "refined", (-7, 11), PIXEL_M, 516, 516, 0, 0.1234, True, 1, wavy((200, 300)), weight)


def test_a_figure_is_cropped_to_what_is_not_faint(canvas: LayerCanvas) -> None:
    figure = make_figure(canvas, FigureOptions(view="amplitude", has_bars=False))
    assert figure.values.shape == (120, 200)
    assert figure.corner_px == (33, 61)
    assert np.asarray(Image.open(io.BytesIO(png_bytes(figure)))).shape == (120, 200, 4)
    whole = make_figure(canvas, FigureOptions(is_cropped=False, has_bars=False))
    assert whole.values.shape == (200, 300)
    assert whole.opacity[0, 0] == 0 < whole.opacity[35, 100] < 0.1 < whole.opacity[100, 100] == 1


def test_a_thumbnail_has_the_side_that_was_asked_for(canvas: LayerCanvas) -> None:
    figure = make_figure(canvas, FigureOptions(has_bars=False, side_px=50))
    assert Image.open(io.BytesIO(png_bytes(figure))).size == (50, 30)


def test_the_bars_stand_below_the_picture(canvas: LayerCanvas) -> None:
    figure = make_figure(canvas, FigureOptions())
    drawn = np.asarray(Image.open(io.BytesIO(png_bytes(figure))))
    assert drawn.ndim == 3
    assert drawn.shape[0] > 3 * 120  # small pictures are enlarged, then comes the text
    length_m, words = bar_length(200, PIXEL_M)
    assert (length_m, words) == (pytest.approx(1e-6), "1 µm")
    root = ElementTree.fromstring(svg_bytes(figure))
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "1 µm" in texts
    assert any("scan <1>, refined layer, 516 frames, R 0.123" in str(text) for text in texts)
    bar = next(rect for rect in root.iter("{http://www.w3.org/2000/svg}rect") if rect.get("fill") is None)
    picture = next(root.iter("{http://www.w3.org/2000/svg}image"))
    assert float(bar.get("width")) / float(picture.get("width")) == pytest.approx(length_m / PIXEL_M / 200, rel=1e-3)


def test_values_and_metadata_are_read_back(canvas: LayerCanvas) -> None:
    figure = make_figure(canvas, FigureOptions(view="amplitude"))
    with Image.open(io.BytesIO(tiff_bytes(figure))) as image:
        np.testing.assert_allclose(np.asarray(image), np.abs(canvas.object)[40:160, 50:250], rtol=1e-6)
        assert json.loads(image.tag_v2[270])["pixel_size_m"] == PIXEL_M
        assert float(image.tag_v2[282]) == pytest.approx(0.01 / PIXEL_M, rel=1e-3)  # pixels per cm
    archive = np.load(io.BytesIO(npz_bytes(figure)))
    np.testing.assert_array_equal(archive["object"], canvas.object[40:160, 50:250])
    assert json.loads(str(archive["metadata"]))["scan_id"] == "scan <1>"


def test_range_and_colours_are_those_that_were_asked_for(canvas: LayerCanvas) -> None:
    figure = make_figure(
        canvas, FigureOptions(view="amplitude", low=0.9, high=1.1, colours="viridis", is_inverted=True)
    )
    assert (figure.low, figure.high) == (0.9, 1.1)
    colours = figure.colours()[..., :3]
    bright = np.abs(canvas.object)[40:160, 50:250] > 1.1
    assert bright.any()
    assert (colours[bright] == colour_table("viridis")[0]).all()


def test_a_picture_of_nothing_is_a_figure_too(canvas: LayerCanvas) -> None:
    nothing = np.zeros((8, 8), np.complex64), np.zeros((8, 8), np.float32)
    empty = LayerCanvas("empty", "network", (0, 0), None, 0, 0, 0, None, False, 0, *nothing)
    for view in ("phase", "amplitude", "coverage"):
        figure = make_figure(empty, FigureOptions(view=view))
        for make in (png_bytes, svg_bytes, tiff_bytes, npz_bytes):
            assert len(make(figure)) > 100


def test_the_standard_tables_are_those_of_matplotlib() -> None:
    matplotlib = pytest.importorskip("matplotlib", reason="the tables are compared with matplotlib's")
    for name in NAMES[3:]:
        wanted = 255 * matplotlib.colormaps[name](np.linspace(0, 1, 256))[:, :3]
        assert np.abs(colour_table(name) - wanted).max() <= 0.5 + 1e-6
    content = json.loads((Path(__file__).parents[4] / "daemon/publish/page/colour-maps.json").read_text())
    assert set(content["maps"]) == set(NAMES[3:])
