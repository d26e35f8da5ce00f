"""``bench real`` to its end at a small size: a page with a table, pictures and curves, without pty-chi."""

from __future__ import annotations

import bz2
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from daemon.cli.bench.real import RealOptions, run_real
from daemon.cli.bench.real_scans import ARCHIVED, real_cases
from ptychopinn.errors import FileFormatError
from ptychopinn.simulate import Recipe, simulate_scan

pytestmark = [pytest.mark.system]


@pytest.fixture(scope="module")
def spiral(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small scan in the form of the spiral's file, measured positions off by half a pixel."""
    scan = simulate_scan(Recipe(size_px=64, frames=49, counts=1e5, track="spiral", probe_error=0.0, seed=2))
    corners = scan.positions_px - 32
    path = tmp_path_factory.mktemp("spiral") / "spiral.npz"
    np.savez(
        path,
        counts=np.square(scan.amplitude.numpy()).round().astype(np.uint16),
        position_measured_px=corners + np.random.default_rng(0).normal(size=corners.shape) / 2,
        position_corrected_px=corners,
        probe=scan.probe.numpy(),
    )
    return path


def test_the_page_has_every_engine_and_scan(spiral: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_real(RealOptions(spiral, None, tmp_path / "out", 1.0, 40), as_json=False)
    page = (tmp_path / "out/real-scans.md").read_text()
    assert "6 reconstructions" in capsys.readouterr().out
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith(("| star", "| spiral"))]
    assert [row[1] for row in rows] == ["live", "offline"] * 3
    assert [row[0].strip("| ") for row in rows[::2]] == [case.name for case in real_cases(spiral, 40)]
    for stem in ("real-star", "real-spiral-corrected-positions", "real-spiral-measured-positions"):
        with Image.open(tmp_path / "out" / f"{stem}.png") as strip:
            assert np.ptp(np.asarray(strip)) > 50
        assert (tmp_path / "out" / f"{stem}.svg").read_text().count("<polyline") == 2
        assert f"({stem}.png)" in page


def test_the_spiral_is_read_from_tikes_archive(spiral: Path, tmp_path: Path) -> None:
    with np.load(spiral) as file:
        parts = [file["counts"], file["position_measured_px"], file["position_corrected_px"], file["probe"][None, None]]
    parts[0] = np.fft.ifftshift(parts[0], axes=(1, 2))
    _pack(tmp_path / "tike.tar.gz", pickle.dumps(parts))
    packed, plain = (real_cases(path, None)[1:] for path in (tmp_path / "tike.tar.gz", spiral))
    for one, other in zip(packed, plain, strict=True):
        np.testing.assert_array_equal(one.amplitude.numpy(), other.amplitude.numpy())
        np.testing.assert_array_equal(one.positions_px, other.positions_px)
    _pack(tmp_path / "evil.tar.gz", pickle.dumps(print))
    with pytest.raises(FileFormatError, match="not an array"):
        real_cases(tmp_path / "evil.tar.gz", None)
    with pytest.raises(FileFormatError, match="neither an NPZ"):
        real_cases(tmp_path / "missing.npz", None)


def _pack(path: Path, content: bytes) -> None:
    packed = bz2.compress(content)
    with tarfile.open(path, "w:gz") as archive:
        about = tarfile.TarInfo(f"tike-0.26.0/{ARCHIVED}")
        about.size = len(packed)
        archive.addfile(about, io.BytesIO(packed))
