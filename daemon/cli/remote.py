"""``scans``, ``status`` and ``stop``: ask a running daemon over HTTP."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

import typer

from daemon.errors import ConfigError, DaemonError, RefusedError
from daemon.messages import Grade, ScanFields, ScanState, Status, Stopping
from daemon.status.sentences import running_account, verdict_sentence
from ptychopinn.diagnosis.plausibility import SUMMARY_BEGINNINGS
from streams.errors import EndpointError

TIMEOUT_S = 10.0
"""Longest time to wait for an answer, s: a busy daemon answers within one."""
OPENER = build_opener(ProxyHandler({}))
"""Ignores http_proxy: a daemon is asked directly."""


def fetch(url: str, path: str, token_file: Path | None = None, body: Mapping[str, str] | None = None) -> Any:
    """Return the JSON answer of a daemon to a GET, or with ``body`` to a POST.

    Raises
    ------
    EndpointError
        If nothing answers, or something other than a daemon.
    ConfigError
        If the daemon refuses the token, or does not know the scan or model.
    RefusedError
        If the daemon cannot do this now.
    """
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f'--url "{url}" is not an HTTP address. Example: http://127.0.0.1:8080')
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
                f"the certificate of {url} is not trusted ({reason.reason or reason}); set the environment variable "
                "SSL_CERT_FILE to the file of its certificate authority"
            ) from fault
        raise EndpointError(
            f"no daemon answers at {url} ({_words(reason)}); start one, or give its address with --url"
        ) from fault
    except ValueError as fault:
        raise EndpointError(f"{url} is not a ptycholive daemon; give the address of the daemon with --url") from fault


def _words(reason: object) -> str:
    """Return the text of an error without its number."""
    return str(getattr(reason, "strerror", None) or reason)


def read_token_file(token_file: Path | None) -> str | None:
    """Return the first line of a token's file; raises :class:`ConfigError` where it cannot be read."""
    if token_file is None:
        return None
    try:
        return token_file.read_text(encoding="ascii").split("\n", 1)[0].strip()
    except (OSError, UnicodeDecodeError) as fault:
        reason = getattr(fault, "strerror", None) or "the token is not plain ASCII"
        raise ConfigError(f"--token-file {token_file} cannot be read ({reason})") from fault


def _authorization(token_file: Path | None) -> dict[str, str]:
    token = read_token_file(token_file)
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def _refusal(url: str, fault: HTTPError) -> DaemonError:
    """Return the error for a refusal: a wrong token or name is a usage error, anything else an error of the daemon."""
    detail = _detail(fault)
    if fault.code == 401:
        return ConfigError(f"the daemon at {url} requires its token; give the file of the token with --token-file")
    if fault.code in (400, 403, 404, 422):
        return ConfigError(f"the daemon at {url} refused this: {detail}")
    return RefusedError(f"the daemon at {url} answered with status {fault.code}: {detail}")


def _detail(fault: HTTPError) -> str:
    try:
        return str(json.loads(fault.read())["detail"])
    except (ValueError, KeyError, TypeError):
        return fault.reason


def show_status(url: str, token_file: Path | None, as_json: bool) -> None:
    """Print the state of the daemon."""
    status: Status = fetch(url, "/api/v1/status", token_file)
    if as_json:
        typer.echo(json.dumps(status))
        return
    assessment = status["assessment"]
    typer.echo(status["sentence"])
    typer.echo(f"{assessment['grade'].upper()}: {assessment['reason']}. {assessment['action']}.")
    if status["account"]:
        typer.echo(status["account"])
    if assessment["is_rfactor_meaningful"]:
        _show_quality(status)
    else:
        typer.echo("R-factor and expected correlation are not shown: they mean nothing until this is corrected.")
    if masked := status.get("masked_pixels"):
        typer.echo(f"{masked:,} detector pixels in the pattern hold no data")
    for stream in status["streams"]:
        words = "connected" if stream["connected"] else "not connected"
        typer.echo(f"{stream['name']} {stream['endpoint']}: {words}, {stream['messages']} messages")


def _show_quality(status: Status) -> None:
    for layer, value in status["rfactor"].items():
        if isinstance(value, float):
            typer.echo(f"R-factor of the {layer} layer: {value:.4f}")
    if status["expected_correlation"] is not None:
        typer.echo(f"Expected phase correlation with the true object: {status['expected_correlation']:.2f}")
    frc = status.get("frc")  # an older daemon gives none
    if frc is not None and frc["frc_nm"] is not None:
        settled = f", no gain for {frc['no_gain_s']:.0f} s" if frc["is_settled"] else ""
        typer.echo(f"Resolution (FRC, {frc['criterion']}): {frc['frc_nm']:.1f} nm{settled}")


def show_scans(url: str, token_file: Path | None, as_json: bool) -> None:
    """Print the scans, newest first."""
    scans: list[ScanFields] = fetch(url, "/api/v1/scans", token_file)
    if as_json:
        typer.echo(json.dumps(scans))
        return
    for scan in scans:
        rfactor = "-" if scan["rfactor"] is None else f"{scan['rfactor']:.4f}"
        told = running_account if scan["state"] == ScanState.SCANNING else verdict_sentence
        account = told(scan["verdict"]) if scan["verdict"] else ""
        grade = "" if (judged := scan["assessment"]) is None else f"  {judged['grade'].upper()}"
        typer.echo(f"{scan['id']}  {scan['state']}{grade}  {scan['started']}  R {rfactor}  {account}")
        if judged is not None and judged["grade"] != Grade.GOOD:
            typer.echo(f"  {judged['reason']}. {judged['action']}.")
        for note in scan["notes"]:
            if note.startswith(SUMMARY_BEGINNINGS):
                typer.echo(f"  {note}")


def stop_scan(scan_id: str, url: str, token_file: Path | None) -> None:
    """Finish a scan with the frames received so far."""
    answer: Stopping = fetch(url, f"/api/v1/scans/{quote(scan_id, safe='')}/stop", token_file, {})
    typer.echo(f"scan {answer['id']} is being finished with the frames received so far")
