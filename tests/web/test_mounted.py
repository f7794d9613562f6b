"""The page inside of another app: under a prefix, with the lifespan and errors of its host."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from gorkflow import Engine
from gorkflow.web import app
from tests.engine.support import in_loop
from tests.web.tools import CHANGES, LOCAL, TOKEN, WORKFLOWS, client


async def own_error(_: Request, __: Exception) -> Response:
    return PlainTextResponse("of the host", 418)


@asynccontextmanager
async def mounted(prefix: str = "/ops/gorkflow") -> AsyncIterator[tuple[Engine, httpx.AsyncClient]]:
    """Open an app that has the page under a prefix, as its server would."""
    engine = Engine("memory:", workflows=WORKFLOWS)

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        async with engine:
            yield

    async def home(_: Request) -> Response:
        return PlainTextResponse("home")

    host = Starlette(
        routes=[Route("/", home), Mount(prefix, app(engine, token=TOKEN))],
        lifespan=lifespan,
        exception_handlers={404: own_error, 405: own_error, Exception: own_error},
    )
    async with host.router.lifespan_context(host), client(host) as visitor:
        yield engine, visitor


@in_loop
async def test_everything_stays_below_the_prefix():
    async with mounted() as (engine, visitor):
        made = await visitor.post(
            "/ops/gorkflow/api/runs",
            json={"workflow_id": "doubling", "input": 21},
            headers=CHANGES,
        )
        run_id = made.json()["run_id"]
        await engine.wait(run_id)
        assert (await visitor.get("/")).text == "home"
        document = (await visitor.get("/ops/gorkflow/api/openapi.json")).json()
        assert document["servers"] == [{"url": "/ops/gorkflow/api"}]
        for page in ("/", f"/runs/{run_id}", "/workflows", "/workflows/doubling", "/schedules"):
            found = await visitor.get(f"/ops/gorkflow{page}", headers={"accept": "text/html"})
            assert found.status_code == 200, page
            links = re.findall(r'(?:href|src|action|data-\w+)="(/[^"]*)"', found.text)
            assert links
            assert not [link for link in links if not link.startswith("/ops/gorkflow/")], page
            files = {link for link in links if "/static/" in link}
            assert files
            for file in files:
                assert (await visitor.get(file)).status_code == 200, file


@in_loop
async def test_the_gate_answers_and_not_its_host():
    async with mounted() as (_, visitor):
        nothing = await visitor.get("/ops/gorkflow/api/nothing")
        assert (nothing.status_code, nothing.json()["status"]) == (404, 404)
        other = await visitor.put("/ops/gorkflow/api/runs", headers=CHANGES)
        assert (other.status_code, other.json()["status"]) == (405, 405)
        refused = await visitor.post("/ops/gorkflow/api/runs")
        assert refused.status_code == 403


@in_loop
async def test_the_login_stays_below_the_prefix():
    async with mounted() as (_, visitor):
        found = await visitor.get("/ops/gorkflow/login")
        assert 'action="/ops/gorkflow/login"' in found.text
        entered = await visitor.post(
            "/ops/gorkflow/login", data={"token": TOKEN}, headers={"origin": LOCAL}
        )
        assert (entered.status_code, entered.headers["location"]) == (303, "/ops/gorkflow/")
        assert "Path=/ops/gorkflow" in entered.headers["set-cookie"]
        linked = await visitor.get(f"/ops/gorkflow/runs?token={TOKEN}")
        assert linked.headers["location"] == "/ops/gorkflow/runs"


@in_loop
async def test_an_engine_that_nobody_opened_is_named():
    engine = Engine("memory:")
    async with client(app(engine)) as visitor:
        found = await visitor.get("/api/runs")
        assert (found.status_code, "not open" in found.text) == (503, True)
