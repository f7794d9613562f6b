"""The events of all runs, as they are recorded."""

import asyncio

import pytest

from gorkflow import Client, Engine, Workflow, step

from .support import STORES, in_loop


@step
async def double(number: int) -> int:
    return 2 * number


@step
async def triple(number: int) -> int:
    return 3 * number


@step
async def add(left: int, right: int) -> int:
    return left + right


FLOW = Workflow("flow", input=int).parallel(double, triple).then(add)


async def ends(feed, runs):
    """Return what a feed hands out until so many runs have finished."""
    events = []
    async for event in feed:
        events.append(event)
        runs -= event.kind == "run_finished"
        if not runs:
            return events
    raise AssertionError("a feed does not end by itself")


@STORES
@in_loop
async def test_all_runs_come_in_the_order_they_were_recorded_in(url, tmp_path):
    async with Engine(url.format(tmp_path)) as engine:
        watching = asyncio.create_task(ends(engine.events(), 5))
        await asyncio.gather(*(engine.run(FLOW, n, run_id=f"r{n}") for n in range(5)))
        events = await watching
        for n in range(5):
            mine = [event for event in events if event.run_id == f"r{n}"]
            assert mine == [event async for event in engine.events(f"r{n}")]
        assert await ends(engine.events(), 5) == events


@STORES
@in_loop
async def test_where_one_stopped_another_goes_on(url, tmp_path, monkeypatch):
    monkeypatch.setattr("gorkflow.engine._reads._PAGE", 4)
    async with Engine(url.format(tmp_path)) as engine:
        for n in range(4):
            await engine.run(FLOW, n)
        whole = await ends(engine.events(), 4)
        handed_out, cursor = [], ""
        while whole[-1] not in handed_out:  # each stops in the midst of a page
            feed = engine.events(after=cursor)
            stream = aiter(feed)
            for _ in range(6):
                handed_out.append(await anext(stream))
                if handed_out[-1] == whole[-1]:
                    break
            await stream.aclose()
            cursor = feed.cursor
        assert [event for event in whole if event not in handed_out] == []
        assert len(handed_out) < 2 * len(whole)


@in_loop
async def test_a_client_sees_what_others_do(tmp_path):
    url = f"sqlite:{tmp_path}/runs.db"
    async with Engine(url) as worker, Client(url) as client:
        feed = asyncio.create_task(ends(client.events(), 1))
        await worker.run(FLOW, 1, run_id="there")
        assert {event.run_id for event in await feed} == {"there"}


@in_loop
async def test_what_is_no_place_to_go_on_from_is_named():
    async with Engine("memory:") as engine:
        with pytest.raises(TypeError, match="after=3 is a seq, and that belongs to a run"):
            engine.events(after=3)
        with pytest.raises(TypeError, match="a cursor over all runs"):
            engine.events("r1", after="abc")
        with pytest.raises(ValueError, match="'abc' is not a cursor"):
            await anext(aiter(engine.events(after="abc")))
