"""``scans``, ``status`` and ``stop``: words from a running daemon over HTTP."""

from __future__ import annotations

import json
import ssl
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

import typer

from daemon.errors import ConfigError, DaemonError, RefusedError
from daemon.status.sentences import verdict_sentence
from ptychopinn.diagnosis.plausibility import SUMMARY_BEGINNINGS
from streams.errors import EndpointError

TIMEOUT_S = 10.0
OPENER = build_opener(ProxyHandler({}))  # a daemon is asked directly, whatever http_proxy says


def fetch(url: str, path: str, token_file: Path | None = None, body: dict[str, Any] | None = None) -> Any:
    """Return the JSON answer of a daemon to a GET, or with ``body`` to a POST.

    Raises
    ------
    EndpointError
        If nothing answers, or not as a daemon does.
    ConfigError
        If the daemon does not know the token, or what was asked for.
    RefusedError
        If it cannot do now what was asked for.
    """
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f'--url "{url}" is not an HTTP address; it looks like http://127.0.0.1:8080')
    headers = {"Content-Type": "application/json", **_authorization(token_file)}
    content = None if body is None else json.dumps(body).encode()
    try:
        with OPENER.open(Request(url.rstrip("/") + path, content, headers), timeout=TIMEOUT_S) as answer:  # noqa: S310
            return json.loads(answer.read())
    except HTTPError as fault:
        with fault:
            raise _refusal(url, fault) from fault
    except (HTTPException, OSError) as fault:  # URLError and timeouts are OSErrors
        reason = getattr(fault, "reason", fault)
        if isinstance(reason, ssl.SSLError):
            raise EndpointError(
                f"{url} cannot be trusted ({reason.reason or reason}); name the file of its certificate's authority "
                "in the environment's SSL_CERT_FILE"
            ) from fault
        raise EndpointError(
            f"no daemon answers at {url} ({reason}); start one, or give its address with --url"
        ) from fault
    except ValueError as fault:
        raise EndpointError(f"{url} does not answer as a daemon does; give the daemon's address with --url") from fault


def _authorization(token_file: Path | None) -> dict[str, str]:
    if token_file is None:
        return {}
    try:
        token = token_file.read_text(encoding="ascii").split("\n", 1)[0].strip()
    except (OSError, UnicodeDecodeError) as fault:
        reason = getattr(fault, "strerror", None) or "its token is not plain ASCII"
        raise ConfigError(f"--token-file {token_file} cannot be used ({reason})") from fault
    return {"Authorization": f"Bearer {token}"}


def _refusal(url: str, fault: HTTPError) -> DaemonError:
    """Return what a refusal is for a user: a wrong token or name is the user's, the rest is the daemon's."""
    detail = _detail(fault)
    if fault.code == 401:
        return ConfigError(f"the daemon at {url} wants its token; give the file that holds it with --token-file")
    if fault.code in (400, 403, 404, 422):
        return ConfigError(f"the daemon at {url} refuses: {detail}")
    return RefusedError(f"the daemon at {url} answers {fault.code}: {detail}")


def _detail(fault: HTTPError) -> str:
    try:
        return str(json.loads(fault.read())["detail"])
    except (ValueError, KeyError, TypeError):
        return fault.reason


def show_status(url: str, token_file: Path | None, as_json: bool) -> None:
    """Print what the daemon is doing."""
    status = fetch(url, "/api/v1/status", token_file)
    if as_json:
        typer.echo(json.dumps(status))
        return
    typer.echo(status["sentence"])
    if status["account"]:
        typer.echo(status["account"])
    for layer, value in status["rfactor"].items():
        if value is not None:
            typer.echo(f"R-factor of the {layer} layer: {value:.4f}")
    if status["expected_correlation"] is not None:
        typer.echo(f"Phase correlation with the truth to expect: {status['expected_correlation']:.2f}")
    if masked := status.get("masked_pixels"):
        typer.echo(f"{masked:,} of the detector's pixels in the pattern hold no data")
    for stream in status["streams"]:
        words = "connected" if stream["connected"] else "not connected"
        typer.echo(f"{stream['name']} {stream['endpoint']}: {words}, {stream['messages']} messages")


def show_scans(url: str, token_file: Path | None, as_json: bool) -> None:
    """Print the scans, newest first."""
    scans = fetch(url, "/api/v1/scans", token_file)
    if as_json:
        typer.echo(json.dumps(scans))
        return
    for scan in scans:
        rfactor = "-" if scan["rfactor"] is None else f"{scan['rfactor']:.4f}"
        account = verdict_sentence(scan["verdict"]) if scan["verdict"] else ""
        typer.echo(f"{scan['id']}  {scan['state']}  {scan['started']}  R {rfactor}  {account}")
        for note in scan["notes"]:
            if note.startswith(SUMMARY_BEGINNINGS):
                typer.echo(f"  {note}")


def stop_scan(scan_id: str, url: str, token_file: Path | None) -> None:
    """Have a scan finished with the frames it has."""
    answer = fetch(url, f"/api/v1/scans/{quote(scan_id, safe='')}/stop", token_file, {})
    typer.echo(f"scan {answer['id']} finishes with the frames it has")
