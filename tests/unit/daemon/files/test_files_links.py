"""Links of every kind are followed by every reader and by the inventory; those that lead nowhere are named with their file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from daemon.files import Severity, read_probe, read_scan
from daemon.files.access import open_arrays
from daemon.files.inventory import inventory
from daemon.files.links import MAX_NAMES, walk
from ptychopinn.contract import contract_of, violations
from ptychopinn.errors import FileFormatError
from tests.support.scan_files import DETECTOR, PATTERNS, PIXEL_M, N, counts, places_m, write_cxi, write_nexus

INSTRUMENT = "entry_1/instrument_1"


def hard(file: h5py.File) -> None:
    file["a_distance"] = file[f"{DETECTOR}/distance"]


def soft(file: h5py.File) -> None:
    file.move(INSTRUMENT, "raw/i")
    file[INSTRUMENT] = h5py.SoftLink("/raw/i")


def circle(file: h5py.File) -> None:
    file["entry_1/again"] = file["entry_1"]


def external(file: h5py.File) -> None:
    with h5py.File(Path(file.filename).with_name("raw.h5"), "w") as other:
        file.copy(INSTRUMENT, other, "i")
        file.copy(PATTERNS, other, "d")
    del file[INSTRUMENT], file[PATTERNS]
    file[INSTRUMENT] = h5py.ExternalLink("raw.h5", "/i")
    file[PATTERNS] = h5py.ExternalLink("raw.h5", "/d")


@pytest.mark.parametrize("change", [hard, soft, circle, external])
def test_a_file_with_links_is_read_and_fulfils_the_contract(
    tmp_path: Path, change: Callable[[h5py.File], None]
) -> None:
    path = write_cxi(tmp_path / "s.cxi")
    with h5py.File(path, "a") as file:
        change(file)
    scan = read_scan(path)
    assert scan.object_pixel_size_m == pytest.approx(PIXEL_M)
    np.testing.assert_array_equal(scan.counts, counts())
    assert [str(one) for one in scan.doubts] == (
        ["1 other files were read with it: raw.h5"] if change is external else []
    )
    with open_arrays(path) as opened:
        entries = inventory(opened)
        contract = contract_of(entries)
        assert contract is not None
        assert (contract.kind, violations(contract, entries)) == ("cxi", [])


def test_nexus_by_hard_and_soft_links(tmp_path: Path) -> None:
    y, x = places_m().T
    for name in ("hard", "soft"):
        path = write_nexus(tmp_path / f"{name}.nxs", counts(), {"x": (x, "m"), "y": (y, "m")})
        with h5py.File(path, "a") as file:
            file.move("entry/instrument/detector/data", "entry/data/data")
            moved = file["entry/data/data"] if name == "hard" else h5py.SoftLink("/entry/data/data")
            file["entry/instrument/detector/data"] = moved
        np.testing.assert_array_equal(read_scan(path).counts, counts())
        with open_arrays(path) as opened:
            entries = inventory(opened)
            assert entries["{NXdetector}/data"].shape == counts().shape


@pytest.mark.parametrize(
    ("place", "link", "words"),
    [
        (PATTERNS, h5py.ExternalLink("gone.h5", "/d"), r"points to gone\.h5, which does not exist in"),
        (PATTERNS, h5py.ExternalLink("here.h5", "/none"), r"points to /none in here\.h5, which lacks it"),
        (PATTERNS, h5py.SoftLink("/nowhere"), "points to /nowhere, which does not exist"),
        ("entry_1/data_1", h5py.SoftLink("/entry_1/data_1"), "runs in a circle"),
    ],
)
def test_patterns_behind_a_link_that_leads_nowhere(
    tmp_path: Path, place: str, link: h5py.SoftLink | h5py.ExternalLink, words: str
) -> None:
    path = write_cxi(tmp_path / "s.cxi")
    h5py.File(tmp_path / "here.h5", "w").close()
    with h5py.File(path, "a") as file:
        del file[place]
        file[place] = link
    with pytest.raises(FileFormatError, match=words):
        read_scan(path)


def test_a_lost_link_beside_the_scan_is_told_and_costs_nothing(tmp_path: Path) -> None:
    path = write_cxi(tmp_path / "s.cxi")
    with h5py.File(path, "a") as file:
        file["entry_1/instrument_1/source_1/illumination"] = h5py.ExternalLink("probe.h5", "/p")
    scan = read_scan(path)
    assert (scan.probe, len(scan.counts)) == (None, len(counts()))
    assert [(one.severity, one.topic) for one in scan.doubts] == [(Severity.DOUBT, "links")]
    assert "does not exist" in str(scan.doubts[0])
    with pytest.raises(FileFormatError, match=r"has no probe; a link leads nowhere: .*probe\.h5"):
        read_probe(path)


def test_a_file_whose_links_multiply_is_walked_to_a_bound(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "bomb.h5", "w") as file:
        for depth in range(40):
            group = file.require_group(f"g{depth}")
            group["a"] = group["b"] = file.require_group(f"g{depth + 1}")
        assert sum(1 for _ in walk(file)) <= MAX_NAMES


def test_raw_values_in_a_file_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_cxi(tmp_path / "s.cxi", **{PATTERNS: None})
    with h5py.File(path, "a") as file:
        file.create_dataset(PATTERNS, (2, N, N), "u2", external=[("frames.raw", 0, 2 * N * N * 2)])
    with pytest.raises(FileFormatError, match=r"has its values in /.*/frames\.raw, which does not exist"):
        read_scan(path)
    (tmp_path / "frames.raw").write_bytes(np.arange(2 * N * N, dtype="u2").tobytes())
    assert "frames.raw" in str(read_scan(path).doubts[0])
