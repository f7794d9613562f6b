"""The gate: every request passes it, and what it does not let in reaches no route."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import msgspec
from starlette.datastructures import MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gorkflow.web._access import Access, Level, cookie_of, is_loopback, split_host
from gorkflow.web._answers import Rejected, login_page, policy, rejected_by, rejection

logger = logging.getLogger("gorkflow.web")

HEADER = "x-gorkflow"
RIGHTS = "gorkflow.rights"
"""The key of a scope that has the rights of the request, for pages."""
_SAFE = frozenset({"GET", "HEAD"})
_FORWARDED = (
    b"forwarded", b"x-forwarded", b"x-original-", b"x-real-ip", b"via", b"cdn-loop", b"cf-",
    b"true-client-ip", b"client-ip", b"x-client-ip", b"x-cluster-client-ip", b"proxy-client-ip",
    b"wl-proxy-", b"fastly-", b"fly-", b"x-amzn-", b"x-appengine-", b"x-arr-", b"x-azure-",
    b"x-envoy-", b"x-remote-", b"x-vercel-",
)  # fmt: skip
"""How the names of headers begin that proxies add."""
_OUTER = frozenset({"app", "router", "route", "endpoint", "path_params"})
"""The keys that an app around this one leaves in the scope."""
_BODY_TIME = 10.0  # seconds in which all of a body has to be there
_SEND_TIME = 30.0  # seconds that a client may take to accept a part of an answer
_SESSION = 30 * 86_400  # seconds that a browser keeps the cookie
_FIXED = {
    "Content-Security-Policy": policy(),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # without any, forms of browsers send `Origin: null`
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Headers of every answer, unless a route has set its own."""


class Rights(NamedTuple):
    """The rights of a request that was let in."""

    may_change: bool
    has_token: bool
    """Whether it came with a token, or its cookie."""


class Gate:
    """Lets requests in to an ASGI app.

    Args:
        inner: the routes.
        access: the rules.
        max_body: bytes of a request.
    """

    def __init__(self, inner: ASGIApp, access: Access, max_body: int) -> None:
        self._inner = inner
        self._access = access
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let it in."""
        if scope["type"] == "lifespan":
            await self._inner(scope, receive, send)
            return
        if scope["type"] != "http":  # a WebSocket
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        answer = _Answer(send)
        try:
            response = self._greeted(scope)
            if response is None:
                receive = await self._let_in(scope, receive)
                response = await self._logged_in(scope, receive)
            if response is None:
                await self._inner(_inside(scope, self._inner), receive, answer.send)
                return
        except Exception as error:  # noqa: BLE001 - the last place that can answer
            if answer.started:
                _note(error)
                return
            response = rejection(scope, rejected_by(error))
        await response(scope, receive, answer.send)

    def _greeted(self, scope: Scope) -> Response | None:
        """Return the answer to a link with the token, or to the login; ``None``: it is neither."""
        _check_host(scope, self._access)
        if scope["method"] in _SAFE and _path(scope) == "/login":
            return login_page(scope)
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in query if name == "token"]
        if not given or scope["method"] not in _SAFE:
            return None
        rest = [pair for pair in query if pair[0] != "token"]
        place = "/" + quote(scope["path"]).lstrip("/")  # never the name of another host
        return self._welcome(scope, given[0], place + (f"?{urlencode(rest)}" if rest else ""))

    def _welcome(self, scope: Scope, token: str, place: str) -> Response:
        """Return the answer that has the browser remember a token."""
        access = self._access
        level = access.of_token(token)
        if level is Level.NONE:
            raise _unknown_token()
        response = RedirectResponse(place, 303)
        known = access.token if level is Level.CHANGE else access.read_token
        response.set_cookie(
            access.cookie,
            cookie_of(known or ""),
            max_age=_SESSION,
            path=scope.get("root_path", "") or "/",
            secure=scope.get("scheme") == "https",
            httponly=True,
            samesite="strict",
        )
        return response

    async def _let_in(self, scope: Scope, receive: Receive) -> Receive:
        """Return what reads the body of a request that is let in.

        Raises:
            Rejected: If it is not.
        """
        headers = _headers(scope)
        _check_source(scope, headers)
        access = self._access
        level = given = _level(access, headers)
        if given is Level.NONE and access.is_local and _is_local(scope, headers):
            level = Level.READ
        if not _is_visit(scope):
            _check_level(scope, access, level if scope["method"] in _SAFE else given)
        may_change = given is Level.CHANGE and not access.read_only
        scope[RIGHTS] = Rights(may_change, given is not Level.NONE)
        declared = headers.get("content-length", "0")
        if not declared.isdecimal() or int(declared) > self._max_body:
            raise _too_large(self._max_body)
        if scope["method"] in _SAFE:
            return receive
        return await _read(receive, self._max_body)

    async def _logged_in(self, scope: Scope, receive: Receive) -> Response | None:
        """Return the answer to a token that was typed, or to a logout; ``None``: it is neither."""
        root = scope.get("root_path", "")
        if scope["method"] != "POST":
            return None
        if _path(scope) == "/logout":
            response = RedirectResponse(f"{root}/", 303)
            response.delete_cookie(self._access.cookie, path=root or "/")
            return response
        if not _is_login(scope):
            return None
        body: bytes = (await receive())["body"]
        return self._welcome(scope, _typed(body), f"{root}/")


# ---- what is checked ----------------------------------------------------------------------------


def _check_host(scope: Scope, access: Access) -> None:
    """Check that the browser means this server: another name may have been made to lead here."""
    given = [value for name, value in scope["headers"] if name == b"host"]
    found = split_host(given[0].decode("latin-1")) if len(given) == 1 else None
    if found is None:
        raise Rejected(400, "the request needs one valid Host header")
    if found[0] not in access.hosts:
        raise Rejected(
            421,
            "this page does not answer under the name of this host; allow it with --allow-host, "
            "or with app(hosts=[…])",
        )


def _check_source(scope: Scope, headers: dict[str, str]) -> None:
    """Check that no page of another site sends the request."""
    site = headers.get("sec-fetch-site", "same-origin")
    if scope["method"] in _SAFE:
        if site not in {"same-origin", "none"} and headers.get("sec-fetch-mode") != "navigate":
            raise Rejected(403, "another site may link to this page, and not read it")
        return
    origin = headers.get("origin")
    is_own = origin is not None and _netloc(origin) == headers.get("host", "").lower()
    if site != "same-origin" or (origin is not None and not is_own):
        raise Rejected(403, "another site may not change anything here")
    if headers.get(HEADER) != "1" and not (is_own and _is_visit(scope)):
        raise Rejected(403, "what changes something needs the header X-Gorkflow: 1")


def _check_level(scope: Scope, access: Access, level: Level) -> None:
    """Check that the request has the right to read or change."""
    if scope["method"] in _SAFE:
        if level is Level.NONE:
            raise _token_needed(access)
        return
    if access.read_only:
        raise Rejected(403, "this page is read-only; start it without --read-only to change things")
    if access.token is None:
        raise Rejected(403, "nothing can be changed here, since no token was set")
    if level is Level.NONE:
        raise _token_needed(access)
    if level is not Level.CHANGE:
        raise Rejected(403, "changes need the token; open the link that was printed at the start")


def _level(access: Access, headers: dict[str, str]) -> Level:
    """Return the rights that a request has by its token."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        level = access.of_token(given.strip())
        if level is Level.NONE:
            raise _unknown_token()
        return level
    # As browsers read it: the standard library drops all cookies if one is odd.
    cookie = cookie_parser(headers.get("cookie", "")).get(access.cookie)
    return Level.NONE if cookie is None else access.of_cookie(cookie)


