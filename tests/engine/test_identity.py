"""Whose functions a run has: its own, as long as its engine lives, whatever else has its id."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from gorkflow import (
    Client,
    Engine,
    RetryPolicy,
    RunFailedError,
    RunStatus,
    Signal,
    StepContext,
    Workflow,
    WorkflowInvalidError,
    step,
)
from gorkflow.engine import _driver, _lease, _registry, _start
from gorkflow.insight.check import check
from gorkflow.language.functions import same

from .support import broken, calls, in_loop, until

go = Signal("go", int)
Grow = Callable[[Workflow[int, int]], Workflow[int, int]]


@pytest.fixture(autouse=True)
def _no_naps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have runs leave the process whenever they wait: 5 s are long for a test."""
    monkeypatch.setattr(_driver, "NAP", 0.0)
    monkeypatch.setattr(_start, "NAP", 0.0)


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory:" if request.param == "memory" else f"sqlite:{tmp_path / 'runs.db'}"


# ---- the kinds of what a function may hold ----------------------------------------------------


@step
async def notify(number: int, to: str = "nobody") -> str:
    return to


@step
async def to_alice(number: int) -> str:
    return "alice"


@step
async def to_bob(number: int) -> str:
    return "bob"


@step
async def numbers(number: int) -> list[int]:
    return [number]


@step
async def path_of(ctx: StepContext, number: int) -> str:
    return ctx.path


@step
async def only(paths: list[str]) -> str:
    return paths[0].removeprefix("path_of[").removesuffix("]")


@step
async def more(number: int) -> int:
    return number + 1


@step
async def named(number: int) -> str:
    return {3: "alice", 2: "bob"}[number]


async def send_to(to: str, number: int) -> str:
    return to


def is_alice(name: str, number: int) -> bool:
    return name == "alice"


def setting(start: Workflow[int, int], name: str) -> Any:
    return start.then(notify.bind("send", to=name))


def step_closure(start: Workflow[int, int], name: str) -> Any:
    @step
    async def send(number: int) -> str:
        return name

    return start.then(send)


def thread_closure(start: Workflow[int, int], name: str) -> Any:
    @step
    def send(number: int) -> str:
        return name

    return start.then(send)


def step_default(start: Workflow[int, int], name: str) -> Any:
    @step
    async def send(number: int, to: str = name) -> str:
        return to

    return start.then(send)


def step_partial(start: Workflow[int, int], name: str) -> Any:
    return start.then(step(partial(send_to, name), id="send"))


def condition(start: Workflow[int, int], name: str) -> Any:
    return start.when(lambda number: name == "alice", to_alice).otherwise(to_bob)


def condition_default(start: Workflow[int, int], name: str) -> Any:
    return start.when(lambda number, name=name: name == "alice", to_alice).otherwise(to_bob)


def condition_partial(start: Workflow[int, int], name: str) -> Any:
    return start.when(partial(is_alice, name), to_alice).otherwise(to_bob)


def key(start: Workflow[int, int], name: str) -> Any:
    return start.then(numbers).map(path_of, key=lambda number: name).then(only)


def loop_until(start: Workflow[int, int], name: str) -> Any:
    enough = {"alice": 3, "bob": 2}[name]
    return start.loop(more, until=lambda number: number >= enough, max_iterations=9).then(named)


def width(start: Workflow[int, int], name: str) -> Any:
    copies = [more.options(id=f"more{n}") for n in range(len(name))]

    @step
    async def widest(all_of: tuple[int, ...]) -> str:
        return {5: "alice", 3: "bob"}[len(all_of)]

    return start.parallel(*copies).then(widest)


KINDS = (
    setting, step_closure, thread_closure, step_default, step_partial, condition, condition_default,
    condition_partial, key, loop_until, width,
)  # fmt: skip


@step
async def first(value: tuple[int, int]) -> int:
    return value[0]


@step
async def halts(number: int) -> int:
    if "halts" in broken:
        raise ValueError(number)
    return number


def slow_down() -> Grow:
    """Return what fails at first, for each run."""
    met: set[str] = set()

    @step(retries=RetryPolicy(retries=1, initial_interval=0.2, jitter=0))
    async def stumbles(ctx: StepContext, number: int) -> int:
        if ctx.run_id in met:
            return number
        met.add(ctx.run_id)
        raise ValueError(number)

    return lambda start: start.then(stumbles)


