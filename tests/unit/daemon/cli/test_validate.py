"""The data contract: good files of every kind pass, every violation of a bad one is listed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from daemon.cli.main import app
from daemon.cli.validate import examine
from daemon.errors import ConfigError
from daemon.files.conversion import write_kind
from ptychopinn.contract import contracts
from ptychopinn.contract.check import CHECKS, KINDS, RULES
from ptychopinn.contract.training_export import TrainingScan, write_training_file
from tests.support.file_scenes import FRAMES, NAMES, SIDE, a_scan


@pytest.mark.parametrize("kind", [*NAMES, "product", "ptyr"])
def test_what_is_written_is_within_the_contract(kind: str, tmp_path: Path) -> None:
    path = tmp_path / NAMES.get(kind, "result.h5")
    write_kind(path, a_scan(), kind)
    finding = examine(path)
    assert finding.violations == []
    assert finding.kind == kind


def test_a_format_without_a_contract_is_a_scan_of_no_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new format may be read before it has a contract."""
    path = tmp_path / "new.h5"
    with h5py.File(path, "w") as file:
        file["counts"] = np.zeros((2, 16, 16))
    monkeypatch.setattr("daemon.files.scan_file._read_hdf5", lambda *_: a_scan())
    report = examine(path)
    assert (report.kind, report.summary.split(":")[0]) == (None, "Scan")


def test_the_tables_use_known_words_only() -> None:
    for contract in contracts().values():
        assert set(contract.checks) <= set(CHECKS)
        for rule in contract.rules:
            assert rule.kind in KINDS
            assert set(rule.rules) <= set(RULES)
            assert rule.about.endswith(".")


def bad_arrays() -> dict[str, Any]:
    return {
        "diff3d": np.full((FRAMES, SIDE, SIDE), -1.0),
        "xcoords": np.array([0, np.nan, 2, 3, 4, 5.0]),
        "ycoords": np.arange(FRAMES - 1.0),
        "probeGuess": np.zeros((SIDE, SIDE), np.complex64),
        "objectGuess": np.ones((4, 4)),
        "photon_energy_eV": 0.0,
        "frame_index": np.zeros(FRAMES, int),
    }


def test_every_violation_is_listed(tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", **bad_arrays())
    said = "\n".join(examine(tmp_path / "bad.npz").violations)
    for expected in (
        "diff3d has no photon",
        "xcoords has 1 values that are not finite",
        f"ycoords has the shape ({FRAMES - 1},); write (n,), with n = {FRAMES} as diff3d has it",
        "probeGuess is zero everywhere",
        "objectGuess is float64; write complex numbers",
        "photon_energy_eV is 0.; write a number above 0",
        f"frame_index has {FRAMES - 1} repeated numbers",
    ):
        assert expected in said
    assert len(said.splitlines()) == 7
    assert examine(tmp_path / "bad.npz").refusal == "has 6 xcoords and 5 ycoords; write one of each for every frame"


def test_missing_keys_are_listed_with_their_form(tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", diffraction=np.ones((FRAMES, SIDE, SIDE)))
    said = examine(tmp_path / "bad.npz").violations
    assert said[0] == "xcoords is missing; write real numbers (n,), object px"
    assert [line.split()[0] for line in said] == ["xcoords", "ycoords", "probeGuess"]


def test_groups_must_agree_with_positions(tmp_path: Path) -> None:
    scan = a_scan()
    assert scan.positions_px is not None
    assert scan.probe is not None
    members = np.array([[0, 1, 2, 3], [2, 3, 4, 5]])
    made = TrainingScan(scan.counts, scan.positions_px, scan.probe, members=members)
    write_training_file(tmp_path / "g.npz", made)
    assert examine(tmp_path / "g.npz").violations == []
    with np.load(tmp_path / "g.npz") as archive:
        content = dict(archive)
    np.savez(tmp_path / "turned.npz", **content | {"coords_relative": -content["coords_relative"]})
    assert "in 2 of 2 groups; write centre" in examine(tmp_path / "turned.npz").violations[0]
    del content["nn_indices"]
    np.savez(tmp_path / "lost.npz", **content)
    assert examine(tmp_path / "lost.npz").violations == [
        "nn_indices is missing; write the frames (g, C) of the 2 groups of 4"
    ]


def test_hdf5_faults_and_chunks_of_their_own_length(tmp_path: Path) -> None:
    write_kind(tmp_path / "s.ptyd", a_scan(), "ptyd")
    with h5py.File(tmp_path / "s.ptyd", "a") as file:
        del file["meta/psize"]
        file["chunks/1/data"] = np.ones((2, SIDE, SIDE), np.uint16)
        file["chunks/1/indices"] = np.array([20, 21])
        file["chunks/1/positions"] = np.zeros((3, 2))
    assert examine(tmp_path / "s.ptyd").violations == [
        "meta/psize is missing; write real numbers (one value) or (1,) or (2,), m",
        "chunks/1/positions has the shape (3, 2); write (M, 2), with M = 2 as chunks/1/data has it",
    ]


def test_no_file_no_kind_no_sense(tmp_path: Path) -> None:
    assert "there is no such file" in examine(tmp_path / "none.npz").refusal
    (tmp_path / "text.npz").write_text("hello")
    assert "neither HDF5 nor NPZ" in examine(tmp_path / "text.npz").refusal
    np.savez(tmp_path / "x.npz", a=np.ones(3))
    assert "has a; a scan has diff3d or diffraction" in examine(tmp_path / "x.npz").refusal


def test_the_verb_prints_all_and_exits_3(tmp_path: Path) -> None:
    write_kind(tmp_path / "good.cxi", a_scan(), "cxi")
    np.savez(tmp_path / "bad.npz", **bad_arrays())
    both = [str(tmp_path / "good.cxi"), str(tmp_path / "bad.npz")]
    result = CliRunner().invoke(app, ["validate", *both])
    assert result.exit_code == 3
    assert "good, Scan (CXI): 6 frames of 16 x 16 px, uint16" in result.stdout
    assert result.stdout.count("bad.npz: ") == 8
    answer = json.loads(CliRunner().invoke(app, ["validate", "--json", *both]).stdout)
    assert [len(one["violations"]) for one in answer] == [0, 7]
    assert CliRunner().invoke(app, ["validate", both[0]]).exit_code == 0


def test_the_verb_convert(tmp_path: Path) -> None:
    write_kind(tmp_path / "s.cxi", a_scan(), "cxi")
    target = tmp_path / "new" / "s.npz"
    result = CliRunner().invoke(app, ["convert", str(tmp_path / "s.cxi"), str(target), "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "input": str(tmp_path / "s.cxi"),
        "output": str(target),
        "kind": "npz-ptychopinn",
        "frames": FRAMES,
    }
    assert examine(target).violations == []
    wrong = CliRunner().invoke(app, ["convert", str(tmp_path / "s.cxi"), str(tmp_path / "s.xyz")])
    assert isinstance(wrong.exception, ConfigError)
    assert "does not determine the format" in str(wrong.exception)
