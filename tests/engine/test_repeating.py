"""Maps and loops, run: joins, keys, limits, crashes, reruns, and what one sees of them."""

import asyncio
import tracemalloc

import pytest
from pydantic import BaseModel

from gorkflow import (
    Engine,
    Outcome,
    RunFailedError,
    Signal,
    StepContext,
    Workflow,
    at_least,
    passthrough,
    step,
    tolerate,
)
from gorkflow import events as ev
from gorkflow.engine._values import Values

from .support import STORES, Gate, broken, calls, in_loop, step_of, until


class Page(BaseModel):
    url: str
    size: int = 0


@step
async def pages(count: int) -> list[Page]:
    calls.append("pages")
    return [Page(url=f"/ü {n}", size=n) for n in range(count)]


@step
async def size(ctx: StepContext, page: Page) -> int:
    calls.append(ctx.path)
    if ctx.path in broken:
        raise ValueError(ctx.path)
    return page.size


@step
async def double(ctx: StepContext, number: int) -> int:
    calls.append(ctx.path)
    if ctx.path in broken:
        raise ValueError(ctx.path)
    return number * 2


@step
async def total(numbers: list[int]) -> int:
    calls.append("total")
    return sum(numbers)


@step
async def words(outcomes: list[Outcome[int]]) -> list[str]:
    return [type(outcome).__name__ for outcome in outcomes]


def is_large(number: int) -> bool:
    return number >= 100


measure = Workflow("measure", input=Page).then(size).then(double)
mapped = Workflow("mapped", input=int).then(pages).map(size)
summed = Workflow("summed", input=int).then(pages).map(measure).then(total)
looped = Workflow("looped", input=int).loop(double, until=is_large, max_iterations=9)


def url_of(url: str, folder: object) -> str:
    return url.format(folder)


# ---- map --------------------------------------------------------------------------------------


@STORES
@in_loop
async def test_a_list_goes_in_and_comes_out_in_order(url, tmp_path):
    async with Engine(url_of(url, tmp_path)) as engine:
        assert await engine.run(mapped, 3) == [0, 1, 2]
        assert await engine.run(mapped, 0) == []
        assert await engine.run(summed, 4) == 12
    assert {"size[0]", "size[2]", "measure[3]/size", "measure[3]/double"} <= set(calls)


@in_loop
async def test_items_keep_their_types_and_lists_may_come_from_anywhere():
    nested = Workflow("rows", input=list[Page]).map(size)
    signal = Signal("more", list[Page])

    @step
    async def second(_first: int, found: list[Page]) -> list[Page]:
        return found

    workflow = Workflow("a", input=list[list[Page]]).map(nested)
    signalled = Workflow("b", input=int).wait_for(signal).then(second).map(passthrough(Page))
    row = [Page(url="ü", size=4), Page(url=" ", size=5)]
    async with Engine("memory:") as engine:
        assert await engine.run(workflow, [row, [], row]) == [[4, 5], [], [4, 5]]
        handle = await engine.start(signalled, 1)
        await handle.send(signal, row)
        assert await handle.result() == row
        again = Workflow("c", input=list[Page]).map(passthrough(Page)).map(size)
        assert await engine.run(again, row) == [4, 5]
        assert await engine.run(Workflow("d", input=tuple[int, int]).map(double), (1, 2)) == [2, 4]


@pytest.mark.parametrize(
    ("join", "expected"),
    [
        ("settled", ["Completed", "Failed", "Completed", "Completed"]),
        (tolerate(1), ["Completed", "Failed", "Completed", "Completed"]),
        (tolerate(percent=25), ["Completed", "Failed", "Completed", "Completed"]),
        (at_least(1), ["Completed", "Cancelled", "Cancelled", "Cancelled"]),
    ],
)
@in_loop
async def test_joins(join, expected):
    broken.add("size[1]")
    workflow = Workflow("w", input=int).then(pages).map(size, join=join, max_concurrency=1)
    async with Engine("memory:") as engine:
        assert await engine.run(workflow.then(words), 4) == expected


@in_loop
async def test_too_many_failures_fail_the_map_and_name_the_items():
    broken.update({"size[1]", "size[2]"})
    workflow = Workflow("w", input=int).then(pages).map(size, join=tolerate(percent=25))
    async with Engine("memory:") as engine:
        with pytest.raises(RunFailedError) as caught:
            await engine.run(workflow, 4)
    assert [failure.path for failure in caught.value.failures] == ["size[1]", "size[2]"]
    assert [failure.step_id for failure in caught.value.failures] == ["size", "size"]


@pytest.mark.parametrize(("join", "count"), [("first", 0), (at_least(3), 2)])
@in_loop
async def test_a_join_that_so_few_items_can_not_meet_fails_and_starts_nothing(join, count):
    workflow = Workflow("w", input=int).then(pages).map(size, join=join)
    async with Engine("memory:") as engine:
        with pytest.raises(RunFailedError, match=rf"can't be met by {count} items") as caught:
            await engine.run(workflow, count)
    assert [failure.code.value for failure in caught.value.failures] == ["validation"]
    assert calls == ["pages"]


