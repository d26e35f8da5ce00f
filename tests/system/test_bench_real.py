"""``bench real`` to its end at a small size: a page with a table, pictures and curves, without pty-chi."""

from __future__ import annotations

import bz2
import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from daemon.cli.bench import real
from daemon.cli.bench.real import RealOptions, run_real
from daemon.cli.bench.real_scans import ARCHIVED, real_cases
from daemon.errors import ConfigError
from ptychopinn.errors import FileFormatError
from ptychopinn.simulate import Recipe, simulate_scan

pytestmark = [pytest.mark.system]


@pytest.fixture(scope="module")
def spiral(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small scan in the form of the spiral's file, measured positions off by half a pixel."""
    scan = simulate_scan(Recipe(size_px=32, frames=49, counts=1e5, track="spiral", probe_error=0.0, seed=2))
    corners = scan.positions_px - 16
    path = tmp_path_factory.mktemp("spiral") / "spiral.npz"
    np.savez(
        path,
        counts=np.square(scan.amplitude.numpy()).round().astype(np.uint16),
        position_measured_px=corners + np.random.default_rng(0).normal(size=corners.shape) / 2,
        position_corrected_px=corners,
        probe=scan.probe.numpy(),
    )
    return path


def test_the_page_has_every_engine_and_finished_runs_are_kept(
    spiral: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = RealOptions(spiral, None, tmp_path, seconds=1.0, scans=["spiral-measured-positions"])
    run_real(options, as_json=True)
    said = json.loads(capsys.readouterr().out)
    page = Path(said["page"]).read_text()
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| spiral")]
    assert [row[:2] for row in rows] == [["spiral, measured positions", name] for name in ("live", "offline")]
    assert [row["engine"] for row in said["rows"]] == ["live", "offline"]
    for row in said["rows"]:
        assert row["rfactor"] < 0.5
        assert row["phase_correlation"] > 0.5
        assert row["position_error_px"] < 2
        assert row["cpu_s"] > 0.1
        assert row["curve"][-1] == [row["seconds"], row["phase_correlation"]]
    with Image.open(tmp_path / "real-spiral-measured-positions.png") as strip:
        assert np.ptp(np.asarray(strip)) > 50
    assert (tmp_path / "real-spiral-measured-positions.svg").read_text().count("<polyline") == 2
    monkeypatch.setattr(real, "_engines", lambda python: dict.fromkeys(("live", "offline")))  # none can run
    run_real(options, as_json=True)
    assert json.loads(capsys.readouterr().out) == said


def test_an_unknown_scan_is_said(spiral: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no scan 'spiral-measured-positions'; there are star"):
        run_real(RealOptions(None, None, tmp_path, scans=["spiral-measured-positions"]), as_json=True)


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