WAITS: dict[str, Grow] = {
    "sleep": lambda start: start.sleep(0.2),
    "signal": lambda start: start.wait_for(go).then(first),
    "back-off": slow_down(),
    "delay": lambda start: start.then(halts),
    "rerun": lambda start: start.then(halts),
}


@pytest.mark.parametrize("wait", WAITS)
@in_loop
async def test_each_run_keeps_its_own_functions_through_a(wait: str, url: str) -> None:
    def flow(kind: Any, name: str) -> Workflow[int, str]:
        made: Workflow[int, str] = kind(WAITS[wait](Workflow(kind.__name__, input=int)), name)
        return made

    async with Engine(url, lease=0.9) as engine:
        if wait == "rerun":
            broken.add("halts")
        options: Any = {"delay": 0.2} if wait == "delay" else {}
        handles = {
            (kind.__name__, name): await engine.start(flow(kind, name), 1, **options)
            for kind in KINDS
            for name in ("alice", "bob")
        }
        for handle in handles.values():
            if wait == "signal":
                await handle.send(go, 0)
            if wait == "rerun":
                with pytest.raises(RunFailedError):
                    await handle.result()
        if wait == "rerun":
            broken.clear()
            handles = {it: await engine.rerun(run.run_id) for it, run in handles.items()}
        got = {(kind, name): await run.result() for (kind, name), run in handles.items()}
    assert got == {(kind.__name__, name): name for kind in KINDS for name in ("alice", "bob")}


@in_loop
async def test_an_undo_step_is_the_run_s_own(url: str) -> None:
    def flow(name: str) -> Workflow[int, str]:
        @step
        async def undo(number: int, output: str | None) -> None:
            calls.append(f"{output} undone by {name}")

        @step
        async def fails(value: tuple[str, int]) -> str:
            raise ValueError(value)

        send = notify.bind("send", to=name).undo(undo)
        return Workflow("w", input=int).then(send).wait_for(go).then(fails)

    async with Engine(url) as engine:
        handles = [await engine.start(flow(name), 1) for name in ("alice", "bob")]
        for handle in handles:
            await handle.send(go, 1)
            with pytest.raises(RunFailedError):
                await handle.result()
    assert sorted(calls) == ["alice undone by alice", "bob undone by bob"]


@in_loop
async def test_a_redefinition_is_for_new_runs(url: str) -> None:
    def cell(text: str) -> Workflow[int, str]:
        scope: dict[str, Any] = {"step": step}
        exec(f"@step\nasync def say(number: int) -> str: return {text!r}", scope)
        return Workflow("w", input=int).wait_for(go).then(first).then(scope["say"])

    async with Engine(url) as engine:
        old = await engine.start(cell("old"), 1)
        new = await engine.start(cell("new"), 1)
        third = await engine.start(cell("new"), 1)
        for run in (old, new, third):
            await run.send(go, 1)
        assert [await run.result() for run in (old, new, third)] == ["old", "new", "new"]


@in_loop
async def test_types_are_the_run_s_own_in_views(url: str) -> None:
    def flow(kind: type) -> Any:
        @step
        async def made(number: int) -> kind:  # type: ignore[valid-type]
            return {int: 1, str: "one"}[kind]

        return Workflow("w", input=int).wait_for(go).then(first).then(made)

    async with Engine(url) as engine:
        runs = [await engine.start(flow(kind), 1) for kind in (int, str)]
        for run in runs:
            await run.send(go, 1)
        assert [await run.result() for run in runs] == [1, "one"]
        assert [(await run.info()).output for run in runs] == [1, "one"]


@in_loop
async def test_a_class_that_is_made_anew_is_the_run_s_own(url: str) -> None:
    def flow() -> Any:
        class Item(BaseModel):
            size: int

        @step
        async def same_one(item: Item) -> Item:
            return item

        return Item, Workflow("w", input=Item).then(same_one)

    async with Engine(url) as engine:
        for number in range(3):
            item, workflow = flow()
            assert type(await engine.run(workflow, item(size=number))) is item


