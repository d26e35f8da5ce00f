"""Who may ask, and what every answer carries: token, same origin, content security policy."""

from __future__ import annotations

import hashlib
import hmac
import json
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "ptycholive"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class SecurityHeaders:
    """Adds the headers that keep a page from loading or being loaded by anything foreign."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, add headers to its answer."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, send_with_headers)


class Guard:
    """Refuses strangers: a wrong or missing token, and pages of other origins that change or listen.

    The token comes as ``Authorization: Bearer …``. A browser cannot send that with a page or a WebSocket, so
    ``GET /?token=…`` once exchanges it for a cookie that holds only a digest of it.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app = SecurityHeaders(app)
        self._token = token
        self._pass = "" if token is None else hashlib.sha256(f"ptycholive cookie {token}".encode()).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if _is_foreign(scope, headers):
            await _refuse(scope, send, 403, "requests from pages of another origin are refused")
        elif self._token is None or scope["path"] == "/healthz" or self._is_known(headers):
            await self._app(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == "/" and self._has_query_token(scope):
            cookie = f"{COOKIE}={self._pass}; HttpOnly; SameSite=Strict; Path=/"
            await _answer(send, 303, b"", {"Location": "/", "Set-Cookie": cookie})
        else:
            await _refuse(scope, send, 401, "a token is needed: send the header 'Authorization: Bearer TOKEN'")

    def _is_known(self, headers: Headers) -> bool:
        kind, _, value = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and _same(value.strip(), self._token or ""):
            return True
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return morsel is not None and _same(morsel.value, self._pass)

    def _has_query_token(self, scope: Scope) -> bool:
        values = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])
        return _same(values[0], self._token or "")


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())


def _is_foreign(scope: Scope, headers: Headers) -> bool:
    """Whether a page of another origin asks for something that CORS does not keep from it."""
    origin = headers.get("origin")
    if origin is None or (scope["type"] == "http" and scope["method"] in ("GET", "HEAD", "OPTIONS")):
        return False
    return urlsplit(origin).netloc != headers.get("host", "")


async def _refuse(scope: Scope, send: Send, status: int, sentence: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": sentence})
        return
    extra = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    await _answer(send, status, json.dumps({"detail": sentence}).encode(), extra)


async def _answer(send: Send, status: int, body: bytes, extra: dict[str, str]) -> None:
    headers = {**_HEADERS, "Content-Type": "application/json", "Content-Length": str(len(body)), **extra}
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
