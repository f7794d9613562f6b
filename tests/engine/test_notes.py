"""Progress reports and log lines of steps: kept beside the events, read while the step runs."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from gorkflow import (
    Client,
    Engine,
    LogLine,
    Report,
    RunFailedError,
    RunNotFoundError,
    StepContext,
    StoreError,
    Workflow,
    step,
    tolerate,
)
from gorkflow.engine import _notes
from gorkflow.events import Event, StepCompleted, StepScheduled
from gorkflow.store import AttemptId, LineRow, ReportRow
from gorkflow.stores.memory import MemoryStore
from gorkflow.testing import VirtualEngine, in_virtual_time
from tests.engine import placed
from tests.engine.support import STORES, Gate, in_loop, step_of, until

gates: dict[str, Gate] = {}


@pytest.fixture(autouse=True)
def _gate():
    gates["a"] = Gate()


@step
async def load(ctx: StepContext, pages: int) -> int:
    ctx.logger.info("loads %d pages", pages)
    ctx.progress(1, pages, "first page")
    await gates["a"].wait_async()
    ctx.logger.warning("done")
    return pages


@step
def load_in_thread(ctx: StepContext, pages: int) -> int:
    ctx.logger.info("loads %d pages", pages)
    ctx.progress(1, pages, "first page")
    gates["a"].wait()
    ctx.logger.warning("done")
    return pages


LOADING = Workflow("loading", input=int).then(load)
THREADED = Workflow("threaded", input=int).then(load_in_thread)


def said(lines: list[LogLine]) -> list[str]:
    return [line.text for line in lines]


class Watched(MemoryStore):
    """A memory store that counts, or fails, the writes of notes."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[tuple[list[ReportRow], list[LineRow], list[AttemptId]]] = []
        self.error: Exception | None = None
        self.gate: Gate | None = None

    async def note(self, **notes: Any) -> None:
        if self.gate is not None:
            await self.gate.wait_async()
        if self.error is not None:
            raise self.error
        self.noted.append((notes["reports"], notes["lines"], notes["ended"]))
        await super().note(**notes)

    async def close(self) -> None:
        """Keep what is stored, to be looked at."""


# Reading


@STORES
@pytest.mark.parametrize("workflow", [LOADING, THREADED], ids=["loop", "thread"])
@in_loop
async def test_they_are_seen_while_the_step_runs(
    tmp_path: Path, url: str, workflow: Workflow[int, int]
) -> None:
    path = workflow.elements[0].id
    async with Engine(url.format(tmp_path)) as engine:
        handle = await engine.start(workflow, 4)

        async def progress() -> Report | None:
            return (await step_of(engine, handle.run_id, path)).progress

        while (report := await progress()) is None:
            await asyncio.sleep(0.01)
        assert (report.done, report.total, report.message) == (1, 4, "first page")
        assert (report.run_id, report.path, report.attempt) == (handle.run_id, path, 1)
        assert report.share == 0.25
        [line] = await engine.logs(handle.run_id)
        assert (line.text, line.level, line.level_name) == ("loads 4 pages", 20, "INFO")
        assert (line.run_id, line.path, line.attempt, line.number) == (handle.run_id, path, 1, 1)
        gates["a"].open()
        assert await handle.result() == 4
        assert await progress() is None
        assert said(await handle.logs()) == ["loads 4 pages", "done"]
        assert said(await engine.logs(handle.run_id, path, after=line.id)) == ["done"]
        assert said(await engine.logs(handle.run_id, limit=1)) == ["loads 4 pages"]
        assert await engine.logs(handle.run_id, "other") == []
        with pytest.raises(RunNotFoundError):
            await engine.logs("nobody")


