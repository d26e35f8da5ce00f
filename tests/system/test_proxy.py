"""The nginx recipe of ``deploy/proxy`` with a real nginx in front of a real daemon."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import trustme
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.support.daemon_tools import PATIENCE_S, running_daemon

pytestmark = pytest.mark.system

RECIPE = Path(__file__).parents[2] / "deploy" / "proxy" / "nginx.conf"
TOKEN = "a-token-for-the-proxy"
MAIN = """
pid {folder}/nginx.pid;
error_log stderr;
daemon off;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/ptycholive.conf;
}}
"""


async def first_update(url: str, trust: ssl.SSLContext, token: str | None, origin: str | None = None) -> str | bytes:
    """One thread: Python's TLS sockets lose what is written while another thread reads (1 of 100 requests here)."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with (
        asyncio.timeout(PATIENCE_S),
        connect(url, ssl=trust, additional_headers=headers, origin=origin) as viewer,  # type: ignore[arg-type]
    ):
        return await viewer.recv()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def nginx(folder: Path, daemon_url: str, authority: trustme.CA) -> Iterator[str]:
    """Yield the address of the recipe as it stands, but for ports and the certificate's place."""
    found = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        reason = "nginx is not installed (Debian: nginx-light)"
        pytest.fail(reason) if "CI" in os.environ else pytest.skip(reason)
    leaf, port = authority.issue_cert("localhost"), free_port()
    leaf.private_key_pem.write_to_path(folder / "key.pem")
    leaf.cert_chain_pems[0].write_to_path(folder / "chain.pem")
    site = RECIPE.read_text().replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl")
    site = site.replace("/etc/ptycholive/tls", str(folder)).replace("http://127.0.0.1:8080", daemon_url)
    (folder / "ptycholive.conf").write_text(site)
    (folder / "main.conf").write_text(MAIN.format(folder=folder))
    command = [found, "-e", "stderr", "-p", str(folder), "-c", str(folder / "main.conf")]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stderr
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield f"https://localhost:{port}"
    finally:
        process.terminate()
        process.wait(60)


def test_the_recipe_gives_https_with_token_cookie_and_updates(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    authority = trustme.CA()
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    setting = f"http.token_file={json.dumps(str(token))}"
    with (
        running_daemon(tmp_path, setting) as daemon,
        nginx(tmp_path, daemon.addresses()["http"], authority) as url,
        httpx.Client(base_url=url, transport=httpx.HTTPTransport(verify=trust, retries=10)) as client,
    ):
        assert client.get("/healthz").status_code == 200
        assert client.get("/api/v1/status").status_code == 401
        updates = url.replace("https", "wss") + "/api/v1/updates"
        for status, token_sent, origin in ((401, None, url), (403, TOKEN, "https://evil.example")):
            with pytest.raises(InvalidStatus) as refused:
                asyncio.run(first_update(updates, trust, token_sent, origin))
            assert refused.value.response.status_code == status
        assert asyncio.run(first_update(updates, trust, TOKEN, url))
        entered = client.post("/login", data={"token": TOKEN}, headers={"Origin": url})
        assert entered.status_code == 303
        assert entered.headers["set-cookie"].endswith("; Secure")
        assert client.get("/").status_code == 200
        assert client.post("/api/v1/scans/latest/stop", headers={"Origin": url}).status_code == 404
        assert client.post("/api/v1/scans/latest/stop", headers={"Origin": "https://evil.example"}).status_code == 403
        assert client.post("/api/v1/models/active", content=b"x" * 100_000).status_code == 413
