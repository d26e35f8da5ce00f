"""The manifest: a second run keeps what is finished and unchanged, whatever has happened to the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from daemon.cluster.manifest import ManifestLine, fingerprint, manifest_path, open_manifest
from daemon.errors import DaemonError


def line(output: Path, mark: str = "a", fault: str = "", exit_code: int = 0) -> ManifestLine:
    return {
        "input": "in.npz",
        "output": str(output),
        "exit_code": exit_code,
        "fault": fault,
        "fingerprint": mark,
        "seconds": 1.0,
        "host": "here",
        "version": "0",
        "summary": {},
    }


def test_a_finished_scan_is_kept_until_its_input_options_or_product_change(tmp_path: Path) -> None:
    path, product = tmp_path / "manifest.jsonl", tmp_path / "a.h5"
    product.touch()
    with open_manifest(path) as manifest:
        assert manifest.finished(product, "a") is None
        manifest.add(line(product))
        manifest.add(line(tmp_path / "bad.h5", fault="damaged", exit_code=3))
    (tmp_path / "bad.h5").touch()
    with open_manifest(path) as manifest:
        assert manifest.finished(product, "a") == line(product)
        assert manifest.finished(product, "b") is None
        assert manifest.finished(tmp_path / "bad.h5", "a") is None  # tried again
        product.unlink()
        assert manifest.finished(product, "a") is None


def test_a_line_that_a_killed_run_left_unfinished_costs_its_own_scan(tmp_path: Path) -> None:
    path, products = tmp_path / "manifest.jsonl", [tmp_path / f"{k}.h5" for k in range(3)]
    for product in products:
        product.touch()
    whole = [json.dumps(line(product)) for product in products]
    path.write_text(whole[0] + "\n[1]\n{}\nno json\n" + whole[1][:-9])
    with open_manifest(path) as manifest:
        assert [manifest.finished(product, "a") is not None for product in products] == [True, False, False]
        manifest.add(line(products[2]))
    with open_manifest(path) as manifest:
        assert [manifest.finished(product, "a") is not None for product in products] == [True, False, True]


def test_two_runs_cannot_write_to_one_manifest(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    with open_manifest(path), pytest.raises(DaemonError, match="another run writes to"), open_manifest(path):
        pass
    with pytest.raises(DaemonError, match="cannot be written"), open_manifest(tmp_path):
        pass


def test_the_fingerprint_follows_options_and_files(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    absent = fingerprint("options", [path])
    path.write_bytes(b"1")
    first = fingerprint("options", [path])
    assert first == fingerprint("options", [path])
    path.write_bytes(b"12")
    assert len({absent, first, fingerprint("options", [path]), fingerprint("others", [path])}) == 4
    folder = fingerprint("options", [tmp_path])
    (tmp_path / "b").touch()
    assert fingerprint("options", [tmp_path]) != folder


def test_the_manifest_lies_in_the_folder_or_beside_the_file(tmp_path: Path) -> None:
    assert manifest_path(tmp_path, is_folder=True) == tmp_path / "manifest.jsonl"
    assert manifest_path(tmp_path / "a.h5", is_folder=False) == tmp_path / "a.manifest.jsonl"
