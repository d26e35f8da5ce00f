"""A token or a TLS key that every user of the machine may read is said; what is closed, or no secret, is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.config import Http
from daemon.service.secret_files import open_to_all

KEY = "-----BEGIN PRIVATE KEY-----\n"
CHAIN = "-----BEGIN CERTIFICATE-----\n"


def write(path: Path, text: str, mode: int) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(("mode", "count"), [(0o644, 3), (0o602, 3), (0o640, 0), (0o600, 0)])
def test_files_of_secrets_that_are_open_to_all_are_named(mode: int, count: int, tmp_path: Path) -> None:
    token, key = write(tmp_path / "token", "secret\n", mode), write(tmp_path / "key.pem", KEY, mode)
    chain = write(tmp_path / "chain.pem", CHAIN, 0o644)
    both = write(tmp_path / "both.pem", CHAIN + KEY, mode)
    said = open_to_all(Http(token_file=token, certificate_file=chain, key_file=key))
    said += open_to_all(Http(certificate_file=both))
    assert len(said) == count
    assert all(f"chmod o= {path}" in words for path, words in zip((token, key, both), said, strict=False))
    assert open_to_all(Http(token_file=tmp_path / "none", certificate_file=chain)) == []
