"""Object library: textures of many families, and thin objects made from them.

A texture is a map ``(side, side)`` float32 from 0 to 1, the local thickness; an object is
``exp(-absorption t + i phase t)``. Drawn shapes are rendered at twice the size and reduced, so edges are smooth.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from torch import Tensor

Texture = NDArray[np.floating[Any]]
_LETTERS = "ABCDEFGHKLMNPQRSTUVXYZabcdefghkmnpqrstuvxyz0123456789&%#@+=/"


def _canvas(side: int, level: int = 0) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("L", (2 * side, 2 * side), level)
    return image, ImageDraw.Draw(image)


def _reduced(image: Image.Image) -> Texture:
    drawn = np.asarray(image.reduce(2), dtype=np.float32)
    return drawn / 255.0


def _level(rng: np.random.Generator) -> int:
    return int(rng.integers(40, 256))


def _polygon(centre: NDArray[np.float64], radius: float, rng: np.random.Generator) -> list[tuple[float, float]]:
    corners = int(rng.integers(3, 9))
    turns = np.sort(rng.uniform(0, 2 * np.pi, corners))
    reach = radius * rng.uniform(0.5, 1.0, corners)
    return [(centre[0] + r * math.cos(t), centre[1] + r * math.sin(t)) for r, t in zip(reach, turns, strict=True)]


def _shapes(side: int, rng: np.random.Generator) -> Texture:
    image, draw = _canvas(side, int(rng.choice([0, 0, 90])))
    largest = 2 * side * math.exp(rng.uniform(math.log(0.04), math.log(0.25)))
    for _ in range(int(min(400, rng.uniform(0.3, 1.2) * (2 * side / largest) ** 2)) + 1):
        centre, radius = rng.uniform(0, 2 * side, 2), largest * rng.uniform(0.3, 1.0)
        if rng.random() < 0.5:
            draw.polygon(_polygon(centre, radius, rng), fill=_level(rng))
            continue
        wide, high = radius * rng.uniform(0.5, 1.0, 2)
        box = (centre[0] - wide, centre[1] - high, centre[0] + wide, centre[1] + high)
        thick = int(rng.integers(2, 12))
        if rng.random() < 0.3:
            draw.ellipse(box, outline=_level(rng), width=thick)
        elif rng.random() < 0.5:
            draw.ellipse(box, fill=_level(rng))
        else:
            draw.rectangle(box, fill=_level(rng))
    return _reduced(image)


def _bars(side: int, rng: np.random.Generator) -> Texture:
    image, draw = _canvas(side)
    for _ in range(int(rng.integers(4, 40))):
        x, y = rng.uniform(-0.1, 2.0, 2) * side
        pitch = math.exp(rng.uniform(math.log(5), math.log(60)))
        length, bars, level = pitch * rng.uniform(3, 12), int(rng.integers(2, 9)), _level(rng)
        for k in range(bars):
            begin = k * pitch
            box = (x + begin, y, x + begin + pitch / 2, y + length)
            draw.rectangle(box if rng.random() < 0.98 else (y, x, y + 1, x + 1), fill=level)
        if rng.random() < 0.5:
            image = image.transpose(Image.Transpose.ROTATE_90)
            draw = ImageDraw.Draw(image)
    if rng.random() < 0.5:
        image = image.rotate(float(rng.uniform(0, 90)), Image.Resampling.BILINEAR)
    return _reduced(image)


def _lines(side: int, rng: np.random.Generator) -> Texture:
    image, draw = _canvas(side)
    for _ in range(int(rng.integers(8, 90))):
        points = rng.uniform(-0.2, 2.2, 2) * side + np.cumsum(
            rng.normal(0, 0.12 * side, (int(rng.integers(2, 8)), 2)), axis=0
        )
        draw.line([(float(x), float(y)) for x, y in points], fill=_level(rng), width=int(rng.integers(2, 16)))
    return _reduced(image)


def _stars(side: int, rng: np.random.Generator) -> Texture:
    image, draw = _canvas(side, 255 if rng.random() < 0.3 else 0)
    ink = 255 - int(image.getpixel((0, 0)) or 0)  # type: ignore[arg-type]
    x, y = rng.uniform(-0.2, 2.2, 2) * side
    spokes, duty, turn = int(rng.integers(6, 50)), rng.uniform(0.3, 0.7), rng.uniform(0, 2 * np.pi)
    inner, outer = rng.uniform(0.02, 0.3) * side, rng.uniform(1.0, 3.0) * side
    for k in range(spokes):
        if rng.random() < 0.06:
            continue
        edge = [turn + 2 * np.pi * (k + part) / spokes for part in (0, duty)]
        far = outer * (1 if rng.random() < 0.8 else rng.uniform(0.3, 1))
        ring = [(r, t) for r, t in ((inner, edge[0]), (far, edge[0]), (far, edge[1]), (inner, edge[1]))]
        draw.polygon([(x + r * math.cos(t), y + r * math.sin(t)) for r, t in ring], fill=ink)
    for _ in range(int(rng.integers(0, 4))):
        radius = rng.uniform(inner, outer)
        box = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse(box, outline=int(rng.choice([0, 255])), width=int(rng.integers(2, 9)))
    if rng.random() < 0.5:
        draw.ellipse((x - inner, y - inner, x + inner, y + inner), fill=int(rng.choice([ink, 128])))
    return _reduced(image)


def _glyphs(side: int, rng: np.random.Generator) -> Texture:
    image, draw = _canvas(side)
    height = math.exp(rng.uniform(math.log(14), math.log(160)))
    fonts = [ImageFont.load_default(size=height * part) for part in (0.6, 1.0, 1.4)]
    for _ in range(int(min(200, 5 * (side / height) ** 2)) + 2):
        font = fonts[int(rng.integers(3))]
        text = "".join(rng.choice(list(_LETTERS), int(rng.integers(1, 7))))
        x, y = rng.uniform(-0.2, 2.0, 2) * side
        draw.text((float(x), float(y)), text, fill=_level(rng), font=font)
    return _reduced(image.rotate(float(rng.uniform(0, 360)), Image.Resampling.BILINEAR))


def _spectral(side: int, low: float, high: float, slope: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return noise whose amplitude spectrum falls as q^-slope between two frequencies; mean 0, variance 1."""
    q = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    shape = np.where(q > 0, np.maximum(q, low) ** -slope * np.exp(-((q / high) ** 2)), 0)
    phase = np.exp(2j * np.pi * rng.random(q.shape)) * np.sqrt(rng.exponential(size=q.shape))
    noise: NDArray[np.float64] = np.fft.irfft2(shape * phase, s=(side, side))
    noise /= max(float(noise.std()), 1e-12)
    return noise


