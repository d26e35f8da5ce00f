"""Keys from files: whole sets, half ones, and what is no key."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest
import zmq
import zmq.auth

from streams.errors import KeyFileError
from streams.sockets.keys import AllowList, KeyFiles, make_keys, read_keys

SCRIPT = Path(__file__).parents[4] / "deploy/keys/make_keys.py"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("own", "other"):
        make_keys(tmp_path, name)
    return tmp_path


def pair(place: Path, name: str = "own", **more: Path) -> KeyFiles:
    return KeyFiles(place / f"{name}.key", place / f"{name}.key_secret", **more)


def bare(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def test_no_files_mean_no_keys() -> None:
    assert read_keys(KeyFiles(), True, "[frames]") is None
    assert read_keys(KeyFiles(), False, "[frames]") is None


def test_made_keys_are_a_pair_and_private(place: Path) -> None:
    keys = read_keys(pair(place), True, "[publish]")
    assert keys is not None
    assert zmq.curve_public(keys.secret) == keys.public
    assert (keys.server, keys.allowed) == (None, None)
    assert stat.S_IMODE((place / "own.key_secret").stat().st_mode) == 0o600
    assert keys.secret.decode() not in repr(keys)
    assert keys.secret not in (place / "own.key").read_bytes()


def test_certificates_of_pyzmq_and_bare_keys_are_read(tmp_path: Path) -> None:
    public_file, secret_file = zmq.auth.create_certificates(tmp_path, "cert")
    Path(secret_file).chmod(0o600)
    public, secret = zmq.auth.load_certificate(secret_file)
    files = KeyFiles(Path(public_file), Path(secret_file), Path(public_file))
    plain = KeyFiles(bare(tmp_path / "p", public + b"\n"), bare(tmp_path / "s", secret), tmp_path / "p")
    for each in (files, plain):
        keys = read_keys(each, False, "[frames]")
        assert keys is not None
        assert (keys.public, keys.secret, keys.server) == (public, secret, public)


@pytest.mark.parametrize(
    ("given", "is_server", "words"),
    [
        (("public",), True, "an end that binds also needs curve_secret_file"),
        (("secret",), True, "an end that binds also needs curve_public_file"),
        (("allowed",), True, "an end that binds also needs curve_public_file and curve_secret_file"),
        (("public", "secret"), False, "an end that connects also needs curve_server_file"),
        (("server",), False, "an end that connects also needs curve_public_file and curve_secret_file"),
        (("public", "secret", "server"), True, "curve_server_file is for an end that connects, but this one binds"),
        (("public", "secret", "server", "allowed"), False, "curve_allowed_file is for an end that binds"),
    ],
)
def test_half_a_set_is_refused(place: Path, given: tuple[str, ...], is_server: bool, words: str) -> None:
    files = {"public": "own.key", "secret": "own.key_secret", "server": "other.key", "allowed": "other.key"}
    with pytest.raises(KeyFileError, match=words) as fault:
        read_keys(KeyFiles(**{name: place / files[name] for name in given}), is_server, "[frames]")
    assert str(fault.value).startswith("[frames]: ")


def test_what_is_no_key_is_named(place: Path) -> None:
    (place / "open.key_secret").write_bytes((place / "own.key_secret").read_bytes())
    (place / "open.key_secret").chmod(0o644)
    cases = [
        (KeyFiles(place / "other.key", place / "own.key_secret"), "are not a pair"),
        (KeyFiles(place / "none", place / "own.key_secret"), "none cannot be read"),
        (KeyFiles(place / "own.key", place / "none"), "none cannot be read"),
        (
            KeyFiles(place / "own.key", bare(place / "x", b"base64==")),
            r"x contains no secret key \(40 characters",
        ),
        (KeyFiles(place / "own.key", bare(place / "y", b"#" * 40)), "are not a pair"),
        (KeyFiles(place / "own.key", place / "own.key"), "can be read by every user"),
        (
            KeyFiles(place / "own.key", place / "open.key_secret"),
            "can be read by every user of this machine; run: chmod 600",
        ),
        (pair(place, allowed=bare(place / "empty", b"\n")), "admits no client"),
        (pair(place, allowed=place / "none"), "none cannot be read"),
    ]
    for files, words in cases:
        with pytest.raises(KeyFileError, match=words):
            read_keys(files, True, "[publish]")


def test_allow_lists_are_directories_or_files_and_read_anew(place: Path) -> None:
    own, other = (read_keys(pair(place, name), True, "x") for name in ("own", "other"))
    assert own is not None
    assert other is not None
    both = AllowList(bare(place / "list", own.public + b"  # the first\n\n" + (place / "other.key").read_bytes()))
    assert both.keys() == {own.public, other.public}
    folder = place / "allowed"
    folder.mkdir()
    (folder / "a.key").write_bytes((place / "own.key").read_bytes())
    listed = AllowList(folder)
    assert listed.keys() == {own.public}
    (folder / "b.key").write_bytes(other.public)
    assert listed.keys() == {own.public, other.public}
    (folder / "a.key").unlink()
    assert listed.keys() == {other.public}


def test_keys_are_never_replaced(place: Path) -> None:
    with pytest.raises(KeyFileError, match="own.key exists already"):
        make_keys(place, "own")
    with pytest.raises(KeyFileError, match="cannot be written"):
        make_keys(place / "none", "own")


def test_the_script_makes_pairs(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPT, tmp_path / "keys", "daemon", "viewer"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    assert len(done.stdout.splitlines()) == 4
    assert read_keys(pair(tmp_path / "keys", "daemon"), True, "x") is not None
    again = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert again.returncode == 2
    assert "exists already" in again.stderr
    assert "Traceback" not in again.stderr
