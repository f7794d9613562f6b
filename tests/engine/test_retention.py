"""`delete_runs`: old runs go, in short transactions, and nothing else."""

import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gorkflow.engine import _maintenance
from gorkflow.engine.engine import Engine
from gorkflow.errors import WorkflowInvalidError
from gorkflow.listing import RunFilter
from gorkflow.model import RunStatus, instant
from gorkflow.step import step
from gorkflow.store import Store
from gorkflow.stores.memory import MemoryStore
from gorkflow.stores.sqlite import SqliteStore
from gorkflow.testing.conformance import T0, finish, new_run, run_row, step_forward
from gorkflow.workflow import Workflow
from tests.engine.support import STORES, Gate, in_loop, until


@step
async def good(number: int) -> int:
    return number


@step
async def bad(number: int) -> int:
    raise ValueError("no")


WF = Workflow("w", input=int).then(good)
FAILS = Workflow("fails", input=int).then(bad)


async def ids(engine: Engine) -> list[str]:
    return sorted([run.run_id for run in await engine.list_runs()])


@in_loop
async def test_ended_runs_are_deleted_by_end_status_and_workflow() -> None:
    gate = Gate()

    @step
    async def holds(number: int) -> int:
        await gate.wait_async()
        return number

    async with Engine("memory:") as engine:
        await engine.start(Workflow("holds", input=int).then(holds), 1, run_id="live")
        await until(lambda: gate.arrived, "the step")
        for run_id in ("a", "b"):
            await engine.run(WF, 1, run_id=run_id)
        handle = await engine.start(FAILS, 1, run_id="c")
        await handle.outcome()
        first = (await engine.get_run("a")).finished_at
        assert first is not None
        assert await engine.delete_runs(first - timedelta(seconds=1)) == 0
        assert await engine.delete_runs(timedelta(days=1)) == 0
        assert await engine.delete_runs(timedelta(), workflow_id="other") == 0
        assert await engine.delete_runs(timedelta(), status=RunStatus.CANCELLED) == 0
        assert await engine.delete_runs(timedelta(), status=RunStatus.FAILED) == 1
        assert await ids(engine) == ["a", "b", "live"]
        assert await engine.delete_runs(timedelta(), workflow_id="w") == 2
        assert await ids(engine) == ["live"]
        gate.open()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"before": timedelta(days=-1)}, "can't be negative"),
        ({"before": timedelta(), "status": "running"}, "'running' have not ended"),
        ({"before": timedelta(), "status": ["failed", "suspended"]}, "'suspended' have not ended"),
        ({"before": timedelta(), "status": "happy"}, "'happy'"),
    ],
)
@in_loop
async def test_what_makes_no_sense_is_refused(options: dict[str, Any], says: str) -> None:
    async with Engine("memory:") as engine:
        with pytest.raises(ValueError, match=says):
            await engine.delete_runs(**options)


@pytest.mark.parametrize("before", ["30d", 0, None])
@in_loop
async def test_before_is_an_instant_or_an_age(before: Any) -> None:
    async with Engine("memory:") as engine:
        with pytest.raises(TypeError, match=r"an age such as timedelta\(days=30\), not "):
            await engine.delete_runs(before)


@in_loop
async def test_an_age_may_reach_back_before_all_time() -> None:
    async with Engine("memory:") as engine:
        await engine.run(WF, 1)
        assert await engine.delete_runs(timedelta.max) == 0


@in_loop
async def test_listing_takes_a_filter() -> None:
    async with Engine("memory:") as engine:
        with pytest.raises(TypeError, match=r"write list_runs\(RunFilter\(status=…\)\), not"):
            await engine.list_runs("completed")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="unexpected keyword argument 'status'"):
            await engine.list_runs(status="failed")  # type: ignore[call-arg]


