"""An engine is asked what makes no sense, on both stores, and once it is closed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import gorkflow as g
from gorkflow._text import brief
from gorkflow.stores.sqlite import SqliteStore
from tests.engine.support import STORES, in_loop
from tests.unit.test_arguments import JUNK, one, plain, problem

red = g.Signal("red", int)
waiting = g.Workflow("waiting", input=int).wait_for(red, id="a").wait_for(g.Signal("blue", str))
sleeping = g.Workflow("sleeping", input=int).sleep(1000).then(one)


async def first(items: Any) -> None:
    """Ask for the first of what is iterated over; it need not come."""
    with suppress(TimeoutError):
        async with asyncio.timeout(0.01):
            async for _ in items:
                return


CALLS: Mapping[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "start": (
        lambda e, **given: e.start(given.pop("workflow"), given.pop("input"), **given),
        {
            "workflow": plain, "input": 1, "run_id": None, "if_exists": "raise", "tags": {},
            "resource_id": "r", "timeout": 5.0, "delay": 0, "priority": 0, "exclusive": False,
            "state": {},
        },
    ),
    "run": (lambda e, **given: e.run(**given), {"workflow": plain, "input": 1}),
    "rerun": (
        lambda e, **given: e.rerun(given.pop("origin"), given.pop("from_step"), **given),
        {
            "origin": "done", "from_step": "one", "workflow": plain, "run_id": None, "tags": {},
            "timeout": 5.0, "delay": 0, "priority": 0, "state": {},
        },
    ),
    "send": (
        lambda e, **given: e.send(given["run_id"], given["signal"], given["payload"]),
        {"run_id": "waiting", "signal": "red", "payload": 3},
    ),
    "cancel": (lambda e, **given: e.cancel(**given), {"run_id": "done", "reason": "why"}),
    "get_run": (lambda e, **given: e.get_run(**given), {"run_id": "done"}),
    "steps": (lambda e, **given: e.steps(**given), {"run_id": "done"}),
    "wait": (lambda e, **given: e.wait(**given), {"run_id": "done"}),
    "list_runs": (lambda e, **given: e.list_runs(**given), {"query": g.RunFilter()}),
    "cursor": (
        lambda e, **given: e.list_runs(g.RunFilter(**given)), {"cursor": None},
    ),
    "delete_runs": (
        lambda e, **given: e.delete_runs(**given),
        {"before": timedelta(days=1), "workflow_id": "x", "status": "failed"},
    ),
    "events": (
        lambda e, **given: first(e.events(given["run_id"], after=given["after"])),
        {"run_id": "done", "after": 0},
    ),
    "all events": (lambda e, **given: first(e.events(after=given["after"])), {"after": ""}),
    "recover": (lambda e, **given: e.recover(**given), {"run_id": "done"}),
    "handle": (
        lambda e, **given: e.handle(given["run_id"], given["workflow"]).info(),
        {"run_id": "done", "workflow": plain},
    ),
    "schedule": (
        lambda e, **given: e.schedule(given.pop("workflow"), given.pop("input"), **given),
        {
            "workflow": plain, "input": 1, "id": "s", "every": 3600, "timezone": "UTC",
            "catch_up": "last", "overlap": "allow", "tags": {}, "priority": 0,
        },
    ),
    "schedule cron": (
        lambda e, **given: e.schedule(plain, 1, id="c", cron=given["cron"]), {"cron": "0 3 * * *"},
    ),
    "pause_schedule": (lambda e, **given: e.pause_schedule(given["id"]), {"id": "s"}),
    "resume_schedule": (lambda e, **given: e.resume_schedule(given["id"]), {"id": "s"}),
    "open": (lambda e, **given: e.open(**given), {}),
}  # fmt: skip


async def answer(engine: g.Engine, label: str, **given: Any) -> str:
    """Return what comes of a call: the name of what it raised, or nothing."""
    call, base = CALLS[label]
    try:
        called = call(engine, **{**base, **given})
        if asyncio.iscoroutine(called):
            await called
    except Exception as error:
        (name,) = given
        if found := problem(error, name):
            return f"{found}: {type(error).__name__}: {error!s:.100}"
        return type(error).__name__
    return ""


async def prepared(engine: g.Engine) -> None:
    await engine.run(plain, 1, run_id="done")
    handle = await engine.start(waiting, 1, run_id="waiting")
    while (await handle.info()).status != "suspended":
        await asyncio.sleep(0.005)
    await engine.schedule(plain, 1, id="s", every=3600)


async def answers(store: str) -> dict[str, str]:
    found: dict[str, str] = {}
    async with g.Engine(store) as engine:
        await prepared(engine)
        for label, (call, base) in CALLS.items():
            called = call(engine, **base)
            if asyncio.iscoroutine(called):
                await called
            for name in base:
                for number, junk in enumerate(JUNK):
                    key = f"{label}: {name}={brief(junk, 40)}"
                    found[f"{number} {key}"] = await answer(engine, label, **{name: junk})
        await engine.aclose(grace=0)
    return found


@in_loop
async def test_junk_raises_what_is_promised_and_the_same_on_every_store(tmp_path: Path) -> None:
    memory = await answers("memory:")
    sqlite = await answers(f"sqlite:{tmp_path / 'runs.db'}?synchronous=normal")
    differ = {key: (memory[key], sqlite[key]) for key in memory if memory[key] != sqlite[key]}
    assert not differ
    assert not [each for each in memory.items() if ": " in each[1]]


@STORES
@in_loop
async def test_whoever_waits_for_a_run_elsewhere_hears_that_the_engine_was_closed(
    url: str, tmp_path: Path
) -> None:
    engine = g.Engine(url.format(tmp_path))
    await engine.open()
    handle = await engine.start(sleeping, 1, delay=500)
    woken: Any = engine

    async def read(items: Any) -> None:
        async for _ in items:
            pass

    tasks = [
        asyncio.create_task(handle.result()),
        asyncio.create_task(handle.outcome()),
        asyncio.create_task(engine.wait(handle.run_id)),
        asyncio.create_task(read(handle.events())),
        asyncio.create_task(read(engine.events(handle.run_id))),
        asyncio.create_task(read(engine.events())),
    ]
    unread = [engine.events(handle.run_id), aiter(engine.events())]
    while sum(map(len, woken._reads._waiting.values())) < len(tasks):
        await asyncio.sleep(0.005)
    await engine.aclose(grace=0)
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in ended] == [g.EngineClosedError] * len(tasks)
    for items in unread:
        with pytest.raises(g.EngineClosedError):
            await anext(items)


@STORES
@in_loop
async def test_a_closed_engine_says_so_whatever_it_is_asked(url: str, tmp_path: Path) -> None:
    engine = g.Engine(url.format(tmp_path))
    async with engine:
        await prepared(engine)
        handle = engine.handle("done", plain)
    for label, (call, base) in CALLS.items():
        if label in {"open", "handle"}:
            continue
        with pytest.raises(g.EngineClosedError):
            called = call(engine, **base)
            await called
    for asked in (handle.result, handle.outcome, handle.info, handle.cancel):
        with pytest.raises(g.EngineClosedError):
            await asked()


@in_loop
async def test_a_store_that_others_have_open_keeps_nobody_waiting(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    async with g.Client(store) as other, g.Client(store) as engine:
        handle = await other.start(plain, 1)
        waiting_for = asyncio.create_task(engine.handle(handle.run_id).result())
        await asyncio.sleep(0)
        await engine.aclose()
        with pytest.raises(g.EngineClosedError):
            await waiting_for
        assert (await handle.info()).status == "pending"