def _is_local(scope: Scope, headers: dict[str, str]) -> bool:
    """Return whether the request comes from this machine, and through no proxy."""
    host = split_host(headers.get("host", ""))
    client = scope.get("client")
    return (
        host is not None
        and is_loopback(host[0])
        and client is not None
        and is_loopback(client[0])
        and scope.get("http_version") != "1.0"  # only proxies, such as nginx, still speak it
        and not any(name.startswith(_FORWARDED) for name, _ in scope["headers"])
    )


def _token_needed(access: Access) -> Rejected:
    if not access.has_tokens:
        return Rejected(403, "without a token this page answers only this machine")
    return Rejected(
        401,
        "open the link with the token that was printed at the start, or send the token as "
        "Authorization: Bearer",
        headers={"WWW-Authenticate": "Bearer"},
        asks_token=True,
    )


def _unknown_token() -> Rejected:
    return Rejected(
        401,
        "this token is not known; use the one that was printed at the start",
        headers={"WWW-Authenticate": "Bearer"},
        asks_token=True,
    )


def _too_large(limit: int) -> Rejected:
    return Rejected(413, f"the request is larger than {limit:,} bytes")


# ---- what is read and sent ----------------------------------------------------------------------


def _headers(scope: Scope) -> dict[str, str]:
    """Return the headers; of several with one name, all."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        between = "; " if key == "cookie" else ", "
        found[key] = f"{found[key]}{between}{text}" if key in found else text
    return found


def _path(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _is_login(scope: Scope) -> bool:
    return scope["method"] == "POST" and _path(scope) == "/login"


def _is_visit(scope: Scope) -> bool:
    """Return whether a request only begins or ends the visit of its browser."""
    return scope["method"] == "POST" and _path(scope) in {"/login", "/logout"}


def _netloc(origin: str) -> str:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return ""
    return parts.netloc.lower() if parts.scheme in {"http", "https"} else ""


def _typed(body: bytes) -> str:
    """Return the token that a form, or JSON, has."""
    try:
        data = msgspec.json.decode(body, type=dict[str, str])
    except (msgspec.DecodeError, RecursionError):
        data = dict(parse_qsl(body.decode("latin-1")))
    return data.get("token", "")


async def _read(receive: Receive, most: int) -> Receive:
    """Read the body of a request, and return what gives it to the routes.

    Raises:
        Rejected: If it is too large, or comes too slowly.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_TIME):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Rejected(400, "the client left before all was sent")
                body += message.get("body", b"")
                if len(body) > most:
                    raise _too_large(most)
                if not message.get("more_body"):
                    break
    except TimeoutError:
        raise Rejected(408, f"the request was not complete after {_BODY_TIME:g} s") from None
    whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

    async def again() -> Message:
        return whole.pop() if whole else await receive()

    return again


def _inside(scope: Scope, app: ASGIApp) -> Scope:
    """Return the scope for the routes: nothing of an app around this one has a say there."""
    kept = {
        key: value
        for key, value in scope.items()
        if key not in _OUTER and not key.startswith("starlette.")
    }
    return {**kept, "app": app}  # with it a router raises where it would answer by itself


class _Answer:
    """An answer on its way, with the headers of every answer."""

    def __init__(self, send: Callable[[Message], Awaitable[None]]) -> None:
        self._send = send
        self.started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            for name, value in _FIXED.items():
                headers.setdefault(name, value)
        async with asyncio.timeout(_SEND_TIME):
            await self._send(message)


def _note(error: Exception) -> None:
    """Log what ended an answer that had begun."""
    if not isinstance(error, TimeoutError | OSError):  # the client was too slow, or has left
        logger.error("an answer ended early", exc_info=error)
