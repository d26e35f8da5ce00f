"""Pixels without data come in one form from every file, and back out of every file that is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from daemon.files import ScanFile, Severity, read_scan
from daemon.files.completion import completed
from daemon.files.conversion import write_kind
from daemon.files.no_data import lost_pixels
from ptychopinn.data import read_training_file
from ptychopinn.detector.geometry import to_amplitude
from tests.support.file_scenes import NAMES, a_scan
from tests.support.scan_files import DETECTOR, PATTERNS, N, counts, write_cxi

AT = (10, 10)


def lost(scan: ScanFile) -> Any:
    """Return what a reconstruction takes for no data."""
    return to_amplitude(scan.counts, scan.mask, None) < 0


@pytest.mark.parametrize(
    ("mark", "dtype"),
    [
        *((2**32 - 2, "u4"), (2**32 - 1, "u4"), (2**32 - 2, "f4"), (2**32 - 1, "f4"), (2**32 - 1, "f8")),
        *((2**32 - 1, "i8"), (2**32 - 2, "u8"), (2**31 - 1, "i4"), (65534, "u2"), (65535, "u4"), (65535, "f4")),
        *((-1, "i4"), (-2, "i4"), (-1, "f4"), (np.nan, "f4"), (np.inf, "f8")),
    ],
)
def test_a_marked_pixel_is_masked_and_named(tmp_path: Path, mark: float, dtype: str) -> None:
    marked = counts().astype(dtype)
    marked[(slice(None), *AT)] = np.array(mark).astype(dtype)
    scan = read_scan(write_cxi(tmp_path / "s.cxi", **{PATTERNS: marked}))
    assert scan.mask is not None
    assert np.argwhere(scan.mask).tolist() == [list(AT)]
    assert (scan.counts[(slice(None), *AT)] == 0).all()
    np.testing.assert_array_equal(scan.counts[:, ~scan.mask], counts()[:, ~scan.mask])
    assert [one.topic for one in scan.doubts] == ["pixels"]


@pytest.mark.parametrize(("mark", "dtype"), [(2**32 - 1, "u4"), (2**32 - 1, "f8"), (-2, "i2"), (np.nan, "f4")])
@pytest.mark.parametrize("kind", NAMES)
def test_a_pixel_lost_in_one_frame_stays_lost_there_alone(tmp_path: Path, kind: str, mark: float, dtype: str) -> None:
    made = a_scan()
    values = made.counts.astype(dtype)
    values[3, 7, 7] = mark
    scan = completed(replace(made, counts=values), Path("made"))
    write_kind(tmp_path / NAMES[kind], scan, kind)
    back = read_scan(tmp_path / NAMES[kind])
    np.testing.assert_array_equal(back.mask, made.mask)
    np.testing.assert_array_equal(lost(back), lost(scan))
    assert np.argwhere(lost(back) & ~made.mask).tolist() == [[3, 7, 7]]  # type: ignore[operator]
    assert back.counts.dtype == scan.counts.dtype
    np.testing.assert_allclose(back.counts[~lost(back)], made.counts[~lost(back)], rtol=1e-12)
    if kind.startswith("npz"):
        with np.load(tmp_path / NAMES[kind]) as file:
            if kind == "npz-diffraction":
                assert file["diffraction"][3, 7, 7] == 0
                assert file["no_data"][3, 7, 7]
        np.testing.assert_array_equal(read_training_file(tmp_path / NAMES[kind]).amplitude < 0, lost(back))


def test_a_full_counter_in_the_middle_is_named(tmp_path: Path) -> None:
    full = np.minimum(counts().astype(np.int64) * 400, 65535).astype("u2")
    scan = read_scan(write_cxi(tmp_path / "s.cxi", **{PATTERNS: full}))
    np.testing.assert_array_equal(lost(scan), full >= 65534)
    assert any("have no data in any frame: detector gaps or saturated counters" in one for one in scan.remarks)
    assert any("counts in 16 frames have no data" in one for one in scan.remarks)


def test_masks_of_each_frame(tmp_path: Path) -> None:
    """A pixel that is bad in one frame is lost there, not in the others."""
    bad = np.zeros(counts().shape, "u4")
    bad[(slice(None), *AT)] = 4
    bad[2, 5, 5] = 1
    scan = read_scan(write_cxi(tmp_path / "s.cxi", **{f"{DETECTOR}/mask": bad}))
    np.testing.assert_array_equal(lost(scan), bad != 0)
    with h5py.File(tmp_path / "s.ptyd", "w") as file:
        file["meta/energy"], file["meta/distance"], file["meta/psize"] = 8.8, 1.92, 75e-6
        file["chunks/0/data"], file["chunks/0/weights"] = counts(), (bad == 0).astype("f4")
        file["chunks/0/positions"] = np.arange(2.0 * len(bad)).reshape(-1, 2) * 1e-7
    np.testing.assert_array_equal(lost(read_scan(tmp_path / "s.ptyd")), bad != 0)


def test_an_inverted_mask_is_named(tmp_path: Path) -> None:
    inverted = np.ones((N, N), "u4")
    inverted[AT] = 0
    scan = read_scan(write_cxi(tmp_path / "s.cxi", **{f"{DETECTOR}/mask": inverted}))
    assert (Severity.WRONG, "mask") in [(one.severity, one.topic) for one in scan.doubts]
    assert any("the mask leaves 1 of 256 pixels; is it inverted?" in str(one) for one in scan.doubts)


def test_marks_do_not_count_as_light(tmp_path: Path) -> None:
    """Frames that hold a dead pixel's mark and nothing else are without light."""
    dark = counts().astype("f8")
    dark[12:] = 0
    dark[(slice(None), *AT)] = 2.0**32 - 1
    scan = read_scan(write_cxi(tmp_path / "s.cxi", **{PATTERNS: dark}))
    assert len(scan.counts) == 12
    assert any("4 of 16 frames hold no photons (12 to 15)" in str(one) for one in scan.doubts)
    assert lost_pixels(scan) is None
