"""A site over an engine, and clients that ask it as browsers and programs do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx

from gorkflow import Engine, Signal, StepContext, Workflow, step
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
async def report(ctx: StepContext, number: int) -> int:
    ctx.logger.info("begun with %d", number)
    ctx.progress(number, 100, "going")
    await reported.wait()
    return number


reported = asyncio.Event()
"""Lets ``report`` end."""


@step
def fail(number: int) -> int:
    raise ValueError(f"{number} <script>alert(1)</script>")


doubling = Workflow("doubling", input=int).then(double)
failing = Workflow("failing", input=int).then(fail)
reporting = Workflow("reporting", input=int).then(report)
review = Workflow("review", input=int).then(double).wait_for(approved)
WORKFLOWS = (doubling, failing, reporting, review)


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


async def ask(
    asgi: Any,
    path: str,
    method: str = "GET",
    *,
    query: str = "",
    hosts: Sequence[bytes] = (b"127.0.0.1",),
    headers: Sequence[tuple[bytes, bytes]] = (),
    version: str = "1.1",
) -> tuple[int, bytes]:
    """Return status and body of the answer to a request as a server has decoded it."""
    sent: list[Any] = []
    never = asyncio.Event()
    bodies = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Any:
        if not bodies:
            await never.wait()
        return bodies.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": method, "path": path, "root_path": "", "scheme": "http",
        "raw_path": path.encode("utf-8", "replace"), "query_string": query.encode(),
        "headers": [*((b"host", host) for host in hosts), *headers], "http_version": version,
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8765),
    }  # fmt: skip
    await asyncio.wait_for(asgi(scope, receive, send), 20)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])
