"""Writing pictures: NPZ, HDF5, and plots (PNG, SVG and the other formats of matplotlib), with the truth if given."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from ptychopinn.atomic import atomic_path
from ptychopinn.diagnosis.comparison import well_covered
from ptychopinn.errors import ConfigurationError, FileFormatError
from ptychopinn.hdf5_file import atomic_hdf5
from ptychopinn.training.heldout import phase_correlation
from ptychopinn.workflow.reassembly import Picture

Truth = NDArray[np.complex64]


def save_npz(path: Path | str, picture: Picture, truth: Truth | None = None) -> None:
    """Write object, weight and origin, and the truth if there is one."""
    with atomic_path(Path(path)) as part, part.open("xb") as stream:
        np.savez_compressed(stream, **_content(picture, truth))


def save_hdf5(path: Path | str, picture: Picture, truth: Truth | None = None) -> None:
    """Write the same as :func:`save_npz` as HDF5 datasets."""
    with atomic_hdf5(Path(path)) as file:
        for key, value in _content(picture, truth).items():
            is_image = np.ndim(value) == 2
            file.create_dataset(key, data=value, **({"compression": "gzip", "shuffle": True} if is_image else {}))


def load_picture(path: Path | str) -> Picture:
    """Return the picture that :func:`save_npz` or :func:`save_hdf5` wrote.

    Raises
    ------
    FileFormatError
        If the file is neither, or damaged.
    """
    path = Path(path)
    try:
        if h5py.is_hdf5(path):
            with h5py.File(path) as file:
                content = {key: file[key][()] for key in file}
        else:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                content = dict(archive)
        y, x = content["origin_px"].tolist()
        rfactors = tuple(content["rfactors"].tolist())
        return Picture(content["object"], content["weight"], (y, x), int(content["frames"]), rfactors)
    except FileNotFoundError:
        raise FileFormatError(f"{path}: there is no such file; give a saved picture") from None
    except Exception as fault:  # readers raise errors of any kind
        raise FileFormatError(f"{path}: not a saved picture, or damaged; save it again") from fault


def save_plot(path: Path | str, picture: Picture, truth: Truth | None = None, *, title: str = "") -> None:
    """Write a plot of amplitude and phase; with a truth, it is in a second row and the phase correlation in the title.

    The plot shows the part that is covered well, without the border of :attr:`Picture.window_px`.

    Parameters
    ----------
    truth : (H, W) complex64
        Its pixel (0, 0) lies at (0, 0) of the object's frame.

    Raises
    ------
    ConfigurationError
        If matplotlib is not installed, or does not support the file's extension.
    """
    path, picture = Path(path), plotted_part(picture)
    figure_module = import_matplotlib()
    rows = [("reconstruction", picture.object, well_covered(picture.weight))]
    if truth is not None:
        beside = truth_beside(picture, truth)
        fields = (picture.object, beside, covered(picture, beside))
        correlation = phase_correlation(*(torch.from_numpy(field) for field in fields))
        title = f"{title}  phase correlation {correlation:.3f}".strip()
        rows.append(("truth", beside, beside != 0))
    figure = figure_module.Figure(figsize=(8, 4 * len(rows)), layout="constrained")
    _draw(figure, rows)
    if title:
        figure.suptitle(title)
    kind = path.suffix.removeprefix(".").lower()
    if kind not in figure.canvas.get_supported_filetypes():
        raise ConfigurationError(f"{path}: a plot is written as png, svg or pdf; use one of these extensions")
    with atomic_path(path) as part:
        figure.savefig(part, format=kind)


def plotted_part(picture: Picture) -> Picture:
    """Return the part of a picture that plots show: the box around the pixels covered well, within its window.

    A window that leaves nothing is not used.
    """
    if 0 < 2 * picture.window_px < min(picture.object.shape):
        picture = picture.cropped()
    well = well_covered(picture.weight)
    if not well.any():
        return picture
    rows, columns = (np.flatnonzero(well.any(axis=axis)) for axis in (1, 0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    y, x = picture.origin_px
    origin = (y + int(rows[0]), x + int(columns[0]))
    return replace(picture, object=picture.object[box], weight=picture.weight[box], origin_px=origin)


def import_matplotlib() -> Any:
    """Return matplotlib's module of figures; without it one sentence says how to install it, before any work."""
    try:
        return importlib.import_module("matplotlib.figure")
    except ImportError:
        raise ConfigurationError("matplotlib is not installed; install ptycholive[plot]") from None


def _draw(figure: Any, rows: Sequence[tuple[str, Truth, NDArray[np.bool_]]]) -> None:
    """Draw amplitude and phase of each row (name, field, where it is known) with one colour scale for each column."""
    axes = figure.subplots(len(rows), 2, squeeze=False)
    for column, (what, colours) in enumerate((("amplitude", "gray"), ("phase / rad", "viridis"))):
        images = [_shown(field, known, what) for _, field, known in rows]
        low, high = _limits(images)
        for line, (name, _, _), image in zip(axes, rows, images, strict=True):
            drawn = line[column].imshow(image, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
            line[column].set(title=f"{name}, {what}", xlabel="x / px", ylabel="y / px")
        figure.colorbar(drawn, ax=axes[:, column], shrink=0.8)


def truth_beside(picture: Picture, truth: Truth) -> Truth:
    """Return the part of the truth under the picture, of its shape; 0 outside the truth."""
    beside = np.zeros_like(picture.object)
    low = [max(0, origin) for origin in picture.origin_px]
    ends = zip(picture.origin_px, picture.object.shape, truth.shape, strict=True)
    high = [min(origin + size, limit) for origin, size, limit in ends]
    if all(a < b for a, b in zip(low, high, strict=True)):
        target = tuple(slice(a - o, b - o) for a, b, o in zip(low, high, picture.origin_px, strict=True))
        beside[target] = truth[low[0] : high[0], low[1] : high[1]]
    return beside


def covered(picture: Picture, truth: Truth) -> NDArray[np.bool_]:
    """Return where the picture is covered well and the truth is known."""
    well: NDArray[np.bool_] = well_covered(picture.weight) & (truth != 0)
    return well


def _content(picture: Picture, truth: Truth | None) -> dict[str, Any]:
    content: dict[str, Any] = {
        "object": picture.object,
        "weight": picture.weight,
        "origin_px": np.array(picture.origin_px, dtype=np.int64),
        "frames": np.int64(picture.frames),
        "rfactors": np.array(picture.rfactors, dtype=np.float64),
    }
    return content if truth is None else {**content, "truth": truth}


def _shown(field: Truth, known: NDArray[np.bool_], what: str) -> NDArray[np.float32]:
    """Return amplitude or phase, this turned so that its mean is around 0; NaN where nothing is known."""
    mean = field[known].sum()
    values = np.abs(field) if what == "amplitude" else np.angle(field * np.conj(mean / max(abs(mean), 1e-12)))
    return np.where(known, values, np.nan).astype(np.float32)


def _limits(images: list[NDArray[np.float32]]) -> tuple[float, float]:
    shown = np.concatenate([image[np.isfinite(image)] for image in images])
    low, high = np.percentile(shown, (1, 99)) if shown.size else (0.0, 1.0)
    return float(low), float(max(high, low + 1e-6))
