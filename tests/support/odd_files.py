"""A small scan made by physics, and its files in every good and odd form that people have: each with the verdict it deserves."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from daemon.files import ScanFile
from daemon.files.completion import completed
from daemon.files.conversion import write_kind

SIDE, ROWS, STEP_PX = 32, 6, 4.0
ENERGY_EV, DISTANCE_M, DETECTOR_PIXEL_M = 8800.0, 1.92, 75e-6
DATA, DETECTOR = "entry_1/data_1/data", "entry_1/instrument_1/detector_1"
SOURCE, PLACES = "entry_1/instrument_1/source_1", "entry_1/sample_1/geometry_1/translation"
Make = Callable[[Path], object]


@cache
def scan() -> ScanFile:
    """Return 36 frames of 32 x 32 px of a phase object, 2e5 photons each."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    radius = np.hypot(y, x)
    probe = np.exp(-((radius / 5) ** 4)) * np.exp(0.03j * radius**2)
    probe *= np.sqrt(2e5 / np.square(np.abs(probe)).sum())
    places = np.stack([part.ravel() for part in np.mgrid[:ROWS, :ROWS]], axis=1) * STEP_PX
    rows, columns = np.mgrid[: SIDE + 24, : SIDE + 24]
    phase = 0.5 * (np.sin(rows / 4) * np.cos(columns / 5) > 0.1)
    truth = (1 - 0.1 * phase) * np.exp(1j * phase)
    patches = [truth[a : a + SIDE, b : b + SIDE] for a, b in places.astype(int)]
    far = np.fft.fftshift(
        np.fft.fft2(np.fft.ifftshift(np.array(patches) * probe, axes=(1, 2)), norm="ortho"), axes=(1, 2)
    )
    pixel_m = 1.2398419843320026e-6 / ENERGY_EV * DISTANCE_M / (SIDE * DETECTOR_PIXEL_M)
    found = ScanFile(
        name="odd",
        counts=rng.poisson(np.square(np.abs(far))).astype(np.uint32),
        indexes=np.arange(len(places)),
        positions_m=places * pixel_m,
        photon_energy_eV=ENERGY_EV,
        detector_distance_m=DISTANCE_M,
        detector_pixel_size_m=DETECTOR_PIXEL_M,
        probe=probe[None].astype(np.complex64),
    )
    return completed(found, Path("odd"))


def counts(dtype: str = "uint32", **pixels: Any) -> Any:
    """Return the patterns in a type; ``every`` and ``one`` are the value of a pixel in every frame, or in the fourth."""
    found = scan().counts.astype(dtype)
    for name, frames in (("every", slice(None)), ("one", 3)):
        if name in pixels:
            found[frames, 5, 6] = pixels[name]
    return found


def cxi(**changes: Any) -> Make:
    """Return a maker of a CXI file; of names, ``__`` is a slash; a value of ``None`` leaves the entry out."""

    def make(path: Path) -> None:
        write_kind(path, scan(), "cxi")
        with h5py.File(path, "a") as file:
            for place, value in changes.items():
                if place in file:
                    del file[place]
                if callable(value):
                    value(file)
                elif value is not None:
                    file[place] = value

    return make


def pixels(values: Any) -> Make:
    """Return a maker of a CXI file with other patterns."""
    return cxi(**{f"{DETECTOR}/data": values})


def kind(name: str, **changes: Any) -> Make:
    """Return a maker of a file of a kind, of the scan or a changed one."""
    return lambda path: write_kind(path, replace(scan(), **changes), name)


def frames(count: int) -> Make:
    """Return a maker of a CXI file of the first frames."""
    whole = scan()
    places = whole.positions_m[:count]  # type: ignore[index]
    return kind("cxi", counts=whole.counts[:count], indexes=whole.indexes[:count], positions_m=places)


