"""A site over an engine, and clients that ask it as browsers and programs do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx

from gorkflow import Engine, Signal, Workflow, step
from gorkflow.web import app

TOKEN = "t" * 20
READ_TOKEN = "r" * 20
HOST = "runs.example.com"
LOCAL = "http://127.0.0.1:8765"
CHANGES = {"authorization": f"Bearer {TOKEN}", "x-gorkflow": "1"}

approved = Signal("approved", bool)


@step
def double(number: int) -> int:
    return 2 * number


@step
def fail(number: int) -> int:
    raise ValueError(f"{number} <script>alert(1)</script>")


doubling = Workflow("doubling", input=int).then(double)
failing = Workflow("failing", input=int).then(fail)
review = Workflow("review", input=int).then(double).wait_for(approved)
WORKFLOWS = (doubling, failing, review)


def client(
    asgi: Any, base: str = LOCAL, *, peer: str = "127.0.0.1", **more: Any
) -> httpx.AsyncClient:
    """Return a client of an app, as if it came over the network from an address."""
    transport = httpx.ASGITransport(asgi, client=(peer, 50000))
    return httpx.AsyncClient(transport=transport, base_url=base, **more)


class Place(NamedTuple):
    """A site with its engine."""

    engine: Engine
    app: Any
    local: httpx.AsyncClient
    """On this machine, with the token."""


@asynccontextmanager
async def site(url: str = "memory:", **options: Any) -> AsyncIterator[Place]:
    """Open a site."""
    options = {"token": TOKEN, "read_token": READ_TOKEN, **options}
    async with Engine(url, workflows=WORKFLOWS) as engine:
        asgi = app(engine, **options)
        async with client(asgi, headers=CHANGES) as local:
            yield Place(engine, asgi, local)
