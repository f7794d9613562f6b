"""Streams: every event once, from any place, until the run ends or somebody leaves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.requests import Request

from gorkflow.engine._json import event_json
from gorkflow.web import _open_streams, streams
from gorkflow.web.site import Site
from tests.engine.support import in_loop, until
from tests.web.test_api import start, waiting_run
from tests.web.tools import Place, reported, site


class Reader:
    """One open stream, read as a browser reads it."""

    def __init__(
        self,
        asgi: Any,
        path: str,
        query: str,
        headers: list[tuple[bytes, bytes]],
        *,
        peer: str = "127.0.0.1",
    ) -> None:
        self.status = 0
        self.text = ""
        self._left = asyncio.Event()
        self._asked = False
        self.scope = {
            "type": "http", "method": "GET", "path": path, "root_path": "", "scheme": "http",
            "raw_path": path.encode(), "query_string": query.encode(), "http_version": "1.1",
            "headers": [(b"host", b"127.0.0.1"), *headers], "client": (peer, 1),
            "server": ("127.0.0.1", 8765),
        }  # fmt: skip
        self.task = asyncio.ensure_future(asgi(self.scope, self._receive, self._send))

    async def _receive(self) -> Any:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = dict(message["headers"])
        else:
            self.text += message["body"].decode()

    def leave(self) -> None:
        self._left.set()

    @property
    def events(self) -> list[tuple[str, str, Any]]:
        """Id, kind and data of each event so far; the id of one without is that before it."""
        found: list[tuple[str, str, Any]] = []
        last = ""
        for block in self.text.split("\n\n")[:-1]:
            fields = dict(line.split(": ", 1) for line in block.splitlines() if line[0] != ":")
            last = fields.get("id", last)
            if "data" in fields:
                found.append((last, fields.get("event", "message"), json.loads(fields["data"])))
        return found


@asynccontextmanager
async def reading(it: Place, path: str, query: str = "", last: str = "") -> AsyncIterator[Reader]:
    headers = [(b"last-event-id", last.encode())] if last else []
    reader = Reader(it.app, path, query, headers)
    try:
        yield reader
    finally:
        reader.leave()
        await asyncio.wait_for(reader.task, 10)


@in_loop
async def test_a_run_comes_whole_and_the_stream_ends_with_it():
    async with site() as it:
        run_id = await waiting_run(it)
        async with reading(it, f"/api/runs/{run_id}/events") as reader:
            await until(
                lambda: any(data.get("kind") == "wait_opened" for *_, data in reader.events)
            )
            assert not reader.task.done()
            await it.engine.send(run_id, "approved", True)
            await asyncio.wait_for(reader.task, 10)  # nobody left: the run has ended
        assert reader.headers[b"content-type"].startswith(b"text/event-stream")
        *events, end = reader.events
        wanted = [event_json(event) async for event in it.engine.events(run_id)]
        assert [data for *_, data in events] == wanted
        assert [place for place, *_ in events] == [str(each["seq"]) for each in wanted]
        assert end[1:] == ("end", {"run_id": run_id})


@in_loop
async def test_progress_and_the_log_come_while_a_step_runs():
    async with site() as it:
        reported.clear()
        run_id = await start(it, "reporting", 7)
        async with (
            reading(it, f"/api/runs/{run_id}/events") as events,
            reading(it, f"/api/runs/{run_id}/logs/events", "path=report") as log,
        ):
            await until(lambda: any(kind == "progress" for _, kind, _ in events.events))
            await until(lambda: log.events)
            assert log.events[0][2]["text"] == "begun with 7"
            [data] = [data for _, kind, data in events.events if kind == "progress"]
            assert (data["done"], data["total"], data["message"]) == (7, 100, "going")
            reported.set()
            await asyncio.wait_for(asyncio.gather(events.task, log.task), 10)
        assert log.events[-1][1] == events.events[-1][1] == "end"


@pytest.mark.parametrize("how", ["header", "query"])
@in_loop
async def test_a_browser_that_comes_back_gets_the_rest(how):
    async with site() as it:
        run_id = await start(it)
        await it.engine.wait(run_id)
        after = {"last": "2"} if how == "header" else {"query": "after=2"}
        async with reading(it, f"/api/runs/{run_id}/events", **after) as reader:
            await asyncio.wait_for(reader.task, 10)
        wanted = [event_json(event) async for event in it.engine.events(run_id, after=2)]
        assert [data for *_, data in reader.events[:-1]] == wanted


@in_loop
async def test_all_runs_come_from_now_on_and_after_a_pause_without_gaps(monkeypatch):
    monkeypatch.setattr("gorkflow.engine._reads._PAGE", 2)
    async with site() as it:
        await it.engine.wait(await start(it, run_id="before"))
        async with reading(it, "/api/events") as reader:
            await until(lambda: reader.text)
            await it.engine.wait(await start(it, run_id="first"))
            await until(lambda: ended(reader, "first"))
        assert {data["run_id"] for *_, data in reader.events} == {"first"}
        assert "input" not in reader.events[0][2]
        await it.engine.wait(await start(it, run_id="second"))
        async with reading(it, "/api/events", last=reader.events[-1][0]) as again:
            await until(lambda: ended(again, "second"))
        assert [data["seq"] for *_, data in again.events if data["run_id"] == "second"] == [
            event.seq async for event in it.engine.events("second")
        ]


def ended(reader: Reader, run_id: str) -> bool:
    return any(
        (data["run_id"], data["kind"]) == (run_id, "run_finished") for *_, data in reader.events
    )


@in_loop
async def test_a_silent_stream_shows_signs_of_life(monkeypatch):
    monkeypatch.setattr(streams, "BEAT", 0.02)
    async with site() as it:
        run_id = await waiting_run(it)
        async with reading(it, f"/api/runs/{run_id}/events") as reader:
            await until(lambda: reader.text.count(": still here") > 2)


@in_loop
async def test_who_leaves_is_forgotten():
    async with site() as it:
        open_ones = streams_of(it)
        run_id = await waiting_run(it)
        async with reading(it, f"/api/runs/{run_id}/events"), reading(it, "/api/events"):
            await until(lambda: len(open_ones) == 2)
        assert len(open_ones) == 0
        assert not it.engine._reads._waiting


@in_loop
async def test_a_client_has_only_so_many(monkeypatch):
    monkeypatch.setattr(_open_streams, "MOST_OF_CLIENT", 2)
    async with site() as it:
        open_ones = streams_of(it)
        async with reading(it, "/api/events"), reading(it, "/api/events"):
            await until(lambda: len(open_ones) == 2)
            async with reading(it, "/api/events") as third:
                await asyncio.wait_for(third.task, 10)
            assert (third.status, "too many" in third.text) == (429, True)
            headers = [(b"accept", b"text/event-stream")]
            source = Reader(it.app, "/api/events", "", headers)  # it would give up after a 429
            await asyncio.wait_for(source.task, 10)
            [(_, kind, data)] = source.events
            assert (source.status, kind) == (200, "busy")
            assert f"retry: {data['retry_after']}000\n" in source.text
            assert 10 <= data["retry_after"] <= 30
        async with reading(it, "/api/events") as fourth:
            await until(lambda: fourth.status == 200)


@in_loop
async def test_a_team_behind_a_proxy_has_streams_for_all_and_the_server_bounds_them(monkeypatch):
    assert _open_streams.MOST_OF_CLIENT >= 200
    monkeypatch.setattr(_open_streams, "MOST", 1)
    async with site() as it, reading(it, "/api/events"):
        await until(lambda: len(streams_of(it)))
        other = Reader(it.app, "/api/events", "", [], peer="127.0.0.2")
        await asyncio.wait_for(other.task, 10)
        assert other.status == 429


@in_loop
async def test_all_streams_end_with_the_server_and_with_the_engine():
    async with site() as it, reading(it, "/api/events") as reader:
        await until(lambda: len(streams_of(it)))
        streams_of(it).close()
        await asyncio.wait_for(reader.task, 10)
    async with site() as it, reading(it, "/api/events") as reader:
        await until(lambda: len(streams_of(it)))
        await it.engine.aclose()
        await asyncio.wait_for(reader.task, 10)


@in_loop
async def test_a_client_that_reads_nothing_is_left(monkeypatch):
    monkeypatch.setattr("gorkflow.web._gate._SEND_TIME", 0.05)
    async with site() as it:
        run_id = await start(it)
        await it.engine.wait(run_id)
        stuck = asyncio.Event()
        reader = Reader(it.app, f"/api/runs/{run_id}/events", "", [])

        async def send(message: Any) -> None:
            if message["type"] != "http.response.start":
                await stuck.wait()

        reader.task.cancel()
        await asyncio.wait_for(it.app(reader.scope, reader._receive, send), 10)
        assert len(streams_of(it)) == 0


def streams_of(it: Place) -> _open_streams.OpenStreams:
    """Return the open streams of a site."""
    [route] = [route for route in it.app._inner.routes if route.name == "stream_all"]
    return route.endpoint.__closure__[0].cell_contents.streams


@in_loop
async def test_a_client_that_leaves_at_once_leaves_nothing_behind():
    async def events() -> AsyncIterator[streams.Sent]:
        await asyncio.Event().wait()
        yield streams.Sent({})

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            raise OSError("it left")

    async with site() as it:
        await start(it)  # so that all that the engine does has begun
        before = asyncio.all_tasks()
        scope = {"type": "http", "method": "GET", "headers": [], "client": ("127.0.0.1", 1)}
        answer = streams.Stream(
            Site(engine=it.engine, access=it.app._access), Request(scope), events()
        )
        with pytest.raises(OSError, match="it left"):
            await answer(scope, asyncio.Event().wait, send)
        assert not [task for task in asyncio.all_tasks() - before if "_next" in repr(task)]
