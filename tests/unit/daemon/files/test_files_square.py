"""Oblong patterns are made square around the beam; scans of the near field are told by their shadows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from daemon.files import read_scan
from daemon.files.completion import completed
from daemon.files.near_field import near_field, shadow_ratio
from daemon.files.square import squared
from ptychopinn.simulate import Recipe, simulate_scan
from tests.support.odd_files import SIDE, scan

INDEPENDENT = Path(__file__).parents[3] / "data" / "independent"


def test_a_strip_of_the_detector_is_padded_to_the_probe() -> None:
    whole = scan()
    found = squared(replace(whole, counts=whole.counts[:, 2:-2]))
    np.testing.assert_array_equal(found.counts[:, 2:-2], whole.counts[:, 2:-2])
    assert found.mask is not None
    np.testing.assert_array_equal(np.flatnonzero(found.mask.all(axis=1)), [0, 1, 30, 31])
    assert int(found.mask.sum()) == 4 * SIDE
    assert [str(one) for one in found.doubts] == [
        "the patterns of 28 x 32 px were made 32 x 32 px around the beam at row 14, column 16; 128 pixels beyond the detector "
        "have no data"
    ]


@pytest.mark.parametrize("before", [0, 24])
def test_a_wide_detector_is_cut_around_the_beam_with_its_mask(before: int) -> None:
    whole = scan()
    sides = (before, 48 - before)
    mask = np.zeros((SIDE, SIDE + 48), dtype=bool)
    mask[3, before + 4] = True
    wide = replace(whole, counts=np.pad(whole.counts, ((0, 0), (0, 0), sides)), mask=mask, object_pixel_size_m=None)
    found = completed(wide, Path("wide"))
    assert found.mask is not None
    assert np.argwhere(found.mask).tolist() == [[3, 4]]
    keep = ~found.mask
    np.testing.assert_array_equal(found.counts[:, keep], whole.counts[:, keep])
    assert found.object_pixel_size_m == pytest.approx(whole.object_pixel_size_m)
    np.testing.assert_array_equal(found.positions_m, whole.positions_m)


def test_without_a_probe_the_shorter_side_counts() -> None:
    whole = replace(scan(), probe=None)
    assert squared(replace(whole, counts=whole.counts[:, 2:-2])).counts.shape == (36, 28, 28)
    assert squared(whole) is whole


def test_a_measured_scan_of_the_near_field_is_told() -> None:
    scan_of_p25 = read_scan(INDEPENDENT / "cdtools-p25-12-frames.cxi")
    (found,) = (one for one in scan_of_p25.doubts if one.topic == "near_field")
    assert "by 0.11 px for each px of the object" in found.text
    assert found.text.endswith("it looks like a near-field scan, and only the far field is reconstructed here")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("probe_kind", ["zone_plate", "aberrated", "diffuser"])
def test_a_scan_of_the_far_field_is_not(probe_kind: str, seed: int) -> None:
    far = simulate_scan(Recipe(probe_kind=probe_kind, footprint_ratio=0.5, phase_rad=1.5, frames=60, seed=seed))
    counts = far.amplitude.clamp_min(0).square().numpy()
    found = replace(scan(), counts=counts, positions_px=far.positions_px, mask=None)
    assert list(near_field(found)) == []


def test_the_measured_demo_is_not() -> None:
    demo = read_scan(Path(__file__).parents[4] / "daemon" / "demo_data" / "siemens-star.cxi")
    assert demo.positions_px is not None
    assert shadow_ratio(demo.counts, demo.mask, demo.positions_px) is None