@in_loop
async def test_first_gives_one_value():
    workflow = Workflow("w", input=int).then(pages).map(size, join="first", max_concurrency=1)
    async with Engine("memory:") as engine:
        assert await engine.run(workflow, 3) == 0
    assert calls == ["pages", "size[0]"]


@in_loop
async def test_items_that_wait_have_not_begun():
    gate = Gate()

    @step
    async def hold(page: Page) -> int:
        await gate.wait_async()
        return page.size

    workflow = Workflow("w", input=int).then(pages).map(hold, max_concurrency=2)
    async with Engine("memory:") as engine:
        handle = await engine.start(workflow, 5)
        await until(lambda: gate.arrived == 2)
        steps = await engine.steps(handle.run_id)
        running = [s.path for s in steps if s.status == "running"]
        assert running == ["hold[0]", "hold[1]"]
        progress = (await engine.get_run(handle.run_id)).progress
        assert (progress.done, progress.total) == (1, 6)
        gate.open()
        assert await handle.result() == [0, 1, 2, 3, 4]


@in_loop
async def test_a_step_sees_its_own_item_and_nobody_sees_inside():
    @step(reads=(size,))
    async def beside(ctx: StepContext, number: int) -> int:
        return number + ctx.outputs[size]

    inner = Workflow("inner", input=Page).then(size).then(double).then(beside)
    async with Engine("memory:") as engine:
        workflow = Workflow("w", input=int).then(pages).map(inner)
        assert await engine.run(workflow, 3) == [0, 3, 6]


# ---- keys -------------------------------------------------------------------------------------


async def key_later(page: Page) -> int:
    return page.size


@pytest.mark.parametrize(
    ("key", "paths"),
    [
        (lambda page: page.url, ["size[%2F%C3%BC%200]", "size[%2F%C3%BC%201]"]),
        (key_later, ["size[0]", "size[1]"]),
    ],
)
@in_loop
async def test_keys_stand_in_paths(key, paths):
    workflow = Workflow("w", input=int).then(pages).map(size, key=key)
    async with Engine("memory:") as engine:
        handle = await engine.start(workflow, 2)
        assert await handle.result() == [0, 1]
        assert [s.path for s in await engine.steps(handle.run_id)] == ["pages", *paths]


@pytest.mark.parametrize(
    ("key", "code", "message"),
    [
        (lambda _: "same", "validation", "returned 'same' for items 0 and 1; keys must differ"),
        (lambda _: None, "validation", "must return a str or int, not None"),
        (lambda _: True, "validation", "must return a str or int, not True"),
        (lambda _: "", "validation", "a key must have 1 to 200 characters"),
        (lambda _: "\ud800", "validation", "lone surrogate"),
        (lambda page: page.nothing, "condition", "raised AttributeError"),
    ],
)
@in_loop
async def test_bad_keys_fail_the_map(key, code, message):
    workflow = Workflow("w", input=int).then(pages).map(size, key=key)
    async with Engine("memory:") as engine:
        with pytest.raises(RunFailedError) as caught:
            await engine.run(workflow, 2)
    (failure,) = caught.value.failures
    assert (failure.path, failure.code.value) == ("*size", code)
    assert message in failure.message


@in_loop
async def test_what_is_no_list_when_it_arrives_fails_the_map():
    @step
    async def something(count: int) -> object:
        return {"no": count}

    workflow = Workflow("w", input=int).then(something).map(passthrough(int))
    async with Engine("memory:") as engine:
        with pytest.raises(RunFailedError, match="not a list, but"):
            await engine.run(workflow, 2)


# ---- loop -------------------------------------------------------------------------------------


@STORES
@in_loop
async def test_a_loop_runs_until_its_condition_holds(url, tmp_path):
    async with Engine(url_of(url, tmp_path)) as engine:
        handle = await engine.start(looped, 30)
        assert await handle.result() == 120
        steps = await engine.steps(handle.run_id)
        assert [(s.path, s.input, s.output) for s in steps] == [
            ("double#1", 30, 60),
            ("double#2", 60, 120),
        ]
        assert await engine.run(looped, 99) == 198  # the body first


@in_loop
async def test_past_its_limit_a_loop_fails():
    async with Engine("memory:") as engine:
        with pytest.raises(RunFailedError, match="9 iterations: is_large did not hold") as caught:
            await engine.run(looped, 0)
    (failure,) = caught.value.failures
    assert (failure.path, failure.code.value) == ("@double", "loop_limit")


@in_loop
async def test_an_error_of_the_condition_fails_the_loop():
    async def odd(number: int) -> bool:
        raise LookupError(str(number))

    workflow = Workflow("w", input=int).loop(double, until=odd, max_iterations=9)
    async with Engine("memory:") as engine:
        with pytest.raises(RunFailedError, match="LookupError: 2") as caught:
            await engine.run(workflow, 1)
    assert caught.value.failures[0].code.value == "condition"


