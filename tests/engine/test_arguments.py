"""An engine is asked what makes no sense, on both stores, and once it is closed."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
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
            "state": {}, "queue": "default",
        },
    ),
    "run": (lambda e, **given: e.run(**given), {"workflow": plain, "input": 1}),
    "rerun": (
        lambda e, **given: e.rerun(given.pop("origin"), given.pop("from_step"), **given),
        {
            "origin": "done", "from_step": "one", "workflow": plain, "run_id": None, "tags": {},
            "timeout": 5.0, "delay": 0, "priority": 0, "state": {}, "queue": "default",
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
            "queue": "default",
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


FLAG: tuple[Any, ...] = ("no", "", 0, 1, None, [])
TEXT: tuple[Any, ...] = (3, b"x", True, ["x"], "\ud800", "x" * 100_000)
NUMBER: tuple[Any, ...] = ("3", b"3", [3], 1j, math.nan, -1, -math.inf)
COUNT: tuple[Any, ...] = (*NUMBER, True, 1.5, 0)
MAPPING: tuple[Any, ...] = (3, "x", [("a", "b")], {1: "b"})
SHARED: Mapping[str, tuple[Any, ...]] = {
    "store": (3, b"memory:", ["memory:"], object(), SqliteStore, "nothing:x"),
    "workflows": (3, "plain", plain, one, [one], ["plain"], {"a": 1}),
    "defaults": (3, "x", [], {"retry": 1}, {"timeout": "long"}),
    "max_payload": (*COUNT, None),
    "clock": (3, "x", object(), time.time, g.clock.SystemClock),
}
STARTED: Mapping[str, tuple[Any, ...]] = {
    "workflow": (None, 3, "plain", one, [plain], g.Workflow),
    "input": (None, "x", [1], object()),
    "run_id": (*TEXT, "", "a b", "-a"),
    "if_exists": (None, "", "replace", True, ["raise"]),
    "resource_id": (*TEXT, ""),
    "tags": (*MAPPING, {"a": 1}, {"": "b"}, {"a": None}),
    "timeout": (*NUMBER, True, 0),
    "delay": (*NUMBER, True, math.inf),
    "priority": (None, "1", 1.5, True, 10**7, math.nan),
    "queue": (3, b"gpu", "", "two words", ["gpu"]),
    "exclusive": FLAG,
    "state": (*MAPPING, {"a": object()}),
}
REJECTED: Mapping[str, tuple[Callable[..., Any], Mapping[str, Any], Mapping[str, Any]]] = {
    "Client": (lambda _, **given: g.Client(**given), {"store": "memory:"}, SHARED),
    "Engine": (
        lambda _, **given: g.Engine(**given),
        {"store": "memory:"},
        {
            **SHARED,
            "max_concurrent_runs": COUNT,
            "max_concurrent_steps": COUNT,
            "max_threads": (*COUNT, None),
            "max_processes": COUNT,
            "queues": (3, "gpu", [], {}, ["two words"], [3], {"gpu": 0}, {"gpu": True}),
            "executors": (3, "x", [], {"a": 1}, {"thread": ThreadPoolExecutor}, {1: None}),
            "lease": (*NUMBER, None, True, 0, math.inf),
            "recover": FLAG,
        },
    ),
    "recovers": (
        lambda e, **given: setattr(e, "recovers", given["recovers"]), {}, {"recovers": FLAG},
    ),
    "start": (
        lambda e, **given: e.start(**given), {"workflow": plain, "input": 1, "resource_id": "r"},
        STARTED,
    ),
    "run": (
        lambda e, **given: e.run(**given), {"workflow": plain, "input": 1, "resource_id": "r"},
        STARTED,
    ),
    "recover": (lambda e, **given: e.recover(**given), {}, {"run_id": TEXT, "accept_types": FLAG}),
    "rerun": (
        lambda e, **given: e.rerun(**given), {"origin": "done"},
        {"origin": (None, *TEXT), "from_step": (3, b"one"), "accept_types": FLAG},
    ),
    "wait": (
        lambda e, **given: e.wait(**given), {"run_id": "done"},
        {"run_id": (None, *TEXT), "wait_blocked": FLAG},
    ),
    "result": (
        lambda e, **given: e.handle("done").result(**given), {}, {"wait_blocked": FLAG},
    ),
    "aclose": (lambda e, **given: e.aclose(**given), {}, {"grace": (*NUMBER, None, True)}),
}  # fmt: skip


async def rejects(call: Callable[..., Any], engine: g.Engine, **given: Any) -> bool:
    try:
        called = call(engine, **given)
        if asyncio.iscoroutine(called):
            await called
    except (TypeError, ValueError, g.GorkflowError):
        return True
    return False


@in_loop
async def test_arguments_of_a_wrong_type_or_range_are_rejected() -> None:
    async with g.Engine("memory:") as engine:
        await prepared(engine)
        accepted = [
            f"{label}: {name}={brief(value)}"
            for label, (call, base, wrong) in REJECTED.items()
            for name, values in wrong.items()
            for value in values
            if not await rejects(call, engine, **{**base, name: value})
        ]
        assert not accepted
        assert len(await engine.list_runs()) == 2  # those that were prepared