@in_loop
async def test_in_another_process_functions_are_found_by_id(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'runs.db'}"
    wait = WAITS["signal"](Workflow("w", input=int))
    async with Engine(url) as engine:
        run = await engine.start(step_closure(wait, "alice"), 1)
    async with Engine(url, workflows=[step_closure(wait, "bob")]) as engine:
        await engine.send(run.run_id, go, 1)
        assert await engine.handle(run.run_id).result() == "bob"


@in_loop
async def test_a_rerun_with_a_workflow_has_that_one_s_functions(url: str) -> None:
    plain = Workflow("w", input=int)
    async with Engine(url) as engine:
        run = await engine.start(step_closure(plain, "alice"), 1)
        assert await run.result() == "alice"
        again = await engine.rerun(run.run_id, "send", workflow=step_closure(plain, "bob"))
        assert await again.result() == "bob"
        assert await (await engine.rerun(run.run_id, "send")).result() == "alice"


# ---- which workflows are the same -------------------------------------------------------------


def above(limit: Any) -> Any:
    return lambda number: number > limit


def counting(limit: int) -> Any:
    def down(number: int) -> int:
        return down(number - 1) if number > limit else number

    return down


SAME = [
    (above(1), above(1)),
    (above("a"), above("a")),
    (above([1, {"a": 2}]), above([1, {"a": 2}])),
    (above(above(1)), above(above(1))),
    (counting(1), counting(1)),
    (partial(is_alice, "a"), partial(is_alice, "a")),
    (lambda number: number > 1, lambda number: number > 1),
    (lambda number, n=1: n, lambda number, n=1: n),
    (lambda number: [n for n in number if n], lambda number: [n for n in number if n]),
    (len, len),
]
DIFFERENT = [
    (above(1), above(2)),
    (above(1), above(True)),
    (above(0.0), above(-0.0)),
    (above([1]), above([2])),
    (above(above(1)), above(above(2))),
    (above(object()), above(object())),
    (counting(1), counting(2)),
    (partial(is_alice, "a"), partial(is_alice, "b")),
    (lambda number: number > 1, lambda number: number > 2),
    (lambda number: 1, lambda number: True),
    (lambda number: number.a, lambda number: number.b),
    (lambda number, n=1: n, lambda number, n=2: n),
    (lambda number, *, n=1: n, lambda number, *, n=2: n),
    (lambda number: [n for n in number if n], lambda number: [n for n in number if not n]),
    (len, max),
    (above(1), len),
]


def test_functions_are_the_same_by_code_defaults_and_what_they_close_over() -> None:
    assert [same(one, other) for one, other in SAME] == [True] * len(SAME)
    assert [same(one, other) for one, other in DIFFERENT] == [False] * len(DIFFERENT)


def test_no_value_makes_the_comparison_run_away() -> None:
    def nested(depth: int) -> list[Any]:
        value: list[Any] = []
        for _ in range(depth):
            value = [value]
        return value

    def cycle() -> list[Any]:
        value: list[Any] = []
        value.append(value)
        return value

    class Odd:
        def __eq__(self, other: object) -> bool:
            raise ValueError(other)

        __hash__ = None  # type: ignore[assignment]

    assert same(above(cycle()), above(cycle()))
    assert not same(above(nested(100_000)), above(nested(100_000)))
    assert not same(above(Odd()), above(Odd()))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_engine_takes_one_workflow_made_twice_and_refuses_two_of_one_id(kind: Any) -> None:
    start = Workflow("w", input=int)
    made = [kind(start, name) for name in ("alice", "alice", "bob")]
    Engine("memory:", workflows=made[:2])
    with pytest.raises(WorkflowInvalidError, match="have this id"):
        Engine("memory:", workflows=made[1:])


# ---- memory -----------------------------------------------------------------------------------


class Held:
    """Something whose end shows."""


def holding(items: list[weakref.ref[Held]]) -> Workflow[int, int]:
    held = Held()
    items.append(weakref.ref(held))

    @step
    async def uses(number: int) -> int:
        return number if held else 0

    return Workflow("w", input=int).wait_for(go).then(first).then(uses)


