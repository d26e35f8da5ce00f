"""Bundles: what is written is read, and everything else is refused in one sentence."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ptychopinn.errors import FileFormatError
from ptychopinn.model.bundle import Bundle, build_network, load_model, read_bundle, read_model, write_bundle
from ptychopinn.model.network import CorrectionNet

OPTIONS = {"widths": [8, 8], "depths": [1, 1]}


@pytest.fixture
def bundle_path(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = CorrectionNet(**OPTIONS)
    bundle = Bundle("small", "lift-correction", OPTIONS, network.state_dict(), provenance={"seed": 1})
    write_bundle(tmp_path / "small.zip", bundle)
    return tmp_path / "small.zip"


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    other = path.with_name("changed.zip")
    with zipfile.ZipFile(other, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return other


def manifest_with(**changes: object) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        members["manifest.json"] = json.dumps(json.loads(members["manifest.json"]) | changes).encode()

    return change


def weights_of(value: object) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        buffer = io.BytesIO()
        torch.save(value, buffer)
        members["model.pth"] = buffer.getvalue()
        manifest_with(weights_sha256=hashlib.sha256(members["model.pth"]).hexdigest())(members)

    return change


def test_a_bundle_comes_back_whole_and_the_same_model_gives_the_same_bytes(bundle_path: Path, tmp_path: Path):
    bundle = read_bundle(bundle_path)
    assert bundle.name == "small"
    assert bundle.provenance == {"seed": 1}
    write_bundle(tmp_path / "again.zip", bundle)
    assert (tmp_path / "again.zip").read_bytes() == bundle_path.read_bytes()
    network = build_network(bundle, bundle_path)
    for name, value in network.state_dict().items():
        assert torch.equal(value, bundle.weights[name])
    probe = torch.polar(torch.rand(1, 32, 32), torch.rand(1, 32, 32)) * 10
    model, _ = load_model(bundle_path, probe)
    patches = model.predict({"images": torch.rand(3, 1, 32, 32) * 10})
    assert patches.shape == (3, 1, 32, 32)
    assert torch.isfinite(torch.view_as_real(patches)).all()


def flip(members: dict[str, bytes]) -> None:
    body = bytearray(members["model.pth"])
    body[len(body) // 2] ^= 1
    members["model.pth"] = bytes(body)


class Harmful:
    def __reduce__(self):
        return (print, ("this must not run",))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (flip, "is not the one its manifest names"),
        (manifest_with(schema_version=2), "has schema 2, but this program reads up to 1"),
        (manifest_with(architecture="oracle"), "its architecture 'oracle' is none of lift-correction, cnn"),
        (manifest_with(options={"widths": [8, 16], "depths": [1, 1]}), "do not fit the architecture"),
        (manifest_with(options={"layers": 3}), "do not fit the architecture"),
        (weights_of(Harmful()), "contains something else than weights"),
        (weights_of([torch.ones(3)]), "is not a map of tensors"),
        (weights_of({"stem.weight": torch.full((3,), torch.nan)}), "not finite"),
        (manifest_with(options={"widths": [10**9], "depths": [1]}), "do not fit the architecture .an option is above"),
        (manifest_with(options={"widths": [4096] * 4, "depths": [8] * 4}), "do not fit the architecture"),
        (manifest_with(schema_version=True), "is not that of a model bundle"),
        (manifest_with(schema_version=0), "is not that of a model bundle"),
        (manifest_with(architecture=["cnn"]), "is none of"),
        (lambda members: members.update({"more.txt": b"x"}), "the archive around .* was changed"),
        (lambda members: members.update({"manifest.json": b"[" * 100_000}), "or damaged"),
        (lambda members: members.pop("model.pth"), "not a model bundle: model.pth is missing"),
        (lambda members: members.update({"manifest.json": b"{"}), "or damaged"),
        (lambda members: members.update({"manifest.json": b"[]"}), "is not that of a model bundle"),
    ],
)
def test_what_is_refused(bundle_path: Path, capsys: pytest.CaptureFixture[str], change, words: str):
    changed = rewritten(bundle_path, change)
    with pytest.raises(FileFormatError, match=words) as caught:
        build_network(read_bundle(changed), changed)
    assert str(changed) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""


def test_one_changed_byte_is_refused_wherever_it_lies(bundle_path: Path):
    whole = bundle_path.read_bytes()
    with zipfile.ZipFile(bundle_path) as archive:
        weights_at = archive.getinfo("model.pth").header_offset
    ends = [*range(60), *range(weights_at, weights_at + 60), *range(len(whole) - 200, len(whole))]
    changed = bundle_path.with_name("changed.zip")
    for place in {*ends, *range(0, len(whole), 997)}:
        for bit in (1, 128):
            content = bytearray(whole)
            content[place] ^= bit
            changed.write_bytes(content)
            for read in (read_bundle, read_model):
                with pytest.raises(FileFormatError, match=r"changed\.zip: "):
                    read(changed)


def test_a_bundle_packed_again_unchanged_is_read(bundle_path: Path):
    assert read_bundle(rewritten(bundle_path, lambda members: None)).sha256 == read_bundle(bundle_path).sha256


@pytest.mark.parametrize("deflated", ["outside", "inside"])
def test_nothing_is_unpacked(bundle_path: Path, deflated: str):
    def change(members: dict[str, bytes]) -> None:
        inner = io.BytesIO()
        with (
            zipfile.ZipFile(io.BytesIO(members["model.pth"])) as old,
            zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as new,
        ):
            for name in old.namelist():
                new.writestr(name, old.read(name))
        members["model.pth"] = inner.getvalue()
        manifest_with(weights_sha256=hashlib.sha256(inner.getvalue()).hexdigest())(members)

    packed = rewritten(bundle_path, change)
    if deflated == "outside":
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive, zipfile.ZipFile(bundle_path) as old:
            for name in old.namelist():
                archive.writestr(name, bytes(1 << 20))
    with pytest.raises(FileFormatError, match="is compressed" if deflated == "outside" else "something else than"):
        read_bundle(packed)


def test_a_bundle_that_cannot_be_written_leaves_what_was_there(bundle_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    before, bundle = bundle_path.read_bytes(), read_bundle(bundle_path)
    monkeypatch.setattr("ptychopinn.model.bundle.os.fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_bundle(bundle_path, replace(bundle, name="other"))
    assert bundle_path.read_bytes() == before
    assert list(bundle_path.parent.iterdir()) == [bundle_path]


def test_files_that_are_no_bundles(tmp_path: Path):
    (tmp_path / "text.zip").write_text("no zip")
    (tmp_path / "pickle.zip").write_bytes(pickle.dumps(Harmful()))
    for name, words in (
        ("text.zip", "not a model bundle, or damaged"),
        ("pickle.zip", "not a model bundle, or damaged"),
        ("none.zip", "no such"),
    ):
        with pytest.raises(FileFormatError, match=words):
            read_bundle(tmp_path / name)