@in_loop
async def test_another_process_sees_them(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/runs.db"
    seen: list[Event | Report] = []
    lines: list[LogLine] = []
    async with Engine(url) as engine, Client(url) as client:  # with a store of its own
        handle = await engine.start(LOADING, 4)

        async def watch() -> None:
            async for each in client.events(handle.run_id, progress=True):
                seen.append(each)  # noqa: PERF401 - they are looked at meanwhile

        async def follow() -> None:
            async for line in client.follow_logs(handle.run_id):
                lines.append(line)  # noqa: PERF401 - as above

        watching = [asyncio.create_task(watch()), asyncio.create_task(follow())]
        await until(lambda: lines and any(isinstance(each, Report) for each in seen))
        assert (await step_of_client(client, handle.run_id)).progress is not None
        assert said(lines) == ["loads 4 pages"]
        gates["a"].open()
        await asyncio.gather(*watching)
        kinds = [
            type(each) for each in seen if type(each) in {StepScheduled, Report, StepCompleted}
        ]
        assert kinds == [StepScheduled, Report, StepCompleted]
        assert said(lines) == ["loads 4 pages", "done"]
        later = [each async for each in client.events(handle.run_id, progress=True)]
        assert later == [each for each in seen if not isinstance(each, Report)]


async def step_of_client(client: Client, run_id: str) -> Any:
    [only] = await client.steps(run_id)
    return only


@in_loop
async def test_the_stream_continues_after_a_seq_with_the_reports_of_now() -> None:
    async with Engine("memory:") as engine:
        handle = await engine.start(LOADING, 4)
        await until(lambda: gates["a"].arrived)
        found: list[Event | Report] = []
        async for each in handle.events(after=3, progress=True):
            found.append(each)
            gates["a"].open()
        assert [type(each).__name__ for each in found] == ["Report", "StepCompleted", "RunFinished"]


@in_loop
async def test_progress_is_of_one_run() -> None:
    async with Engine("memory:") as engine:
        with pytest.raises(TypeError, match="needs a run_id"):
            engine.events(progress=True)  # type: ignore[call-overload]
        for wrong in ({"path": 3}, {"after": "x"}, {"limit": 1.5}, {"after": True}):
            with pytest.raises(TypeError):
                await engine.logs("r", **wrong)  # type: ignore[arg-type]


@in_loop
async def test_a_report_of_an_attempt_that_died_is_not_shown() -> None:
    async with Engine("memory:") as engine:
        handle = await engine.start(LOADING, 4)
        await until(lambda: gates["a"].arrived)
        run = await engine.store.get_run(handle.run_id)
        assert run is not None
        old = ReportRow(run.run_id, run.created_at, "load", 1, 1.0, None, "", 0.0)
        await engine.store.note(ended=[AttemptId(run.run_id, run.created_at, "load", 1)])
        for row in (old._replace(attempt=7), old._replace(path="elsewhere")):
            await engine.store.note(reports=[row])
        assert (await step_of(engine, handle.run_id, "load")).progress is None
        gates["a"].open()
        async for each in handle.events(progress=True):
            assert not isinstance(each, Report) or each.attempt == 1


# Attempts


@in_loop
async def test_each_attempt_has_its_own() -> None:
    @step(retries=1)
    async def flaky(ctx: StepContext) -> int:
        ctx.logger.info("attempt %d", ctx.attempt)
        ctx.progress(ctx.attempt)
        if ctx.attempt == 1:
            raise LookupError("not yet")
        await gates["a"].wait_async()
        return 1

    async with Engine("memory:") as engine:
        handle = await engine.start(Workflow("w").then(flaky))
        await until(lambda: gates["a"].arrived)
        async for each in handle.events(progress=True):
            if isinstance(each, Report) and each.attempt == 2:
                assert each.done == 2
                report = (await step_of(engine, handle.run_id, "flaky")).progress
                assert report == each
                gates["a"].open()
        lines = await handle.logs()
        assert [(each.attempt, each.number, each.text) for each in lines] == [
            (1, 1, "attempt 1"),
            (2, 1, "attempt 2"),
        ]
        assert await engine.store.reports(handle.run_id) == []


@in_loop
async def test_the_lines_of_a_step_that_failed_are_kept() -> None:
    @step
    async def fails(ctx: StepContext, number: int) -> int:
        ctx.logger.info("item %d", number)
        try:
            1 // 0
        except ZeroDivisionError:
            ctx.logger.exception("oops")
            raise
        return 1

    async with Engine("memory:") as engine:
        flow = Workflow("w", input=list[int]).map(fails, join=tolerate(3))
        await engine.run(flow, [1, 2], run_id="r")
        lines = await engine.logs("r", "fails[1]")
        assert [line.text.splitlines()[0] for line in lines] == ["item 2", "oops"]
        assert lines[1].text.endswith("ZeroDivisionError: integer division or modulo by zero")
        assert lines[1].level_name == "ERROR"


@pytest.mark.parametrize("early", [["begins"], []], ids=["noted", "silent"])
@in_loop
async def test_a_thread_that_outlives_its_attempt_still_logs(early: list[str]) -> None:
    @step(timeout=0.05)
    def slow(ctx: StepContext) -> int:
        for text in early:
            ctx.logger.info(text)
        gates["a"].wait()
        ctx.progress(1)
        ctx.logger.info("late")
        return 1

    async with Engine("memory:") as engine:
        handle = await engine.start(Workflow("w").then(slow))
        assert (await handle.outcome()).status == "failed"
        gates["a"].open()
        await until(lambda: not engine.stray_threads)
        assert said(await handle.logs()) == [*early, "late"]
        assert await engine.store.reports(handle.run_id) == []


# Elsewhere


@in_loop
async def test_they_come_out_of_a_process(tmp_path: Path) -> None:
    async with Engine("memory:") as engine:
        flow = Workflow("w", input=str).then(placed.talks.options(executor="process"))
        handle = await engine.start(flow, str(tmp_path / "go"))
        async for each in handle.events(progress=True):
            if isinstance(each, Report):
                assert (each.done, each.total, each.message) == (1, 2, "half")
                assert said(await handle.logs()) == ["begins"]
                (tmp_path / "go").touch()
        assert await handle.result() == 1
        assert said(await handle.logs()) == ["begins", *(f"line {n}" for n in range(999))]
        [last] = await engine.logs(handle.run_id, limit=1, after=(await handle.logs())[-1].id)
        assert last.text == "… 101 more"


@in_loop
async def test_they_come_at_once_from_an_executor_in_this_process(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        async with Engine("memory:", executors={"pool": pool}) as engine:
            flow = Workflow("w", input=str).then(placed.talks.options(executor="pool"))
            handle = await engine.start(flow, str(tmp_path / "go"))
            async for each in handle.events(progress=True):
                if isinstance(each, Report):
                    assert (each.done, each.total, each.message) == (1, 2, "half")
                    assert said(await handle.logs()) == ["begins"]
                    (tmp_path / "go").touch()
            lines = await engine.logs(handle.run_id, limit=2_000)
            assert said(lines)[-1] == "… 101 more"
            assert len(lines) == 1_001


@in_loop
async def test_an_executor_elsewhere_brings_the_log_with_the_result(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    with ProcessPoolExecutor(1, mp_context=get_context("forkserver")) as pool:
        async with Engine("memory:", executors={"pool": pool}) as engine:
            flow = Workflow("w", input=str).then(placed.talks.options(executor="pool"))
            await engine.run(flow, str(tmp_path / "go"), run_id="r")
            lines = await engine.logs("r", limit=2_000)
            assert said(lines)[:2] == ["begins", "line 0"]
            assert said(lines)[-2:] == ["line 998", "… 101 more"]
            assert len(lines) == 1_001
            failing = Workflow("v", input=str).then(placed.fails_and_logs.options(executor="pool"))
            handle = await engine.start(failing, "x")
            assert (await handle.outcome()).status == "failed"
            assert said(await handle.logs()) == ["fails"]


# Bounds, and how often


@in_loop
async def test_an_attempt_keeps_a_thousand_lines() -> None:
    @step
    async def chatty(ctx: StepContext, lines: int) -> int:
        for number in range(lines):
            ctx.logger.info("line %d", number)
        return lines

    async with Engine("memory:") as engine:
        flow = Workflow("w", input=int).then(chatty)
        for lines, last in ((1_000, "line 999"), (1_001, "… 1 more"), (3_500, "… 2,500 more")):
            await engine.run(flow, lines, run_id=str(lines))
            kept = await engine.logs(str(lines), limit=10_000)
            assert len(kept) == min(lines, 1_001)
            assert kept[-1].text == last
            assert [line.number for line in kept] == [*range(1, len(kept) + 1)]


@pytest.mark.parametrize(
    ("logs", "kept"),
    [
        (True, ["INFO", "WARNING"]),
        (False, []),
        ("DEBUG", ["DEBUG", "INFO", "WARNING"]),
        (logging.WARNING, ["WARNING"]),
    ],
)
@in_loop
async def test_the_engine_says_which_lines_are_kept(logs: Any, kept: list[str]) -> None:
    @step
    async def talks(ctx: StepContext) -> int:
        ctx.logger.debug("x")
        ctx.logger.info("x")
        ctx.logger.warning("x")
        return 1

    async with Engine("memory:", logs=logs) as engine:
        await engine.run(Workflow("w").then(talks), run_id="r")
        assert [line.level_name for line in await engine.logs("r")] == kept


def test_odd_levels_are_rejected() -> None:
    with pytest.raises(ValueError, match="no level 'debug'; did you mean 'DEBUG'"):
        Engine("memory:", logs="debug")
    with pytest.raises(TypeError, match="logs must be"):
        Engine("memory:", logs=None)  # type: ignore[arg-type]


def test_a_report_is_written_once_a_second() -> None:
    store = Watched()

    @step
    async def counts(ctx: StepContext) -> int:
        for number in range(100):
            ctx.progress(number, 100)
            ctx.logger.info("at %d", number)
            await asyncio.sleep(0.1)
        return 1

    async def test() -> None:
        async with VirtualEngine(store) as engine:
            await engine.run(Workflow("w").then(counts), run_id="r")

    in_virtual_time(test())
    reports = [row for reports, _, _ in store.noted for row in reports]
    assert 9 <= len(reports) <= 11
    assert reports[0].done == 0
    gaps = [later.at - row.at for row, later in pairwise(reports)]
    assert min(gaps) >= 0.95
    lines = [row for _, lines, _ in store.noted for row in lines]
    assert [row.text for row in lines] == [f"at {number}" for number in range(100)]
    assert len(store.noted) <= 13
    assert [(each.path, each.attempt) for each in store.noted[-1][2]] == [("counts", 1)]


def test_short_attempts_share_a_write() -> None:
    store = Watched()

    @step
    async def talks(ctx: StepContext, number: int) -> int:
        ctx.logger.info("item %d", number)
        await asyncio.sleep(0.001)
        return number

    async def test() -> None:
        async with VirtualEngine(store) as engine:
            await engine.run(Workflow("w", input=list[int]).map(talks), [*range(500)], run_id="r")

    in_virtual_time(test())
    assert sum(len(lines) for _, lines, _ in store.noted) == 500
    assert len(store.noted) <= 5


@in_loop
async def test_a_run_without_any_writes_nothing() -> None:
    @step
    async def silent() -> int:
        return 1

    store = Watched()
    async with Engine(store) as engine:
        await engine.run(Workflow("w").then(silent))
    assert store.noted == []


@in_loop
async def test_who_reads_a_log_has_no_other_run_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_notes, "EVERY", 1000.0)
    second = Gate()

    @step
    async def talks(ctx: StepContext, name: str) -> str:
        ctx.logger.info("%s talks", name)
        await gates["a"].wait_async()
        ctx.logger.info("%s ends", name)
        await second.wait_async()
        return name

    store, flow = Watched(), Workflow("w", input=str).then(talks)

    async with Engine(store) as engine:
        for name in ("one", "two"):
            await engine.start(flow, name, run_id=name)
        await until(lambda: gates["a"].arrived == 2)
        for name in ("one", "two"):
            assert said(await engine.logs(name)) == [f"{name} talks"]
        gates["a"].open()
        await until(lambda: second.arrived == 2)
        assert said(await engine.logs("one")) == ["one talks", "one ends"]
        assert [each.text for each in await store.logs("two")] == ["two talks"]
        assert said(await engine.logs("two")) == ["two talks", "two ends"]
        second.open()


@in_loop
async def test_the_last_lines_of_a_deleted_run_are_not_of_the_next_one(tmp_path: Path) -> None:
    talks = threading.Event()

    @step(timeout=0.1)  # it begins before that is over, or no thread would be left
    def lasts(ctx: StepContext) -> int:
        talks.wait(20)
        ctx.logger.info("late")
        return 1

    flow = Workflow("w").then(lasts)
    async with Engine(f"sqlite:{tmp_path}/runs.db") as engine:
        with pytest.raises(RunFailedError):
            await engine.run(flow, run_id="r")
        while not await engine.delete_runs(timedelta()):
            await asyncio.sleep(0.002)
        await engine.start(Workflow("other").sleep(1000), run_id="r")
        strays = engine._opened().runtime.strays
        assert strays() == 1
        talks.set()
        await until(lambda: strays() == 0)
        assert await engine.logs("r") == []


# A store that fails, or is slow


@in_loop
async def test_no_result_waits_for_them() -> None:
    store = Watched()
    store.gate = Gate()
    gates["a"].open()
    async with Engine(store) as engine:
        assert await engine.run(LOADING, 3, run_id="r") == 3
        assert store.noted == []
        store.gate.open()
        assert said(await engine.logs("r")) == ["loads 3 pages", "done"]


@in_loop
async def test_a_store_that_fails_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    store = Watched()
    store.error = StoreError("the disk is full")
    gates["a"].open()
    async with Engine(store) as engine:
        for number in range(20):
            assert await engine.run(LOADING, 3, run_id=str(number)) == 3
            await engine.logs(str(number))
        store.error = None
        assert said(await engine.logs("0")) == ["loads 3 pages", "done"]  # it was tried again
        assert said(await engine.logs("19")) == ["loads 3 pages", "done"]
    told = [each.getMessage() for each in caplog.records if each.name == "gorkflow.engine"]
    assert len(told) == 1
    assert told[0].startswith("could not keep progress and logs of steps: the disk is full.")


@in_loop
async def test_an_engine_closes_though_they_can_not_be_kept() -> None:
    store = Watched()
    store.error = StoreError("the disk is full")
    gates["a"].open()
    async with Engine(store) as engine:
        await engine.run(LOADING, 3)


@in_loop
async def test_what_waits_for_a_broken_store_is_bounded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_notes, "_MOST_HELD", 60)
    store = Watched()
    store.error = StoreError("the disk is full")
    gates["a"].open()
    async with Engine(store) as engine:
        for number in range(50):
            await engine.run(LOADING, 3, run_id=str(number))
            await engine._opened().runtime.notes.flush()
        store.error = None
        await engine.run(LOADING, 3, run_id="last")
        assert said(await engine.logs("last")) == ["loads 3 pages", "done"]
        assert said(await engine.logs("5")) == ["… 2 more"]
        assert said(await engine.logs("0")) == ["loads 3 pages", "done"]  # it was being written
        kept = [said(await engine.logs(str(number))) for number in range(50)]
        lost = kept.count(["… 2 more"])
        assert kept.count(["loads 3 pages", "done"]) == 50 - lost
        await engine._opened().runtime.notes.flush()
        assert f"lost {2 * lost} lines of the logs of steps while the store failed" in caplog.text
        store.error = StoreError("the disk is full")
        await engine.run(LOADING, 3, run_id="again")
        await engine._opened().runtime.notes.flush()
    assert caplog.text.count("could not keep progress and logs") == 2


# The end


@in_loop
async def test_closing_keeps_the_last_lines(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/runs.db"
    gates["a"].open()
    async with Engine(url) as engine:
        await engine.run(LOADING, 3, run_id="r")
    async with Client(url) as client:
        assert said(await client.logs("r")) == ["loads 3 pages", "done"]


@STORES
@in_loop
async def test_they_are_deleted_with_their_run(tmp_path: Path, url: str) -> None:
    gates["a"].open()
    async with Engine(url.format(tmp_path)) as engine:
        await engine.run(LOADING, 3, run_id="r")
        assert await engine.logs("r")
        assert await engine.delete_runs(timedelta(seconds=-0.0)) == 1
        assert await engine.store.logs("r") == []
        await engine.run(LOADING, 3, run_id="r")
        assert said(await engine.logs("r")) == ["loads 3 pages", "done"]


@step
def odd(ctx: StepContext, number: int) -> int:
    ctx.progress(2**70, 2**80)
    ctx.logger.log(2**70, "loud")
    return number


@in_loop
async def test_a_number_of_many_digits_is_kept(tmp_path: Path) -> None:
    async with Engine(tmp_path / "runs.db") as engine:
        await engine.run(Workflow("odd", input=int).then(odd), 1, run_id="r")
        [line] = await engine.logs("r")
        assert line.text == "loud"
