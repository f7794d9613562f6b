"""A visit: one request for a page, and what the page may ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gorkflow.web._gate import RIGHTS
from gorkflow.web._render import Addresses

if TYPE_CHECKING:
    from starlette.requests import Request

    from gorkflow.web._gate import Rights
    from gorkflow.web.site import Site


class Query(dict[str, str]):
    """The parameters of an address. One that is missing is empty, in a template, too."""

    def __missing__(self, name: str) -> str:
        """Return an empty text."""
        return ""


class Visit:
    """One request for a page.

    Args:
        site: what all routes share.
        request: the request.
    """

    def __init__(self, site: Site, request: Request) -> None:
        self.site = site
        self.engine = site.engine
        self.views = site.views
        self.query = Query((name, value) for name, value in request.query_params.items() if value)
        self.part: dict[str, str] = request.path_params
        self.url = Addresses(request.scope.get("root_path", ""))
        self.path = request.url.path
        rights: Rights = request.scope[RIGHTS]
        self.may_change = rights.may_change
        self.has_token = rights.has_token
        """Whether the visitor is logged in."""
        self.can_log_in = not rights.has_token and site.access.has_tokens
        self.now = site.now
        """The time, in seconds since the epoch."""

    def number(self, name: str) -> int:
        """Return a whole number of the query, from 0; 0 where there is none."""
        text = self.query.get(name, "")
        return int(text) if text.isdecimal() and len(text) < 10 else 0

    def context(self) -> dict[str, Any]:
        """Return what every template has."""
        return {
            "url": self.url,
            "path": self.path,
            "query": self.query,
            "may_change": self.may_change,
            "has_token": self.has_token,
            "can_log_in": self.can_log_in,
            "store": self.site.store_name,
            "is_file": bool(self.site.lock),
            "now": self.now,
            "new_run": self.url("runs") + "/{run_id}",
        }
