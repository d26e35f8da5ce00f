"""``status``, ``scans``, ``stop`` and ``model set`` against a running daemon: words, and exit codes of refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trustme

from daemon.client import Viewer
from tests.support.daemon_tools import PATIENCE_S, follow, real_scan, running_daemon, send_unfinished, wait_for_frames
from tests.support.verbs import run_verb


def ptycholive(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr; a proxy that is not there must not be asked."""
    known = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", **environment}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in known.items():
            patch.setenv(name, value)
        done = run_verb(*arguments, cwd=Path.cwd())
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def test_verbs_over_https_with_a_token(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    token, wrong = tmp_path / "token", tmp_path / "wrong"
    token.write_text("the-token\n")
    wrong.write_text("another\n")
    settings = [f"http.{key}={json.dumps(str(path))}" for key, path in (("token_file", token),)]
    settings.append(f"http.certificate_file={json.dumps(str(tmp_path / 'both.pem'))}")
    with running_daemon(tmp_path, *settings) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        url = ("--url", daemon.addresses()["http"])
        known = (*url, "--token-file", str(token))
        trust = {"SSL_CERT_FILE": str(tmp_path / "ca.pem")}

        code, out, _ = ptycholive("status", *known, **trust)
        assert (code, out.splitlines()[0][:20]) == (0, "Waiting for a scan. ")
        code, _, said = ptycholive("status", *known)
        assert (code, "SSL_CERT_FILE" in said) == (4, True)
        for arguments in (url, (*url, "--token-file", str(wrong))):
            code, _, said = ptycholive("scans", *arguments, **trust)
            assert (code, "requires its token" in said) == (2, True)
        code, _, said = ptycholive("scans", *url, "--token-file", str(tmp_path / "absent"), **trust)
        assert (code, "absent cannot be read" in said) == (2, True)
        code, _, said = ptycholive("model", "set", "owl", *known, **trust)
        assert (code, "no model named owl" in said) == (2, True)
        code, _, said = ptycholive("stop", "nobody", *known, **trust)
        assert (code, "no scan nobody" in said) == (2, True)

        send_unfinished(daemon.addresses()["streams"]["frames"], real_scan(), 20, 516, "star")
        wait_for_frames(viewer, 20)
        code, out, _ = ptycholive("stop", *known, **trust)
        assert (code, out) == (0, "scan star is being finished with the frames received so far\n")
        ended, _ = follow(viewer)
        assert (ended["result"], ended["verdict"]["stitched"]) == ("stopped", 20)
        code, _, said = ptycholive("stop", "star", *known, **trust)
        assert (code, "is not running" in said) == (1, True)
        code, out, _ = ptycholive("scans", "--json", *known, **trust)
        assert (code, [scan["state"] for scan in json.loads(out)]) == (0, ["stopped"])


@pytest.mark.parametrize("url", ["ftp://host", "127.0.0.1:8080"])
def test_an_address_that_is_none(url: str) -> None:
    code, _, said = ptycholive("status", "--url", url)
    assert (code, "is not an HTTP address" in said) == (2, True)