def alive(items: list[weakref.ref[Held]]) -> int:
    gc.collect()
    return sum(each() is not None for each in items)


async def is_suspended(engine: Engine, run_id: str) -> bool:
    return (await engine.get_run(run_id)).status is RunStatus.SUSPENDED


@in_loop
async def test_functions_are_kept_while_their_runs_live_and_few_after_that(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_registry, "_ENDED", 3)
    held: list[weakref.ref[Held]] = []
    async with Engine(url) as engine:
        runs = [await engine.start(holding(held), 1) for _ in range(20)]
        assert alive(held) == 20
        for run in runs:
            await run.send(go, 1)
            await run.result()
        assert alive(held) <= 3 + 1  # and the latest, which is known by its id


@in_loop
async def test_functions_of_runs_that_others_ended_are_not_kept_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_registry, "_ENDED", 3)
    monkeypatch.setattr(_registry, "_EVERY", 0.0)
    monkeypatch.setattr(_lease, "BEAT", 0.05)  # a short lease would end: collecting takes long
    url = f"sqlite:{tmp_path / 'runs.db'}"
    held: list[weakref.ref[Held]] = []
    async with Engine(url) as engine:
        runs = [await engine.start(holding(held), 1, delay=3600) for _ in range(30)]
        kept = engine._registry.own._live
        before = next(iter(kept))
        await until(lambda: next(iter(kept)) != before, "a look at whether they live")
        assert alive(held) == 30
        async with Client(url) as other:
            for run in runs:
                await other.cancel(run.run_id)
        await until(lambda: alive(held) <= 3 + 1, "the end of what they held")


@in_loop
async def test_lambdas_made_anew_for_each_request_are_kept_once() -> None:
    made: list[weakref.ref[Any]] = []

    def flow() -> Workflow[int, str]:
        def is_large(number: int) -> bool:
            return number > 1

        made.append(weakref.ref(is_large))
        return WAITS["signal"](Workflow("w", input=int)).when(is_large, to_alice).otherwise(to_bob)

    async with Engine("memory:") as engine:
        runs = [await engine.start(flow(), number) for number in range(10)]
        for run in runs:
            await asyncio.sleep(0)
            await run.send(go, 1)
        gc.collect()
        assert sum(each() is not None for each in made) <= 2
        assert [await run.result() for run in runs] == ["bob"] * 2 + ["alice"] * 8


# ---- what is not recorded ---------------------------------------------------------------------

UNRECORDED = {
    "step_closure": "step 'send' uses name",
    "thread_closure": "step 'send' uses name",
    "step_default": "step 'send' uses to",
    "step_partial": "step 'send' uses argument 1",
    "condition": "uses name",
    "condition_default": "uses name",
    "condition_partial": "condition 'partial' of '?to_alice' uses argument 1",
    "key": "uses name",
    "loop_until": "uses enough",
    "setting": "",
    "width": "",
}


@pytest.mark.own_store
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@in_loop
async def test_what_no_run_records_is_named_once_where_the_store_outlives_the_process(
    kind: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def said() -> list[str]:
        return [r.getMessage() for r in caplog.records if "not recorded" in r.getMessage()]

    expected = UNRECORDED[kind.__name__]
    flows = [kind(Workflow("w", input=int), name) for name in ("alice", "bob")]
    found = [each.message for each in check(flows[0]) if each.code == "unrecorded-value"]
    assert len(found) == bool(expected)
    caplog.set_level(logging.WARNING)
    async with Engine("memory:") as engine:
        await engine.run(flows[0], 1)
    assert said() == []
    async with Engine(f"sqlite:{tmp_path / 'runs.db'}") as engine:
        for flow in flows:
            await engine.run(flow, 1)
    assert len(said()) == bool(expected)
    assert all(expected in message for message in said())


def test_what_every_process_has_is_not_named() -> None:
    limit = Held()
    helper = above

    @step
    async def plain(number: int, to: str = "literal", fn: Any = above) -> int:
        return number if limit and helper and to else 0

    flow = Workflow("w", input=int).then(plain).then_if(lambda number: number > 1, more)
    assert [each for each in check(flow) if each.code == "unrecorded-value"] == []