@in_loop
async def test_maps_and_loops_in_each_other():
    inner = Workflow("inner", input=int).loop(double, until=is_large, max_iterations=9)
    rows = Workflow("rows", input=list[int]).map(inner)

    def all_large(numbers: list[int]) -> bool:
        return min(numbers, default=400) >= 400

    workflow = Workflow("w", input=list[int]).loop(rows, until=all_large, max_iterations=9)
    async with Engine("memory:") as engine:
        handle = await engine.start(workflow, [40, 60])
        assert await handle.result() == [640, 480]
        paths = [s.path for s in await engine.steps(handle.run_id)]
    assert "rows#1/inner[0]/double#2" in paths
    assert paths == [path for path in paths if path in calls]


# ---- crashes and reruns -----------------------------------------------------------------------


@in_loop
async def test_another_engine_goes_on_where_one_stopped(tmp_path):
    gate = Gate()

    @step
    async def hold(ctx: StepContext, number: int) -> int:
        calls.append(ctx.path)
        if number == 1 and not gate.arrived:
            await gate.wait_async()
        return number

    inner = Workflow("inner", input=Page).then(size).then(hold)
    workflow = Workflow("w", input=int).then(pages).map(inner, key=lambda p: p.size)
    workflow = workflow.then(total).loop(double, until=is_large, max_iterations=9)
    url = f"sqlite:{tmp_path}/runs.db"
    engine = await Engine(url).__aenter__()
    handle = await engine.start(workflow, 4, run_id="r")
    recorded: set[str] = set()
    while not {f"inner[{key}]/hold" for key in (0, 2, 3)} <= recorded:
        await asyncio.sleep(0.002)
        events = await engine.store.read_events("r")
        recorded = {event.path for event in events if event.kind == "step_completed"}
    await until(lambda: gate.arrived, "the one that is held")
    await engine.aclose(grace=0)
    gate.open()
    calls.clear()
    async with Engine(url, workflows=[workflow]) as other:
        assert await other.handle("r", workflow).result() == 192
    assert calls[0] == "inner[1]/hold"
    assert "pages" not in calls
    assert handle.run_id == "r"


@in_loop
async def test_a_rerun_keeps_the_other_items_and_earlier_iterations():
    broken.add("measure[1]/double")
    workflow = summed.loop(
        double.options(id="more"), until=lambda number: number >= 50, max_iterations=9
    )
    async with Engine("memory:") as engine:
        handle = await engine.start(workflow, 3)
        with pytest.raises(RunFailedError):
            await handle.result()
        broken.clear()
        calls.clear()
        rerun = await engine.rerun(handle.run_id)
        assert await rerun.result() == 96
        assert calls == ["measure[1]/double", "total", *(f"more#{n}" for n in range(1, 5))]
        assert (await step_of(engine, rerun.run_id, "measure[2]/double")).reason.startswith("kept")

        calls.clear()
        again = await engine.rerun(rerun.run_id, "more#3")
        assert await again.result() == 96
        assert calls == ["more#3", "more#4"]

        calls.clear()
        again = await engine.rerun(again.run_id, "measure[2]/size")
        assert await again.result() == 96
        expected = ["measure[2]/size", "measure[2]/double", "total"]
        assert calls[:3] == expected

        calls.clear()
        again = await engine.rerun(again.run_id, "size")
        await again.result()
        inside = [f"measure[{n}]/{name}" for n in range(3) for name in ("double", "size")]
        assert sorted(calls)[:6] == inside


# ---- cost -------------------------------------------------------------------------------------


def test_a_list_is_split_once(monkeypatch):
    """Reading one of many items does not read the others."""
    workflow = Workflow("w", input=list[int]).map(double)
    values = Values("r", workflow.compile())
    values.note([ev.RunCreated("r", 1, "", 0.0, "f", b"[0, 1 ,2,\n3]")])
    splits = []
    from gorkflow.engine import _values
    from gorkflow.events import Item

    split = _values._items
    monkeypatch.setattr(_values, "_items", lambda data: splits.append(data) or split(data))
    assert [values.value(Item(1, n)) for n in range(values.count(1))] == [0, 1, 2, 3]
    assert len(splits) == 1


@in_loop
async def test_an_item_that_waits_takes_little_memory():
    gate = Gate()

    @step
    async def hold(number: int) -> int:
        await gate.wait_async()
        return number

    workflow = Workflow("w", input=list[int]).map(hold, max_concurrency=1)

    async def size_of(count: int) -> int:
        gate.arrived = 0
        async with Engine("memory:") as engine:
            before = tracemalloc.get_traced_memory()[0]
            handle = await engine.start(workflow, list(range(count)))
            await until(lambda: gate.arrived)
            await asyncio.sleep(0)
            taken = tracemalloc.get_traced_memory()[0] - before
            await handle.cancel()
        return taken

    tracemalloc.start()
    try:
        await size_of(10)
        small, large = await size_of(10), await size_of(10_010)
    finally:
        tracemalloc.stop()
    assert (large - small) / 10_000 < 2_000
