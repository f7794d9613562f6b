"""The app of the site, as ASGI: its routes behind the gate."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.routing import Router
from starlette.types import ASGIApp

from gorkflow.engine.client import Client
from gorkflow.web import api, pages, streams
from gorkflow.web._access import LOOPBACK, rules
from gorkflow.web._gate import Gate
from gorkflow.web.site import Site

_BODY = 2**20  # bytes of a request beside its values


def app(
    engine: Client,
    *,
    token: str | None = None,
    read_token: str | None = None,
    hosts: Sequence[str] = LOOPBACK,
    read_only: bool = False,
) -> ASGIApp:
    """Return the page and its JSON API as an ASGI app, to serve or to mount in another one.

    The owner of the engine opens and closes it; the app does neither.

    Without a token, only this machine may read, and nothing can be changed. With one, this machine
    still reads freely; all else needs the token. Once ``hosts`` has a name that other machines can
    reach, every request needs a token: a proxy may stand on this machine.

    Example:
        from gorkflow import Client
        from gorkflow.web import app

        async with Client("memory:") as client:
            page = app(client)  # with FastAPI or Starlette: other.mount("/gorkflow", page)

    Args:
        engine: the engine or client whose store is shown. An ``Engine`` runs what is started here.
        token: what a request needs to change things, or to read from another machine: 16 or more
            visible ASCII characters.
        read_token: another token, with which a request may only read.
        hosts: the names and addresses under which the app answers, without ports. By default
            those of this machine alone.
        read_only: whether changes are rejected, whatever the token.

    Raises:
        ValueError: If a token is too short, or a host is not valid; or if other machines can reach
            a host, and there is no token.
        TypeError: If an argument has the wrong type.
    """
    if not isinstance(engine, Client):
        raise TypeError("app needs an Engine or a Client: app(engine)")
    access = rules(token=token, read_token=read_token, hosts=hosts, read_only=read_only)
    return served(Site(engine=engine, access=access))


def served(site: Site) -> ASGIApp:
    """Return the app of a site."""
    routes = [*api.routes(site), *streams.routes(site), *pages.routes(site)]
    router = Router(routes, redirect_slashes=False)
    return Gate(router, site.access, _BODY + site.max_payload)
