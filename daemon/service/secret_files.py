"""Finds files with secrets that every user of this machine may access; anyone who reads them could control the daemon."""

from __future__ import annotations

import stat
from pathlib import Path

from daemon.config import Http


def open_to_all(options: Http) -> list[str]:
    """Return one sentence for each file with secrets that every user may read or write."""
    named = {"token_file": options.token_file, "key_file": options.key_file or options.certificate_file}
    return [
        f"[http] {name} {path} may be accessed by every user of this machine; run: chmod o= {path}"
        for name, path in named.items()
        if path is not None and _is_open(path) and (name == "token_file" or _has_key(path))
    ]


def _is_open(path: Path) -> bool:
    try:
        return bool(stat.S_IMODE(path.stat().st_mode) & stat.S_IRWXO)
    except OSError:  # its reader reports that
        return False


def _has_key(path: Path) -> bool:
    """Whether a PEM file holds a private key; a certificate chain alone is public."""
    try:
        return b"PRIVATE KEY" in path.read_bytes()
    except OSError:
        return False