class Counting(MemoryStore):
    """Notes what is deleted together."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[str]] = []

    async def delete_runs(self, run_ids: Any) -> int:
        self.batches.append(list(run_ids))
        return await super().delete_runs(run_ids)


async def fill(store: Store, events: dict[str, int]) -> None:
    """Have runs that ended, each with so many events."""
    for number, (run_id, count) in enumerate(events.items()):
        await store.write([new_run(run_id, created_at=T0 + number)])
        grown = step_forward(run_row(run_id, created_at=T0 + number), count - 2)
        await store.write([grown])
        await store.write([finish(grown.row)])


@in_loop
async def test_a_transaction_deletes_only_so_much() -> None:
    store = Counting()
    await store.open()
    await fill(store, {"a": 900, "b": 1000, "huge": 5000, "c": 5, "d": 1990, "e": 10})
    query = _maintenance.ended(instant(T0 + 1e6), now=T0)
    assert await _maintenance.delete(store, query) == 6
    assert store.batches == [["e", "d"], ["c"], ["huge"], ["b", "a"]]
    await fill(store, {f"r{n}": 2 for n in range(250)})
    store.batches.clear()
    assert await _maintenance.delete(store, query) == 250
    assert [len(batch) for batch in store.batches] == [100, 100, 50]
    assert list(await store.list_runs(RunFilter())) == []
    await store.close()


@in_loop
async def test_sqlite_deletes_all_that_belongs_to_a_run(tmp_path: Any) -> None:
    store = SqliteStore(tmp_path / "runs.db", synchronous="normal")
    async with Engine(store) as engine:
        await engine.run(WF, 1, run_id="a", tags={"x": "y"})
        assert await engine.delete_runs(timedelta()) == 1
        assert await store.check() == []
        assert (await store.read_all_events())[0] == []
        assert list(await engine.list_runs(RunFilter(tags={"x": "y"}))) == []


@pytest.mark.parametrize("name", ["created_after", "created_before", "finished_before"])
def test_an_instant_without_a_time_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} .* has no time zone; say which"):
        RunFilter(**{name: datetime(2026, 1, 1)})  # type: ignore[arg-type]  # noqa: DTZ001


@in_loop
async def test_a_choice_without_its_end_is_told_by_its_workflow() -> None:
    begun: Any = Workflow("begun", input=int).when(lambda number: number > 1, good)
    async with Engine("memory:") as engine:
        with pytest.raises(WorkflowInvalidError, match=r"'begun' can't be built:\n.*not complete"):
            await engine.start(begun, 1)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("limit", "5", "limit must be a whole number of runs, not '5'"),
        ("limit", True, "limit must be a whole number of runs, not True"),
        ("created_before", "2020", "created_before must be a datetime, not '2020'"),
        ("finished_before", 5.0, "finished_before must be a datetime, not 5.0"),
        ("workflow_id", 5, "workflow_id must be a text, not 5"),
        ("resource_id", b"x", "resource_id must be a text, not b'x'"),
        ("cursor", 5, "cursor must be a text, not 5"),
        ("tags", ["a"], "tags must map names to texts, not ['a']"),
        ("tags", {"a": 1}, "tag 'a' must be a text, not 1"),
        ("tags", {1: "a"}, "the name of a tag must be a text, not 1"),
        ("status", 7, "status must be a status, or several in a list, not 7"),
    ],
)
def test_filters_of_the_wrong_kind_are_named(name: str, value: object, says: str) -> None:
    with pytest.raises(TypeError, match=re.escape(says)):
        RunFilter(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("limit", 0, "at least 1 run"),
        ("status", "faild", "there is no run status 'faild'; there are: pending"),
        ("status", ["failed", 3], "there is no run status 3"),
        ("workflow_id", "\ud800", "workflow_id holds a lone surrogate"),
        ("tags", {"a": "\ud800"}, "tag 'a' holds a lone surrogate"),
        ("created_after", datetime(2026, 1, 1), "no time zone"),  # noqa: DTZ001 - the subject
    ],
)
def test_filters_that_make_no_sense_are_named(name: str, value: object, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        RunFilter(**{name: value})  # type: ignore[arg-type]


@STORES
@in_loop
async def test_a_status_to_delete_may_be_a_text(url: str, tmp_path: Path) -> None:
    async with Engine(url.format(tmp_path)) as engine:
        for run_id in ("a", "b", "c"):
            await engine.run(WF, 1, run_id=run_id)
        age = timedelta()
        assert await engine.delete_runs(age, status="failed") == 0
        assert await engine.delete_runs(age, status=["cancelled", RunStatus.FAILED]) == 0
        with pytest.raises(ValueError, match="there is no run status 'done'"):
            await engine.delete_runs(age, status="done")
        with pytest.raises(ValueError, match="runs that are 'running' have not ended"):
            await engine.delete_runs(age, status=["running"])
        with pytest.raises(ValueError, match="no time zone"):
            await engine.delete_runs(datetime(2026, 1, 1))  # noqa: DTZ001 - the subject
        assert await engine.delete_runs(age, status="completed") == 3
