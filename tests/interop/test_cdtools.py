"""Our CXI in the hands of the released cdtools, and its CXI in ours; cdtools lies in a directory of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.cli.validate import examine
from daemon.files import ScanFile, read_scan
from daemon.files.completion import completed
from daemon.files.conversion import write_kind

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]

CDTOOLS = "cdtools-py==0.3.2"
PLACE = Path(__file__).parents[2] / ".venv-cdtools"
SCRIPT = """
import json, sys
from cdtools.datasets import Ptycho2DDataset
data = Ptycho2DDataset.from_cxi(sys.argv[1])
data.to_cxi(sys.argv[2])
json.dump({
    "patterns": [int(p) for p in data.patterns.sum(dim=(1, 2))],
    "translations": data.translations.tolist(),
    "distance": float(data.detector_geometry["distance"]),
    "wavelength": float(data.wavelength),
    "bad": int((~data.mask.bool()).sum()),
}, sys.stdout)
"""


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    ready = PLACE / f"{CDTOOLS}.ready"
    if not ready.exists():
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(PLACE), CDTOOLS]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if done.returncode != 0:
            reason = f"{CDTOOLS} cannot be installed: {done.stderr.strip().splitlines()[-1:]}"
            if "CI" in os.environ:
                pytest.fail(reason)
            pytest.skip(reason)
        (PLACE / ".gitignore").write_text("*\n")
        ready.touch()
    return {**os.environ, "PYTHONPATH": str(PLACE), "MPLBACKEND": "agg"}


def test_cdtools_reads_our_scan_and_we_read_its(environment: dict[str, str], tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    mask = np.zeros((24, 24), dtype=bool)
    mask[3, 5:8] = True
    scan = completed(
        ScanFile(
            name="made",
            counts=rng.poisson(20.0, (7, 24, 24)).astype(np.uint16),
            indexes=np.arange(7),
            positions_m=rng.normal(size=(7, 2)) * 1e-6,
            photon_energy_eV=8800.0,
            detector_distance_m=1.92,
            detector_pixel_size_m=75e-6,
            mask=mask,
        ),
        tmp_path,
    )
    write_kind(tmp_path / "ours.cxi", scan, "cxi")
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "ours.cxi"), str(tmp_path / "theirs.cxi")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    assert scan.positions_m is not None
    assert said["patterns"] == scan.counts.sum(axis=(1, 2)).tolist()
    assert (said["bad"], said["distance"]) == (3, pytest.approx(1.92))
    assert said["wavelength"] == pytest.approx(1.4089e-10, rel=1e-4)
    along = np.array(said["translations"])  # of the sample, against columns and rows: the probe moves the other way
    np.testing.assert_allclose(np.abs(along[:, 1::-1]), np.abs(scan.positions_m), rtol=1e-5)

    assert examine(tmp_path / "theirs.cxi").violations == []
    back = read_scan(tmp_path / "theirs.cxi")
    assert back.positions_m is not None
    np.testing.assert_array_equal(back.counts, scan.counts)
    np.testing.assert_array_equal(back.mask, mask)
    np.testing.assert_allclose(back.positions_m, scan.positions_m, rtol=1e-5)
    assert back.photon_energy_eV == pytest.approx(8800.0, rel=1e-5)
