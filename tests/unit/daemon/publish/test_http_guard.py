"""Who is let in: by address, token, cookie, origin and the name that was asked for; and HTTPS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import httpx
import pytest
import trustme
from websockets.asyncio.client import connect as asyncio_connect
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from daemon.errors import ConfigError
from daemon.publish.http.interface import tls_context
from tests.support.http_server import running

TOKEN = "a-long-enough-token"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PATHS = ("/", "/docs", "/metrics", "/readyz", "/page/app.js", "/favicon.ico", "/nowhere", "/api/v1/openapi.json")
PATHS += ("/api/v1/status", "/api/v1/scans", "/api/v1/scans/scan-1", "/api/v1/models")


def outside_address() -> str:
    """Return an address of this machine that is not loopback, or loopback where there is no other."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def test_off_loopback_only_health_is_open() -> None:
    refused: list[str] = []
    with running("0.0.0.0", token=TOKEN, on_refused=refused.append) as server:
        url = f"http://{outside_address()}:{server.port}"
        with httpx.Client(base_url=url) as client:
            assert client.get("/healthz").status_code == 200
            for path in PATHS:
                assert client.get(path).status_code == 401, path
                assert client.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401, path
            for path in ("/api/v1/scans/scan-1/stop", "/api/v1/models/active", "/healthz/../api/v1/status", "/login"):
                assert client.post(path, json={"name": "lift"}).status_code == 401, path
            assert client.get("/api/v1/status", headers=BEARER).status_code == 200
        with pytest.raises(InvalidStatus) as caught:
            connect(url.replace("http", "ws") + "/api/v1/updates").__enter__()
        assert caught.value.response.status_code == 401
        assert b"a token is required" in caught.value.response.body
        with connect(url.replace("http", "ws") + "/api/v1/updates", additional_headers=BEARER):
            pass
    assert set(refused) == {"token"}


def test_browser_logs_in_by_a_form() -> None:
    with running(token=TOKEN) as server, httpx.Client(base_url=server.url) as client:
        asked = client.get("/", headers={"Accept": "text/html"})
        assert asked.status_code == 401
        assert '<form method="post" action="/login">' in asked.text
        assert "default-src 'none'" in asked.headers["content-security-policy"]
        assert client.post("/login", data={"token": "wrong"}).status_code == 401
        assert client.post("/login", data={"token": "x" * 100_000}).status_code == 401
        assert client.post("/login", data={"token": TOKEN}, headers={"Origin": "http://evil"}).status_code == 403
        assert client.get("/api/v1/status").status_code == 401
        entered = client.post("/login", data={"token": TOKEN})
        assert (entered.status_code, entered.headers["location"]) == (303, "/")
        cookie = entered.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert TOKEN not in cookie
        assert client.get("/api/v1/status").status_code == 200


def test_foreign_names_are_not_answered_without_a_token() -> None:
    """A foreign page whose name is made to mean 127.0.0.1 is of the same origin as the daemon, but asks by that name."""
    with running(hosts=["beam.example"]) as server, httpx.Client(base_url=server.url) as client:
        for host in (
            "evil.example",
            f"evil.example:{server.port}",
            "127.0.0.1.evil.example",
            "[::2]:80",
            "",
            "192.0.2.2",
        ):
            assert client.get("/api/v1/status", headers={"Host": host}).status_code == 403, host
            assert client.get("/healthz", headers={"Host": host}).status_code == 200, host
        for host in ("localhost", "LOCALHOST:80", "127.0.0.1", "127.3.2.1:9", "[::1]:80", "Beam.example:443"):
            assert client.get("/api/v1/status", headers={"Host": host}).status_code == 200, host
    with running(token=TOKEN) as server:
        assert httpx.get(f"{server.url}/api/v1/status", headers={"Host": "any", **BEARER}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://[", "file://"])
def test_foreign_origins_cannot_act(origin: str) -> None:
    with running() as server:
        url = f"{server.url}/api/v1/scans/latest/stop"
        assert httpx.post(url, headers={"Origin": origin}).status_code == 403
        assert httpx.post(url, headers={"Origin": server.url}).status_code == 202


def test_every_answer_carries_the_headers() -> None:
    with running(token=TOKEN) as server, httpx.Client(base_url=server.url, headers=BEARER) as client:
        answers = [client.get(path) for path in PATHS] + [client.get("/x", headers={"Authorization": ""})]
        for answer in answers:
            headers = answer.headers
            assert "default-src 'none'" in headers["content-security-policy"]
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert headers["cache-control"] == "no-store"
            assert "server" not in headers


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


async def connect_over_tls(url: str, context: ssl.SSLContext) -> None:
    """Connect once; the client that uses two threads loses requests on a TLS socket of Python 3.11."""
    async with asyncio_connect(url, additional_headers=BEARER, ssl=context):
        pass


def test_https(authority: trustme.CA, tmp_path: Path) -> None:
    leaf = authority.issue_cert("127.0.0.1")
    both, key, chain = tmp_path / "both.pem", tmp_path / "key.pem", tmp_path / "chain.pem"
    leaf.private_key_and_cert_chain_pem.write_to_path(both)
    leaf.private_key_pem.write_to_path(key)
    leaf.cert_chain_pems[0].write_to_path(chain)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    for certificate in ((both, None), (chain, key)):
        with running(token=TOKEN, tls=tls_context(*certificate)) as server:
            assert server.url.startswith("https://")
            assert httpx.get(f"{server.url}/api/v1/status", headers=BEARER, verify=context).status_code == 200
            cookie = httpx.post(f"{server.url}/login", data={"token": TOKEN}, verify=context).headers["set-cookie"]
            assert cookie.endswith("; Secure")
            asyncio.run(connect_over_tls(server.url.replace("https", "wss") + "/api/v1/updates", context))
            with pytest.raises(httpx.ConnectError):
                httpx.get(f"{server.url}/healthz")
            with pytest.raises(httpx.HTTPError):
                httpx.get(server.url.replace("https", "http") + "/healthz")


def test_a_certificate_that_does_not_do_is_one_sentence(authority: trustme.CA, tmp_path: Path) -> None:
    one, other = authority.issue_cert("a.example"), authority.issue_cert("b.example")
    chain, key, nothing = tmp_path / "chain.pem", tmp_path / "key.pem", tmp_path / "nothing.pem"
    one.cert_chain_pems[0].write_to_path(chain)
    other.private_key_pem.write_to_path(key)
    nothing.write_text("no key\n")
    for files in ((chain, key), (chain, None), (nothing, None), (tmp_path / "absent.pem", None)):
        with pytest.raises(ConfigError, match="certificate_file .* cannot be used"):
            tls_context(*files)