def npz(**changes: Any) -> Make:
    """Return a maker of a training file with photons; a value of ``None`` leaves the key out."""
    base = {
        "diff3d": scan().counts,
        "xcoords": scan().positions_px[:, 1] + SIDE / 2,  # type: ignore[index]
        "ycoords": scan().positions_px[:, 0] + SIDE / 2,  # type: ignore[index]
        "probeGuess": scan().probe,
        "photon_energy_eV": ENERGY_EV,
        "detector_distance_m": DISTANCE_M,
        "detector_pixel_size_m": DETECTOR_PIXEL_M,
        **changes,
    }
    return lambda path: np.savez(path, **{key: value for key, value in base.items() if value is not None})


def roots(**changes: Any) -> Make:
    """Return a maker of a training file with amplitudes that do not tell their scale."""
    noise = np.random.default_rng(1).random(scan().counts.shape) * 0.7
    amplitude = np.sqrt(scan().counts + noise).astype(np.float32) / 50
    for where, value in changes.items():
        amplitude[3, 5, 6] = value if where == "one" else amplitude[3, 5, 6]
    return npz(diff3d=None, diffraction=amplitude)


def _with_json(path: Path) -> None:
    npz()(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("metadata.json", "{}")


def _soft(file: h5py.File) -> None:
    file.move("entry_1/instrument_1", "raw/instrument")
    file["entry_1/instrument_1"] = h5py.SoftLink("/raw/instrument")


def _virtual(file: h5py.File) -> None:
    del file[f"{DETECTOR}/data"]
    layout = h5py.VirtualLayout((36, SIDE, SIDE), "u4")
    with h5py.File(Path(file.filename).with_name("there.h5"), "w") as there:
        there["d"] = scan().counts[:25]
    layout[:25] = h5py.VirtualSource("there.h5", "d", (25, SIDE, SIDE))
    layout[25:] = h5py.VirtualSource("gone.h5", "d", (11, SIDE, SIDE))
    file.create_virtual_dataset(f"{DETECTOR}/data", layout)


def _in_kev(file: h5py.File) -> None:
    del file[f"{SOURCE}/energy"]
    file[f"{SOURCE}/energy"] = 8.8
    file[f"{SOURCE}/energy"].attrs["units"] = "keV"


def _without_filter(file: h5py.File) -> None:
    del file[f"{DETECTOR}/data"]
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk((1, SIDE, SIDE))
    plan.set_filter(32004, h5py.h5z.FLAG_OPTIONAL, (0, 0))
    space = h5py.h5s.create_simple((36, SIDE, SIDE))
    made = h5py.h5d.create(file[DETECTOR].id, b"data", h5py.h5t.NATIVE_UINT32, space, plan)
    made.write_direct_chunk((0, 0, 0), b"x" * 200)


def _cut(path: Path) -> None:
    cxi()(path)
    path.write_bytes(path.read_bytes()[:3000])


def _huge(file: h5py.File) -> None:
    del file[f"{DETECTOR}/data"]
    file.create_dataset(f"{DETECTOR}/data", (1 << 16, 16384, 16384), "u4", chunks=(1, 64, 64))


def _mask(is_inverted: bool) -> Any:
    mask = np.full((SIDE, SIDE), int(is_inverted), np.uint32)
    mask[5, 6] = 1 - int(is_inverted)
    return mask


def _last(path: Path) -> None:
    npz(diff3d=np.moveaxis(scan().counts, 0, -1))(path)


def _places(factor: float) -> Make:
    y, x = scan().positions_m.T * factor  # type: ignore[union-attr]
    return cxi(**{PLACES: np.stack([x, y, 0 * x], axis=1)})


def _wide() -> Any:
    """Return the patterns within wider ones, whose beam is far from the middle."""
    return np.pad(scan().counts, ((0, 0), (0, 0), (0, 24)))


FILES: dict[str, tuple[str, Make]] = {
    "plain.cxi": ("good", cxi()),
    "soft-links.cxi": ("good", cxi(soft=_soft)),
    "one-element.cxi": ("good", cxi(**{f"{DETECTOR}/distance": np.array([DISTANCE_M])})),
    "kev-said.cxi": ("good", cxi(energy=_in_kev)),
    "raster.cxi": ("good", pixels(scan().counts.reshape(ROWS, ROWS, SIDE, SIDE))),
    "masked-pixel.cxi": ("good", cxi(**{f"{DETECTOR}/mask": _mask(is_inverted=False)})),
    "signed-2.cxi": ("good", pixels(counts("int32", every=-2))),
    "signed-1-once.cxi": ("good", pixels(counts("int32", one=-1))),
    "u32-2.cxi": ("good", pixels(counts(every=2**32 - 2))),
    "u32-1-as-float.cxi": ("good", pixels(counts("float64", every=2**32 - 1))),
    "u32-1-as-i8.cxi": ("good", pixels(counts("int64", every=2**32 - 1))),
    "u16-2.cxi": ("good", pixels(np.where(np.indices((SIDE, SIDE)).sum(0) == 0, 65534, counts()).astype(np.uint16))),
    "nan-once.cxi": ("good", pixels(counts("float32", one=np.nan))),
    "oblong-short.cxi": ("good", pixels(scan().counts[:, 1:-1])),
    "oblong-wide.cxi": ("good", pixels(_wide())),
    "one-frame.cxi": ("good", frames(1)),
    "two-frames.cxi": ("good", frames(2)),
    "plain.nxs": ("good", kind("nexus")),
    "plain.ptyd": ("good", kind("ptyd")),
    "plain-roots.npz": ("good", kind("npz-diffraction")),
    "plain-counts.npz": ("good", kind("npz-diff3d")),
    "bare.npz": ("good", npz()),
    "with-json.npz": ("good", _with_json),
    "index-of-points.npz": ("good", npz(scan_index=np.arange(36))),
    "probe-nn1.npz": ("good", npz(probeGuess=scan().probe[0][..., None])),  # type: ignore[index]
    "frames-last.npz": ("good", _last),
    "roots-as-counts.npz": ("good", npz(diff3d=np.sqrt(scan().counts).astype(np.float32))),
    "amplitudes.npz": ("good", roots()),
    "amplitudes-nan.npz": ("good", roots(one=np.nan)),
    "amplitudes-inf.npz": ("good", roots(one=np.inf)),
    "unwritten-tail.cxi": (
        "doubtful",
        pixels(np.where(np.arange(36)[:, None, None] < 30, scan().counts, 0).astype(np.uint32)),
    ),
    "virtual.cxi": ("bad", cxi(virtual=_virtual)),
    "kev.cxi": ("doubtful", cxi(**{f"{SOURCE}/energy": 8.8})),
    "mm.cxi": ("bad", cxi(**{f"{DETECTOR}/distance": DISTANCE_M * 1e3})),
    "positions-um.cxi": ("bad", _places(1e6)),
    "positions-mm.cxi": ("bad", _places(1e3)),
    "one-position.cxi": ("bad", _places(0.0)),
    "inverted-mask.cxi": ("bad", cxi(**{f"{DETECTOR}/mask": _mask(is_inverted=True)})),
    "all-masked.cxi": ("bad", cxi(**{f"{DETECTOR}/mask": np.ones((SIDE, SIDE), np.uint32)})),
    "dark.cxi": ("bad", pixels(np.zeros((36, SIDE, SIDE), np.uint16))),
    "no-filter.cxi": ("refused", cxi(filter=_without_filter)),
    "huge.cxi": ("refused", cxi(huge=_huge)),
    "cut.cxi": ("refused", _cut),
    "empty.cxi": ("refused", lambda path: path.write_bytes(b"")),
    "tiny.npz": ("refused", lambda path: path.write_bytes(b"PK")),
    "text.npz": ("refused", lambda path: path.write_text("hello, this is text")),
    "no-array.npz": ("refused", lambda path: zipfile.ZipFile(path, "w").writestr("a.json", "{}")),
    "objects.npz": ("refused", npz(diff3d=np.array([{}], dtype=object))),
    "two-scans.npz": ("refused", npz(scan_index=np.repeat([0, 1], 18))),
}
"""Each file's name, the verdict that it deserves, and its maker."""
