"""The streams: events of a run, or of all runs, as they are recorded, as server-sent events."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from gorkflow.engine._json import event_json, redaction_of, to_json, without_secrets
from gorkflow.engine._start import run_id_of
from gorkflow.errors import EngineClosedError, RunNotFoundError, StoreCorruptError
from gorkflow.events import Event
from gorkflow.model import Report
from gorkflow.web._answers import Rejected
from gorkflow.web._open_streams import TooManyStreams
from gorkflow.web.site import Site

BEAT = 15.0
"""Seconds between signs of life on a silent stream."""
_LATER = (10, 30)
"""Seconds, at least and at most, after which a client comes again that found no room."""
_HEAD = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"x-accel-buffering", b"no"),
]


@dataclass(frozen=True, slots=True)
class Sent:
    """One server-sent event."""

    data: Any
    id: str = ""
    """The place to continue at, as ``Last-Event-ID``; empty: that of the one before."""
    kind: str = ""
    """Empty: a message."""

    def encode(self) -> bytes:
        """Return it as it is sent."""
        lines = [b"id: " + self.id.encode()] if self.id else []
        if self.kind:
            lines.append(b"event: " + self.kind.encode())
        lines.append(b"data: " + msgspec.json.encode(self.data))  # JSON on one line
        return b"\n".join(lines) + b"\n\n"


class Stream(Response):
    """Sends events until they end, the client leaves, or the server stops."""

    def __init__(self, site: Site, request: Request, events: AsyncIterator[Sent]) -> None:
        self.background = None
        self.status_code = 200
        self._site = site
        self._client = request.client.host if request.client else ""
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events.

        Raises:
            TooManyStreams: If there are too many, and the client does not come again by itself.
        """
        try:
            with self._site.streams.opened(self._client):
                await self._answer(scope, receive, send)
        except TooManyStreams:
            if b"text/event-stream" not in dict(scope["headers"]).get(b"accept", b""):
                raise
            await self._put_off(send)

    async def _put_off(self, send: Send) -> None:
        """Have an ``EventSource`` come again: after an error it never would."""
        later = random.randint(*_LATER)
        busy = Sent({"retry_after": later}, kind="busy").encode()
        await send({"type": "http.response.start", "status": 200, "headers": _HEAD})
        await send(_part(f"retry: {later * 1000}\n\n".encode() + busy))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _HEAD})
        try:
            if scope["method"] != "HEAD":
                await self._send(receive, send)
        finally:
            close = getattr(self._events, "aclose", None)
            if close is not None:
                await close()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, receive: Receive, send: Send) -> None:
        ends: set[asyncio.Future[Any]] = {
            asyncio.ensure_future(_left(receive)),
            asyncio.ensure_future(self._site.streams.closing.wait()),
        }
        coming = asyncio.ensure_future(_next(self._events))
        try:
            await send(_part(b"retry: 2000\n\n"))
            while True:
                await asyncio.wait(
                    {*ends, coming}, timeout=BEAT, return_when=asyncio.FIRST_COMPLETED
                )
                if any(end.done() for end in ends):
                    return
                if not coming.done():
                    await send(_part(b": still here\n\n"))
                    continue
                found = coming.result()
                if found is None:
                    return
                await send(_part(found.encode()))
                coming = asyncio.ensure_future(_next(self._events))
        finally:
            for task in (*ends, coming):
                task.cancel()
            await asyncio.wait({*ends, coming})


def _part(data: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": True}


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _next(events: AsyncIterator[Sent]) -> Sent | None:
    try:
        return await anext(events, None)
    except EngineClosedError:
        return None
    except StoreCorruptError as error:  # its iterator ends with it
        return Sent({"error": str(error)}, kind="damaged")


# ---- one run, and all ---------------------------------------------------------------------------


async def of_run(site: Site, run_id: str, after: int) -> AsyncIterator[Sent]:
    """Yield the events of a run until it has ended, without its secrets."""
    redaction = await redaction_of(site.engine.store, run_id)
    async for found in site.engine.events(run_id, after=after, progress=True):
        if isinstance(found, Report):
            yield Sent(to_json(redaction.shown(found)), kind="progress")
            continue
        redaction.learn(found)
        yield Sent(event_json(redaction.shown(found)), id=str(found.seq))
    yield Sent({"run_id": run_id}, kind="end")


async def of_log(site: Site, run_id: str, path: str | None, after: int) -> AsyncIterator[Sent]:
    """Yield the log of a run, or of one step, until the run has ended, without its secrets."""
    lines = site.engine.follow_logs(run_id, path, after=after)
    async for line in without_secrets(site.engine.store, run_id, lines):
        yield Sent(to_json(line), id=str(line.id))
    yield Sent({"run_id": run_id}, kind="end")


async def of_all(site: Site, after: str) -> AsyncIterator[Sent]:
    """Yield, for ever, what is recorded of all runs."""
    feed = site.engine.events(after=after)
    async for events in feed.pages():
        for event in events:
            last = event is events[-1]
            yield Sent(_brief(event), id=feed.cursor if last else "")


def _brief(event: Event) -> dict[str, Any]:
    """Return an event without its values: enough to know which run to look at."""
    return {
        key: value
        for key, value in event_json(event).items()
        if key in {"kind", "run_id", "seq", "path", "at", "status"}
    }


def routes(site: Site) -> list[BaseRoute]:
    """Return the routes of the streams."""

    async def run(request: Request) -> Response:
        run_id, after = await _checked(site, request)
        return Stream(site, request, of_run(site, run_id, after))

    async def log(request: Request) -> Response:
        run_id, after = await _checked(site, request)
        path = request.query_params.get("path")
        return Stream(site, request, of_log(site, run_id, path, after))

    async def everything(request: Request) -> Response:
        given = _place(request)
        store = site.engine.store
        after = given or await store.end_of_feed()
        try:
            await store.read_all_events(after=after, limit=1)
        except ValueError:
            raise Rejected(400, "Last-Event-ID must be the id of an event of this stream") from None
        return Stream(site, request, of_all(site, after))

    return [
        Route("/api/runs/{run_id}/events", run, methods=["GET"], name="stream_run"),
        Route("/api/runs/{run_id}/logs/events", log, methods=["GET"], name="stream_log"),
        Route("/api/events", everything, methods=["GET"], name="stream_all"),
    ]


async def _checked(site: Site, request: Request) -> tuple[str, int]:
    """Return the run of a request, and the place to continue at.

    Raises:
        RunNotFoundError: If there is no such run.
        Rejected: If the place is not valid.
    """
    run_id = run_id_of(request.path_params["run_id"])
    if await site.engine.store.get_run(run_id) is None:
        raise RunNotFoundError(run_id)
    given = _place(request)
    if given and not (given.isascii() and given.isdecimal() and len(given) < 19):
        raise Rejected(400, "Last-Event-ID must be the id of an event of this stream")
    return run_id, int(given or 0)


def _place(request: Request) -> str:
    """Return the id of the event to continue after: of a browser that comes back, or as asked."""
    return request.headers.get("last-event-id") or request.query_params.get("after", "")
