"""``scans`` and ``status``: words from a running daemon over HTTP."""

from __future__ import annotations

import json
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import typer

from daemon.errors import ConfigError
from daemon.status import verdict_sentence
from streams.errors import EndpointError

TIMEOUT_S = 10.0


def fetch(url: str, path: str, token_file: Path | None = None, body: dict[str, Any] | None = None) -> Any:
    """Return the JSON answer of a daemon to a GET, or with ``body`` to a POST.

    Raises
    ------
    EndpointError
        If nothing answers, or with a refusal.
    """
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f'--url "{url}" is not an HTTP address; it looks like http://127.0.0.1:8080')
    try:
        headers = {} if token_file is None else {"Authorization": f"Bearer {token_file.read_text().strip()}"}
        content = None if body is None else json.dumps(body).encode()
        headers["Content-Type"] = "application/json"
        with urlopen(Request(url.rstrip("/") + path, content, headers), timeout=TIMEOUT_S) as answer:  # noqa: S310
            return json.loads(answer.read())
    except HTTPError as fault:
        raise EndpointError(f"{url}{path} answers {fault.code}: {_detail(fault)}") from fault
    except (URLError, HTTPException, TimeoutError, ConnectionError) as fault:
        reason = getattr(fault, "reason", fault)
        raise EndpointError(
            f"no daemon answers at {url} ({reason}); start one, or give its address with --url"
        ) from fault
    except ValueError as fault:
        raise EndpointError(f"{url} does not answer as a daemon does; give the daemon's address with --url") from fault
    except OSError as fault:
        raise ConfigError(f"--token-file {token_file} cannot be read ({fault.strerror})") from fault


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
