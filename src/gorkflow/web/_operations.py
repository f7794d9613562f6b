"""The operations of the JSON API: what each takes and answers, so that a page can describe it."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any, get_args, get_type_hints

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gorkflow.engine._json import to_json
from gorkflow.errors import DuplicateRunError, StoreError
from gorkflow.web._answers import Rejected, json_answer, rejected_by
from gorkflow.web.site import Site

logger = logging.getLogger("gorkflow.web")

PATIENCE = 5.0
"""Seconds that a client waits for a change to be recorded."""
_AT = re.compile(r" - at `\$(?P<path>.*)`$")


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A query or body without fields."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request for an operation."""

    site: Site
    request: Request
    query: Any
    """An instance of the operation's ``query``."""
    body: Any
    """An instance of its ``body``."""
    repeat: dict[str, Any] = field(default_factory=dict[str, Any])
    """More for the body of the same request sent again, so that it is done once; the operation
    says it. Empty: it knows no such thing."""

    def part(self, name: str) -> str:
        """Return a part of the address, such as ``run_id``."""
        found: str = self.request.path_params[name]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one address below ``/api``."""

    method: str
    path: str
    name: str
    """In the OpenAPI document, and of the route."""
    summary: str
    do: Callable[[Asked], Awaitable[Any]]
    """Returns a ``Response``, or what ``answer`` describes."""
    answer: Any
    """The type of the JSON, or a media type."""
    query: Any = Nothing
    body: Any = Nothing
    status: int = 200
    may_repeat: bool = True
    """Whether the same request sent twice changes no more than sent once."""
    fails: tuple[int, ...] = ()
    """The statuses of rejections, beside those of the gate."""

    def route(self, site: Site) -> Route:
        """Return the route of it."""

        async def endpoint(request: Request) -> Response:
            asked = Asked(site, request, self._query(request), await self._body(request))
            found = await self._done(asked)
            if isinstance(found, Response):
                return found
            return await site.views.apart(_answer, found, self.status)

        return Route(f"/api{self.path}", endpoint, methods=[self.method], name=self.name)

    async def _done(self, asked: Asked) -> Any:
        """Do it; what changes something is not waited for longer than clients are patient.

        It is not stopped half done then, but ends later.

        Raises:
            Rejected: If it takes longer.
        """
        if self.method == "GET":
            return await self.do(asked)
        task = asyncio.ensure_future(self.do(asked))
        try:
            await asyncio.wait({task}, timeout=PATIENCE)
        finally:
            if not task.done():
                asked.site.late.add(task)
                task.add_done_callback(partial(self._over, asked.site))
        if task.done():
            return task.result()
        raise Rejected(
            503,
            f"{await self._obstacle(asked.site)}; {self._advice(asked)}",
            headers={"Retry-After": f"{PATIENCE:.0f}"},
            repeat=asked.repeat,
        )

    async def _obstacle(self, site: Site) -> str:
        """Return why the store may not have recorded a change yet."""
        try:
            async with asyncio.timeout(1.0):
                await site.engine.store.get_run("")
        except StoreError as error:
            return rejected_by(error).detail
        except TimeoutError:
            return f"the store {site.store_name!r} does not answer"
        lock = f"holds its lock ({site.lock})" if site.lock else "is writing to it"
        return (
            f"the store {site.store_name!r} has not recorded this yet: another program {lock}, or "
            "the disk is slow"
        )

    def _advice(self, asked: Asked) -> str:
        if asked.repeat:
            more = ", ".join(f"{name}={value}" for name, value in asked.repeat.items())
            return f"send it again with {more}, and it is done once"
        if self.may_repeat:
            return "send it again: to do it twice changes no more than once"
        return "it may still be done, so look before you send it again"

    def _over(self, site: Site, task: asyncio.Future[Any]) -> None:
        """Note how a request ended that was answered before."""
        site.late.discard(task)
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or error is not None:
            repeated = isinstance(error, DuplicateRunError)  # it was sent again, and done
            logger.log(
                logging.INFO if repeated else logging.WARNING,
                "%s failed after it was answered with 503: %s",
                self.name,
                error,
            )
        else:
            logger.info("%s was done after it was answered with 503", self.name)

    def _query(self, request: Request) -> Any:
        fields = {field.name: field for field in msgspec.structs.fields(self.query)}
        given: dict[str, Any] = {}
        for name in request.query_params:
            values = request.query_params.getlist(name)
            several = name in fields and "tuple" in str(fields[name].type)
            if len(values) > 1 and not several:
                raise Rejected(400, f"{name} is given more than once; give it one value")
            given[name] = values if several else values[0]
        try:
            return msgspec.convert(given, self.query, strict=False)
        except (msgspec.ValidationError, ValueError) as error:
            raise _misfit(error, 400, self.query) from None

    async def _body(self, request: Request) -> Any:
        if self.method in {"GET", "DELETE"}:
            return None
        data = await request.body()
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if data and kind != "application/json":
            raise Rejected(415, "send the body as JSON, with Content-Type: application/json")
        try:
            return msgspec.json.decode(data or b"{}", type=self.body)
        except msgspec.ValidationError as error:
            raise _misfit(error, 422, self.body) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Rejected(400, f"the body is not JSON: {error}") from None
        except RecursionError:
            raise Rejected(400, "the body is nested too deep") from None


def _answer(found: Any, status: int) -> Response:
    return json_answer(to_json(found), status)


def _misfit(error: Exception, status: int, model: Any) -> Rejected:
    """Return the answer to data that does not fit its type."""
    text = str(error)
    found = _AT.search(text)
    path = found["path"].removeprefix(".") if found else ""
    said = text[: found.start()] if found else text
    if said.startswith("Invalid enum value"):
        said += _choices(model, path.partition("[")[0])
    return Rejected(status, f"{path}: {said}" if path else said, problems=((path, said),))


def _choices(model: Any, name: str) -> str:
    """Return the values that a field of an enum takes, as the end of a sentence; or nothing."""
    types = [get_type_hints(model).get(name)]
    while types:
        one = types.pop()
        if isinstance(one, type) and issubclass(one, Enum):
            return f"; it is one of {', '.join(str(each.value) for each in one)}"
        types += get_args(one)
    return ""
