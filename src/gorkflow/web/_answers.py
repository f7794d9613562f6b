"""The answers of the site where something is wrong, as JSON or as a page, and JSON in general."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response
from starlette.types import Scope

from gorkflow import errors
from gorkflow._text import is_utf8
from gorkflow.web._open_streams import TooManyStreams
from gorkflow.web._render import Addresses, make_environment

logger = logging.getLogger("gorkflow.web")

STYLE = (Path(__file__).parent / "static" / "page.css").read_text(encoding="utf-8")
"""The style of the site, within these pages: the gate may keep its file closed."""
_template = make_environment().get_template("message.html")
_TITLES = {
    400: "That can't be understood",
    401: "A token is needed",
    403: "That is not allowed",
    404: "There is nothing here",
    405: "That can't be done here",
    408: "That took too long",
    409: "That is not possible now",
    413: "That is too much",
    415: "JSON is needed",
    421: "This host is not known",
    422: "That is not valid",
    429: "Too many streams are open",
    503: "The store is not available",
}
_STATUSES: tuple[tuple[type[BaseException], int], ...] = (
    (errors.RunNotFoundError, 404),
    (errors.ScheduleNotFoundError, 404),
    (errors.DuplicateRunError, 409),
    (errors.ResourceBusyError, 409),
    (errors.RunEndedError, 409),
    (errors.RunNotEndedError, 409),
    (errors.RunBlockedError, 409),
    (errors.PayloadTooLargeError, 413),
    (errors.InputInvalidError, 422),
    (errors.ValueInvalidError, 422),
    (errors.WorkflowInvalidError, 422),
)
_TOLD = (
    errors.StoreCorruptError,
    errors.HistoryError,
    errors.StoreUnavailableError,
    errors.StoreVersionError,
)
"""Errors whose text says what to do about the store."""


class Rejected(HTTPException):
    """A request that is not done, and the reason in words for people."""

    def __init__(
        self,
        status: int,
        error: str,
        *,
        problems: tuple[tuple[str, str], ...] = (),
        headers: Mapping[str, str] | None = None,
        asks_token: bool = False,
        title: str = "",
        repeat: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(status, error, dict(headers or {}))
        self.title = title or _TITLES.get(status, "Something went wrong")
        """The title of a page that says so."""
        self.repeat = dict(repeat or {})
        """More for the body of the same request sent again, so that it is done once."""
        self.problems = problems
        """Places in what was sent, and what is wrong with each."""
        self.asks_token = asks_token
        """Whether a page lets the visitor type one."""


def places_in(name: str, error: errors.StepValueError) -> tuple[tuple[str, str], ...]:
    """Return the places of a value that are not valid, and what is wrong with each.

    Args:
        name: the key of the value in what was sent.
        error: the judgement of the value.
    """
    return tuple(
        (f"{name}{'' if not path or path[0] == '[' else '.'}{path}", said)
        for path, said in error.problems
    )


def json_answer(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return JSON data as an answer."""
    return Response(
        msgspec.json.encode(data), status, dict(headers or {}), media_type="application/json"
    )


def rejected_by(error: Exception) -> Rejected:
    """Return what to answer where a route raised; an unforeseen error says only its id."""
    if isinstance(error, Rejected):
        return error
    if isinstance(error, HTTPException):
        words = {404: "there is no such page", 405: "this address takes other methods"}
        return Rejected(
            error.status_code,
            words.get(error.status_code, error.detail),
            headers=error.headers,
        )
    if isinstance(error, TooManyStreams):
        return Rejected(429, "too many streams are open; close some pages")
    for kind, status in _STATUSES:
        if isinstance(error, kind):
            problems: tuple[tuple[str, str], ...] = getattr(error, "problems", ())
            return Rejected(status, str(error), problems=problems)
    if isinstance(error, errors.EngineClosedError):
        return Rejected(503, "the engine behind this page is not open")
    if isinstance(error, _TOLD):  # it says what is the matter, and what to do
        logger.error("request failed: %s", error)
        is_damaged = isinstance(error, errors.StoreCorruptError | errors.HistoryError)
        title = "This record is damaged" if is_damaged else ""
        return Rejected(409 if is_damaged else 503, _without_folders(str(error)), title=title)
    return _unforeseen(error)


_FOLDERS = re.compile(r"(?<=')(?:/|[A-Za-z]:\\\\)[^']*[/\\](?=[^'/\\]+')")


def _without_folders(text: str) -> str:
    """Return a text in which files have no folders: a visitor need not know them."""
    return _FOLDERS.sub("", text)


def _unforeseen(error: Exception) -> Rejected:
    incident = base64.b32encode(os.urandom(5)).decode()
    logger.error("request failed, incident %s", incident, exc_info=error)
    return Rejected(500, f"this request failed; the log has why, under {incident}")


def wants_page(scope: Scope) -> bool:
    """Return whether a browser asks, for a person to read."""
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    accept = b"".join(value for name, value in scope["headers"] if name == b"accept")
    return b"text/html" in accept and not path.startswith("/api/")


def rejection(scope: Scope, why: Rejected) -> Response:
    """Return the answer to a request that is not done."""
    status, error = why.status_code, _utf8(why.detail)
    if wants_page(scope):
        return _page(
            scope,
            why.title,
            error,
            why.status_code,
            asks_token=why.asks_token,
            headers=why.headers,
        )
    problems = [{"path": path, "message": said} for path, said in why.problems]
    body: dict[str, Any] = {"status": status, "error": error, "problems": problems}
    if why.repeat:
        body["repeat"] = why.repeat
    return json_answer(body, status, why.headers)


def login_page(scope: Scope) -> Response:
    """Return the page on which a visitor types the token."""
    return _page(scope, "Log in", "Type the token of this page.", 200, asks_token=True)


def _page(
    scope: Scope,
    title: str,
    said: str,
    status: int,
    *,
    asks_token: bool,
    headers: Mapping[str, str] | None = None,
) -> Response:
    text = _template.render(
        url=Addresses(scope.get("root_path", "")),
        here=None,
        query={"q": ""},
        title=title,
        said=said,
        asks_token=asks_token,
        style=Markup(STYLE),  # noqa: S704 - our own file
    )
    return HTMLResponse(text, status, {**(headers or {}), "Content-Security-Policy": policy(STYLE)})


def policy(style: str = "") -> str:
    """Return the policy that a browser follows on a page.

    Args:
        style: the text of the one ``<style>`` that the page may have; empty: none.
    """
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    styles = f"'self' 'sha256-{digest}'" if style else "'self'"
    return (
        f"default-src 'none'; script-src 'self'; style-src {styles}; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )


def _utf8(text: str) -> str:
    return text if is_utf8(text) else text.encode(errors="replace").decode()
