"""The view of a run: rows in parts, a glance, waits; and the views that are kept."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from functools import wraps
from itertools import combinations, pairwise
from typing import Any

import pytest
from msgspec import structs

from gorkflow import Engine, RunNotFoundError, RunStatus, Signal, StepStatus, Workflow, step
from gorkflow.insight import picture
from gorkflow.insight.explain import Explanation, Phase, Row, Span
from gorkflow.web._bars import BarRow, chart
from gorkflow.web._view import Listed, RunView, Views, worst


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
async def test_a_large_block_shows_what_failed_and_the_rest_part_by_part() -> None:
    async with Engine("memory:") as engine:
        handle = await engine.start(many, 450)
        await handle.result()
        view = await Views(engine.store).of(handle.run_id)
    few = view.rows()
    block = next(row for row in few if row.kind == "map")
    assert dict(block.counts) == {"failed": 5, "completed": 445}
    assert block.parts == 3
    shown = [row for row in few if row.path.startswith("root[")]
    assert len(shown) == 12
    assert {row.path for row in shown if row.status is StepStatus.FAILED} == {
        f"root[{number}]" for number in (7, 107, 207, 307, 407)
    }
    parts = [
        [row.path for row in view.rows(block.path, part) if row.path.startswith("root[")]
        for part in range(block.parts)
    ]
    assert [len(part) for part in parts] == [200, 200, 50]
    assert [path for part in parts for path in part] == [f"root[{number}]" for number in range(450)]


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


@step
def count(found: Any) -> Any:
    return 1


@step
def end(found: Any) -> Any:
    return found


@step
def last(found: Any) -> Any:
    return found


def within(workflow_id: str, *steps: Any) -> Workflow[Any, Any]:
    flow: Workflow[Any, Any] = Workflow(workflow_id, input=Any)
    for each in steps:
        flow = flow.then(each)
    return flow


halted: Workflow[Any, Any] = Workflow("halted", input=Any).wait_for(approved, id="halt")
begun = Workflow("begun", input=Any).then(end).then(within("load", halted, count)).then(last)
to_come = (
    Workflow("to_come", input=Any)
    .wait_for(approved, id="halt")
    .then(within("outer", within("inner", count), end))
    .then(last)
)
side_by_side = (
    Workflow("side_by_side", input=Any)
    .parallel(within("left", halted, count), within("right", count), id="both", max_concurrency=1)
    .then(last)
)


async def halted_view(engine: Engine, flow: Workflow[Any, Any]) -> RunView:
    handle = await engine.start(flow, 3)
    async for event in engine.events(handle.run_id):
        if event.kind == "wait_opened":
            break
    return await Views(engine.store).of(handle.run_id)


def drawn(view: RunView) -> list[BarRow]:
    return list(chart(view.explanation(time.time()), view.rows()).rows)


@pytest.mark.parametrize(
    ("flow", "expected"),
    [
        (begun, ["end", "load", " halted", "  halt", " count", "last"]),
        (to_come, ["halt", "outer", " inner", "  count", " end", "last"]),
        (
            side_by_side,
            [
                "parallel both",
                " left",
                "  halted",
                "   halt",
                "  count",
                " right",
                "  count",
                "last",
            ],
        ),
    ],
    ids=["begun", "to_come", "side_by_side"],
)
def test_nodes_to_come_stand_where_they_will_run(
    flow: Workflow[Any, Any], expected: list[str]
) -> None:
    async def main() -> None:
        async with Engine("memory:") as engine:
            view = await halted_view(engine, flow)
            assert [" " * row.depth + row.label for row in drawn(view)] == expected

    asyncio.run(main())


@in_a_loop
async def test_a_timeline_counts_what_has_no_row() -> None:
    flow = Workflow("long", input=int).wait_for(approved)
    for number in range(50):
        flow = flow.then(count.bind(f"count-{number}"))
    async with Engine("memory:") as engine:
        view = await halted_view(engine, flow)
        found = chart(view.explanation(time.time()), view.rows())
    assert [row.path for row in found.rows] == ["approved", *(f"count-{n}" for n in range(30))]
    assert found.to_come == 20


def waited(seconds: float) -> Explanation:
    """Return a run that worked for 2 s, waited, and worked for 2 s."""
    rows = tuple(
        Row(path=path, kind=kind, depth=0, status=StepStatus.COMPLETED, began=began, ended=ended,
            spans=(Span(path, phase, began, ended),))
        for path, kind, phase, began, ended in (
            ("first", "step", Phase.RUNNING, 0.0, 2.0),
            ("night", "wait", Phase.WAITING, 2.0, 2.0 + seconds),
            ("second", "step", Phase.RUNNING, 2.0 + seconds, 4.0 + seconds),
        )
    )  # fmt: skip
    return Explanation(
        run_id="r", workflow_id="w", status=RunStatus.COMPLETED, seconds=4.0 + seconds, rows=rows,
        critical=(),
    )  # fmt: skip


@pytest.mark.parametrize("seconds", [3.0, 61.0, 4_380.0, 1e6])
def test_the_labels_of_an_axis_keep_apart(seconds: float) -> None:
    found = chart(waited(seconds))
    for room, ticks in (
        (0.11, found.ticks),
        (0.34, [tick for tick in found.ticks if tick.is_main]),
    ):
        places = [float(tick.left.rstrip("%")) / 100 for tick in ticks]
        assert len(places) > 1
        assert all(after - before > room - 1e-3 for before, after in pairwise(places))
    assert found.ticks[0].anchor == "start"


def test_what_is_cut_out_of_the_axis_is_said() -> None:
    assert chart(waited(4_380.0)).is_cut == "cut out: 1 h 13 min in which nothing ran"
    assert not chart(waited(3.0)).is_cut


@pytest.mark.parametrize("took", [0.0, 1e-6, 0.001])
def test_a_step_that_took_no_time_has_a_bar(took: float) -> None:
    spans = (Span("tiny", Phase.QUEUED, 0.0, took), Span("tiny", Phase.RUNNING, took, 2 * took))
    tiny = Row(
        path="tiny", kind="step", depth=0, status=StepStatus.COMPLETED, began=0.0, ended=2 * took,
        spans=spans if took else (),
    )  # fmt: skip
    long = waited(3.0)
    rows = chart(structs.replace(long, rows=(tiny, *long.rows))).rows
    [bar] = rows[0].bars
    assert (bar.kind, bar.is_line) == ("completed", False)
    assert float(bar.width.rstrip("%")) >= 0.5


def test_a_picture_and_a_glance_agree_which_status_stands_for_several() -> None:
    for pair in combinations(StepStatus, 2):
        steps = [Listed(f"root[{number}]", each) for number, each in enumerate(pair)]
        drawn = picture.svg(many.compile().tree, steps, style=False)
        found = re.search(r"<title>root.*?<rect class=\"(?!node)(\w+)", drawn)
        assert found is not None
        assert found[1] == worst(pair), pair