def _noise(side: int, rng: np.random.Generator) -> Texture:
    high = math.exp(rng.uniform(math.log(0.04), math.log(0.5)))
    noise = _spectral(side, rng.uniform(1, 8) / side, high, rng.uniform(0.5, 2.2), rng)
    return np.clip(0.5 + noise / 5, 0, 1).astype(np.float32)


def _cells(side: int, rng: np.random.Generator) -> Texture:
    size = math.exp(rng.uniform(math.log(6), math.log(40)))
    out = np.zeros((side, side), dtype=np.float32)
    for _ in range(int(min(500, rng.uniform(0.2, 1.5) * (side / size) ** 2)) + 1):
        reach = size * rng.uniform(0.4, 1.0)
        y, x = rng.uniform(0, side, 2)
        top, left = max(0, int(y - reach)), max(0, int(x - reach))
        rows, columns = np.arange(top, min(side, int(y + reach) + 2)), np.arange(left, min(side, int(x + reach) + 2))
        squash = rng.uniform(0.6, 1.0)
        r2 = (((rows - y) / squash) ** 2)[:, None] + ((columns - x) ** 2)[None]
        bell = np.maximum(0, 1 - r2 / reach**2) ** rng.choice([0.5, 1.0, 2.0])
        out[top : top + len(rows), left : left + len(columns)] += rng.uniform(0.2, 1.0) * bell.astype(np.float32)
    return out


def _leaves(side: int, rng: np.random.Generator) -> Texture:
    """Dead leaves: discs and polygons of power-law sizes that hide one another, with shaded, grained surfaces."""
    image, draw = _canvas(side, 128)
    smallest, largest = 4.0, side * rng.uniform(0.3, 1.0)
    power = rng.uniform(1.5, 2.5)
    for _ in range(int(rng.integers(250, 700))):
        share = rng.random()
        radius = (smallest**-power + share * (largest**-power - smallest**-power)) ** (-1 / power)
        radius = radius if rng.random() < 0.7 else rng.uniform(smallest, largest)
        centre = rng.uniform(0, 2 * side, 2)
        if rng.random() < 0.5:
            draw.polygon(_polygon(centre, radius * 1.4, rng), fill=int(rng.integers(0, 256)))
        else:
            box = (centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius)
            draw.ellipse(box, fill=int(rng.integers(0, 256)))
    flat = _reduced(image)
    grain = _spectral(side, 2 / side, 0.3, rng.uniform(0.8, 1.8), rng)
    return (flat + rng.uniform(0, 0.12) * grain).astype(np.float32)


def _maze(side: int, rng: np.random.Generator) -> Texture:
    period = math.exp(rng.uniform(math.log(6), math.log(30)))
    q = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    band = np.exp(-(((q * period - 1) / 0.15) ** 2))
    phase = np.exp(2j * np.pi * rng.random(q.shape))
    wave = np.fft.irfft2(band * phase, s=(side, side))
    wave /= max(float(wave.std()), 1e-12)
    out: Texture = (1 / (1 + np.exp(-6 * (wave - rng.uniform(-0.5, 0.5))))).astype(np.float32)
    return out


TEXTURES: dict[str, Callable[[int, np.random.Generator], Texture]] = {
    "shapes": _shapes,
    "bars": _bars,
    "lines": _lines,
    "stars": _stars,
    "glyphs": _glyphs,
    "noise": _noise,
    "cells": _cells,
    "leaves": _leaves,
    "maze": _maze,
}
"""Texture families; each makes a map of one side length from a random generator."""


def make_texture(kind: str, side_px: int, rng: np.random.Generator) -> Texture:
    """Return a texture ``(side, side)`` float32 from 0 to 1, blurred by 0-1.5 px, one in four grained."""
    texture = TEXTURES[kind](side_px, rng)
    if rng.random() < 0.7:
        texture = ndimage.gaussian_filter(texture, rng.uniform(0.3, 1.5))
    if rng.random() < 0.25:
        texture = texture * (
            1 + rng.uniform(0.05, 0.3) * _spectral(side_px, 2 / side_px, 0.25, rng.uniform(0.5, 2), rng)
        )
    texture = texture - texture.min()
    out: Texture = (texture / max(float(texture.max()), 1e-12)).astype(np.float32)
    return out


def make_object(texture: Texture, phase_rad: float, absorption: float) -> Tensor:
    """Return ``exp((-absorption + i phase_rad) t)`` complex64 for a texture t from 0 to 1."""
    thickness = torch.from_numpy(np.ascontiguousarray(texture))
    return torch.polar(torch.exp(-absorption * thickness), phase_rad * thickness)
