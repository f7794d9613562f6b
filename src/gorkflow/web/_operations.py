"""The operations of the JSON API: what each takes and answers, so that a page can describe it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gorkflow.engine._json import to_json
from gorkflow.web._answers import Rejected, json_answer
from gorkflow.web.site import Site

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
    fails: tuple[int, ...] = ()
    """The statuses of rejections, beside those of the gate."""

    def route(self, site: Site) -> Route:
        """Return the route of it."""

        async def endpoint(request: Request) -> Response:
            asked = Asked(site, request, self._query(request), await self._body(request))
            found = await self.do(asked)
            if isinstance(found, Response):
                return found
            return json_answer(to_json(found), self.status)

        return Route(f"/api{self.path}", endpoint, methods=[self.method], name=self.name)

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
            raise _misfit(error, 400) from None

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
            raise _misfit(error, 422) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Rejected(400, f"the body is not JSON: {error}") from None
        except RecursionError:
            raise Rejected(400, "the body is nested too deep") from None


def _misfit(error: Exception, status: int) -> Rejected:
    """Return the answer to data that does not fit its type."""
    text = str(error)
    found = _AT.search(text)
    path = found["path"].removeprefix(".") if found else ""
    said = text[: found.start()] if found else text
    return Rejected(status, f"{path}: {said}" if path else said, problems=((path, said),))
