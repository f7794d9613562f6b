"""The view of a run: rows in pages, a glance, waits; and the views that are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps

import pytest

from gorkflow import Engine, RunNotFoundError, Signal, StepStatus, Workflow, step
from gorkflow.web._view import Views


def in_a_loop(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    @wraps(test)
    def run() -> None:
        asyncio.run(test())  # type: ignore[arg-type]

    return run


approved = Signal("approved", bool)


@step
def numbers(count: int) -> list[int]:
    return list(range(count))


@step
def root(number: int) -> int:
    if number % 100 == 7:
        raise ValueError(f"no root of {number}")
    return number


many = Workflow("many", input=int).then(numbers).map(root, join="settled")
reviewed = Workflow("reviewed", input=int).then(numbers).wait_for(approved)


@in_a_loop
async def test_a_large_block_shows_what_failed_and_the_rest_page_by_page() -> None:
    async with Engine("memory:") as engine:
        handle = await engine.start(many, 450)
        await handle.result()
        view = await Views(engine.store).of(handle.run_id)
    few = view.rows()
    block = next(row for row in few if row.kind == "map")
    assert dict(block.counts) == {"failed": 5, "completed": 445}
    assert block.pages == 3
    shown = [row for row in few if row.path.startswith("root[")]
    assert len(shown) == 12
    assert {row.path for row in shown if row.status is StepStatus.FAILED} == {
        f"root[{number}]" for number in (7, 107, 207, 307, 407)
    }
    pages = [
        [row.path for row in view.rows(block.path, page) if row.path.startswith("root[")]
        for page in range(block.pages)
    ]
    assert [len(page) for page in pages] == [200, 200, 50]
    assert [path for page in pages for path in page] == [f"root[{number}]" for number in range(450)]


@in_a_loop
async def test_a_glance_has_few_cells_and_the_worst_status_wins() -> None:
    async with Engine("memory:") as engine:
        handle = await engine.start(many, 450)
        await handle.result()
        view = await Views(engine.store).of(handle.run_id)
    assert len(view.glance()) <= 14
    assert view.glance().count("failed") == 5


@in_a_loop
async def test_a_wait_is_shown_until_its_signal_came() -> None:
    async with Engine("memory:") as engine:
        handle = await engine.start(reviewed, 3)
        async for event in engine.events(handle.run_id):
            if event.kind == "wait_opened":
                break
        views = Views(engine.store)
        [wait] = (await views.of(handle.run_id)).waits()
        assert (wait.path, wait.signal) == ("approved", "approved")
        await handle.send(approved, True)
        await handle.result()
        view = await views.of(handle.run_id)
        assert view.waits() == []
        assert view.run.output == [[0, 1, 2], True]


@in_a_loop
async def test_a_run_that_ended_is_read_once() -> None:
    async with Engine("memory:") as engine:
        handle = await engine.start(reviewed, 3)
        await handle.send(approved, True)
        await handle.result()
        views = Views(engine.store)
        first = await views.of(handle.run_id)
        assert await views.of(handle.run_id) is first
        with pytest.raises(RunNotFoundError):
            await views.of("no-such-run")
