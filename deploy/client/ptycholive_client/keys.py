"""CURVE keys, read from files only: never from a command line, an environment variable or a configuration.

A key is 40 characters of Z85. A file holds it alone in its first line, or in a line ``public-key = "..."`` or
``secret-key = "..."`` as the certificates ``NAME.key`` and ``NAME.key_secret`` of CZMQ and PyZMQ do. The end that binds is
the server: it needs its own pair, and may list the clients that it admits. The end that connects is a client: it needs its
own pair and the server's public key.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

import zmq

from ptycholive_client.errors import KeyFileError

__all__ = ["AllowList", "CurveKeys", "KeyFiles", "make_keys", "read_keys"]

_KEY = rb"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}"
_BARE = re.compile(rb"(?m)^\s*(" + _KEY + rb")(?=\s|$)")
_LINE = re.compile(rb"(?m)^\s*(public|secret)-key\s*=\s*[\"']?(" + _KEY + rb")[\"']?\s*$")
_MOST_BYTES = 1 << 20
"""Bytes read of a key file: about 20,000 keys, and a bound for a wrong path."""


class AllowList:
    """The public keys that a server admits: a directory of ``*.key`` files, or a file with one key per line.

    It is read at every handshake, so an added or removed key counts from the next connection on.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def keys(self) -> set[bytes]:
        """Return the keys. Raises :class:`KeyFileError` if there is none."""
        if self.path.is_dir():
            found = {_key(file, "public") for file in self.path.glob("*.key")}
        else:
            content = _content(self.path)
            found = {match[1] for match in _BARE.finditer(content)}
            found |= {match[2] for match in _LINE.finditer(content) if match[1] == b"public"}
        if not found:
            raise KeyFileError(f"{self.path} admits no client: it contains no public key; add the clients' public keys")
        return found


@dataclass(frozen=True, slots=True)
class CurveKeys:
    """Keys of one end: its own pair, and the other end's public key unless this end is the server.

    ``allowed`` is for a server; without it every client that knows the server's public key is admitted.
    """

    public: bytes
    secret: bytes = field(repr=False)
    server: bytes | None = None
    allowed: AllowList | None = None


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """The key files of one end; all ``None`` means no encryption."""

    public: Path | None = None
    secret: Path | None = None
    server: Path | None = None
    allowed: Path | None = None


def read_keys(files: KeyFiles, is_server: bool, where: str) -> CurveKeys | None:
    """Return the keys of an end, or ``None`` if it has none.

    Raises
    ------
    KeyFileError
        For an incomplete set of keys, a file without a key, keys that are not a pair, a secret that all users can read.
    """
    given = [name for name in ("public", "secret", "server", "allowed") if getattr(files, name) is not None]
    if not given:
        return None
    missing = [name for name in ("public", "secret", *([] if is_server else ["server"])) if name not in given]
    if missing:
        words = " and ".join(f"curve_{name}_file" for name in missing)
        end = "binds" if is_server else "connects"
        raise KeyFileError(f"{where}: the keys are incomplete; an end that {end} also needs {words}")
    if is_server and "server" in given:
        raise KeyFileError(f"{where}: curve_server_file is for an end that connects, but this one binds; leave it out")
    if not is_server and "allowed" in given:
        raise KeyFileError(f"{where}: curve_allowed_file is for an end that binds, but this one connects; leave it out")
    return _read(files)


def _read(files: KeyFiles) -> CurveKeys | None:
    if files.public is None or files.secret is None:
        return None
    _check_private(files.secret)
    public, secret = _key(files.public, "public"), _key(files.secret, "secret")
    if _public_of(secret) != public:
        raise KeyFileError(
            f"{files.public} and {files.secret} are not a pair; use the two files that were made together"
        )
    allowed = None if files.allowed is None else AllowList(files.allowed)
    if allowed is not None:
        allowed.keys()
    return CurveKeys(public, secret, None if files.server is None else _key(files.server, "public"), allowed)


def _public_of(secret: bytes) -> bytes | None:
    try:
        return zmq.curve_public(secret)
    except zmq.ZMQError:
        return None


def make_keys(directory: Path, name: str) -> tuple[Path, Path]:
    """Make a pair: ``NAME.key``, for the other end, and ``NAME.key_secret``, readable by its owner only.

    Raises :class:`KeyFileError` if a file exists already.
    """
    public, secret = zmq.curve_keypair()
    paths = directory / f"{name}.key", directory / f"{name}.key_secret"
    texts = (
        f'#   Public CURVE key of {name}: give it to the other end\ncurve\n    public-key = "{public.decode()}"\n',
        f"#   Secret CURVE key of {name}: keep it\ncurve\n"
        f'    public-key = "{public.decode()}"\n    secret-key = "{secret.decode()}"\n',
    )
    for path, text, mode in zip(paths, texts, (0o644, 0o600), strict=True):
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
                file.write(text)
        except FileExistsError as fault:
            raise KeyFileError(f"{path} exists already; move it away, or choose another name") from fault
        except OSError as fault:
            raise KeyFileError(f"{path} cannot be written ({fault.strerror}); choose another directory") from fault
    return paths


def _key(path: Path, kind: str) -> bytes:
    """Return the ``public`` or ``secret`` key in a file."""
    content = _content(path)
    for found in _LINE.finditer(content):
        if found[1].decode() == kind:
            return found[2]
    bare = _BARE.match(content)
    if bare is not None:
        return bare[1]
    raise KeyFileError(f"{path} contains no {kind} key (40 characters of Z85); make keys with deploy/keys/make_keys.py")


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES)
    except OSError as fault:
        raise KeyFileError(f"key file {path} cannot be read ({fault.strerror}); check path and permissions") from fault


def _check_private(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as fault:
        raise KeyFileError(f"key file {path} cannot be read ({fault.strerror}); check path and permissions") from fault
    if stat.S_IMODE(mode) & stat.S_IRWXO:
        raise KeyFileError(f"secret key {path} can be read by every user of this machine; run: chmod 600 {path}")
