"""Access control and security headers: token, same origin, content security policy."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Sequence
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.config import is_loopback
from daemon.metrics import HttpRefusal
from daemon.publish.http.limits import OnRefused, answer, refuse

COOKIE = "ptycholive"
MAX_FORM_BYTES = 4096
LOGIN_PAGE = (
    b'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Ptycholive</title>'
    b'<meta name="viewport" content="width=device-width, initial-scale=1"></head><body><h1>Ptycholive</h1>'
    b'<form method="post" action="/login"><p><label>Token of this daemon: '
    b'<input type="password" name="token" autocomplete="current-password" required autofocus></label> '
    b"<button>Open</button></p></form></body></html>"
)
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}

log = logging.getLogger(__name__)


class SecurityHeaders:
    """Adds the headers that forbid foreign content in a page, and the page in foreign ones."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and add headers to its answer."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class Guard:
    """Refuses requests with a wrong or missing token, with a foreign host name, or from pages of other origins.

    The token comes as ``Authorization: Bearer …``. A browser cannot send that with a page or a WebSocket, so
    ``POST /login`` and ``GET /?token=…`` exchange it once for a cookie that holds only a digest of it. If no token is set,
    only requests to a loopback name or to one of ``hosts`` are answered; this stops DNS rebinding, in which a foreign page
    uses a name that resolves to this machine. ``/healthz`` is open to all.
    """

    def __init__(self, app: ASGIApp, token: str | None, hosts: Sequence[str], on_refused: OnRefused) -> None:
        self._app = SecurityHeaders(app)
        self._token = token
        self._pass = "" if token is None else hashlib.sha256(f"ptycholive cookie {token}".encode()).hexdigest()
        self._hosts = {host.lower() for host in hosts}
        self._on_refused = on_refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if scope["path"] == "/healthz" and scope["type"] == "http":
            await self._app(scope, receive, send)
        elif _is_foreign(scope, headers):
            await self._refuse(
                scope, send, 403, HttpRefusal.ORIGIN, "requests from pages of another origin are refused"
            )
        elif self._token is None:
            if self._is_own_name(headers.get("host", "localhost")):
                await self._app(scope, receive, send)
            else:
                sentence = "the host name of this request is not allowed; set [http] token_file, or add the name to [http] hosts"
                await self._refuse(scope, send, 403, HttpRefusal.HOST, sentence)
        elif self._is_known(headers):
            await self._app(scope, receive, send)
        elif scope["type"] == "http" and (given := await _given_token(scope, receive)) is not None:
            await self._let_in(scope, send, given)
        else:
            sentence = "a token is required: send the header 'Authorization: Bearer TOKEN', or open / in a browser"
            await self._refuse(scope, send, 401, HttpRefusal.TOKEN, sentence, as_page=_wants_page(scope, headers))

    async def _let_in(self, scope: Scope, send: Send, given: str) -> None:
        if not _same(given, self._token or ""):
            await self._refuse(
                scope, send, 401, HttpRefusal.TOKEN, "the token is wrong", as_page=scope["path"] == "/login"
            )
            return
        secure = "; Secure" if scope.get("scheme") == "https" else ""
        cookie = f"{COOKIE}={self._pass}; HttpOnly; SameSite=Strict; Path=/{secure}"
        await answer(send, 303, b"", {**HEADERS, "Location": "/", "Set-Cookie": cookie})

    def _is_own_name(self, host: str) -> bool:
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        name = name.strip("[]").rstrip(".").lower()
        return is_loopback(name) or name in self._hosts

    def _is_known(self, headers: Headers) -> bool:
        kind, _, value = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and _same(value.strip(), self._token or ""):
            return True
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return morsel is not None and _same(morsel.value, self._pass)

    async def _refuse(
        self, scope: Scope, send: Send, status: int, reason: HttpRefusal, sentence: str, *, as_page: bool = False
    ) -> None:
        peer = scope["client"][0] if scope.get("client") else "a local program"
        log.warning("a request from %s was refused: %s", peer, sentence)
        self._on_refused(reason)
        if scope["type"] == "websocket":
            send = _before_handshake(send)
        if as_page:
            await answer(send, status, LOGIN_PAGE, {**HEADERS, "Content-Type": "text/html; charset=utf-8"})
        else:
            extra = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
            await refuse(send, status, sentence, {**HEADERS, **extra})


def _before_handshake(send: Send) -> Send:
    """Answer a WebSocket request with an HTTP answer instead of opening it (ASGI's ``websocket.http.response``)."""

    async def send_answer(message: Message) -> None:
        await send({**message, "type": f"websocket.{message['type']}"})

    return send_answer


def _wants_page(scope: Scope, headers: Headers) -> bool:
    return scope["type"] == "http" and scope["path"] == "/" and "text/html" in headers.get("accept", "")


async def _given_token(scope: Scope, receive: Receive) -> str | None:
    """Return the token from the login form or from the page's address, or None."""
    if scope["path"] == "/" and scope["method"] == "GET":
        text = scope.get("query_string", b"").decode("latin-1")
    elif scope["path"] == "/login" and scope["method"] == "POST":
        text = (await _short_body(receive)).decode("latin-1")
    else:
        return None
    values = parse_qs(text).get("token")
    return values[0] if values else None


async def _short_body(receive: Receive) -> bytes:
    body, has_more = b"", True
    while has_more and len(body) <= MAX_FORM_BYTES:
        message = await receive()
        body += message.get("body", b"")
        has_more = message.get("more_body", False)
    return body


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())


def _is_foreign(scope: Scope, headers: Headers) -> bool:
    """Whether a page of another origin sends a request that CORS does not block."""
    origin = headers.get("origin")
    if origin is None or (scope["type"] == "http" and scope["method"] in ("GET", "HEAD", "OPTIONS")):
        return False
    try:
        return urlsplit(origin).netloc != headers.get("host", "")
    except ValueError:
        return True
