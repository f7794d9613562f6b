"""Views are made and shown in threads, shared by those who want them, and kept within bounds."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import jinja2
import pytest

from gorkflow import (
    Engine,
    RunFailedError,
    RunFilter,
    StepContext,
    Workflow,
    step,
)
from gorkflow.engine._json import without_secrets
from gorkflow.insight import overview, picture, timeline
from gorkflow.model import LogLine, RunStatus
from gorkflow.web import _bars, _operations, _run_page, _view
from gorkflow.web._view import Views

from .test_view import approved, in_a_loop, many, reviewed
from .tools import doubling, failing, site

# ---- threads ------------------------------------------------------------------------------------

WORK = (
    (_view, "Timed"),
    (_view, "explained"),
    (_view, "whatif"),
    (_view, "run_shown"),
    (_view.RunView, "listed"),
    (_view.RunView, "steps"),
    (overview, "overview"),
    (_run_page, "chart"),
    (picture, "svg"),
    (timeline, "svg"),
    (jinja2.Template, "render"),
    (_operations, "to_json"),
)
"""What takes its time of a large run, or of many."""
ADDRESSES = (
    "/",
    "/workflows",
    "/workflows/doubling",
    *(f"/runs/one?tab={tab}" for tab in ("timeline", "flow", "steps", "events", "explain", "data")),
    "/runs/one?tab=explain&max_concurrency=1",
    "/api/runs",
    "/api/runs/one",
    *(f"/api/runs/one/{it}" for it in ("steps", "steps/double", "history", "logs", "explain")),
    "/api/runs/one/whatif?max_concurrency=1",
    "/api/runs/one/timeline.svg",
    "/api/runs/one/flow.svg",
    "/api/runs/one/signals",
    "/api/workflows/doubling/overview",
    "/api/workflows/doubling/flow.svg",
)


def watch(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, called: Callable[[], None]
) -> None:
    """Call a function as well, each time that another one is called."""
    before = getattr(owner, name)

    def call(*args: Any, **options: Any) -> Any:
        called()
        return before(*args, **options)

    for module in (owner, _view, _bars) if owner is _view else (owner,):
        if hasattr(module, name):
            monkeypatch.setattr(module, name, call)


def test_nothing_that_takes_its_time_is_done_on_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: dict[str, set[str]] = {}
    for owner, name in WORK:
        which = f"{owner.__name__}.{name}"
        seen = threads.setdefault(which, set[str]())
        watch(monkeypatch, owner, name, lambda seen=seen: seen.add(threading.current_thread().name))

    @in_a_loop
    async def main() -> None:
        async with site() as place:
            await place.engine.run(doubling, 21, run_id="one")
            with pytest.raises(RunFailedError):
                await place.engine.run(failing, 21)
            for address in ADDRESSES:
                answer = await place.local.get(address)
                assert answer.status_code == 200, (address, answer.text)

    main()
    assert not [which for which, seen in threads.items() if not seen], "each was called"
    here = threading.current_thread().name
    assert not [which for which, seen in threads.items() if here in seen]


def test_viewers_of_a_run_share_its_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    replays: list[int] = []
    watch(monkeypatch, _view, "Timed", lambda: replays.append(1))

    @in_a_loop
    async def main() -> None:
        async with Engine("memory:") as engine:
            handle = await engine.start(many, 450)
            await handle.result()
            views = Views(engine.store)
            viewers = [asyncio.create_task(views.of(handle.run_id)) for _ in range(5)]
            await asyncio.sleep(0)
            viewers[0].cancel()
            found = await asyncio.gather(*viewers, return_exceptions=True)
            assert isinstance(found[0], asyncio.CancelledError), "it left"
            assert len(set(map(id, found[1:]))) == 1

    main()
    assert len(replays) == 1


def test_a_viewer_gets_no_view_from_before_it_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        assert may_end.wait(20)

    watch(monkeypatch, _view, "Timed", hold)

    @in_a_loop
    async def main() -> None:
        async with Engine("memory:") as engine:
            handle = await engine.start(reviewed, 3)
            async for event in engine.events(handle.run_id):
                if event.kind == "wait_opened":
                    break
            views = Views(engine.store)
            early = asyncio.create_task(views.of(handle.run_id))
            await asyncio.to_thread(begun.wait, 20)
            await handle.send(approved, True)
            await handle.result()
            late = asyncio.create_task(views.of(handle.run_id))
            await asyncio.sleep(0)
            may_end.set()
            assert not (await early).run.status.terminal
            assert (await late).run.status.terminal

    main()


@in_a_loop
async def test_a_live_run_is_explained_once_a_second() -> None:
    async with Engine("memory:") as engine:
        handle = await engine.start(reviewed, 3)
        async for event in engine.events(handle.run_id):
            if event.kind == "wait_opened":
                break
        view = await Views(engine.store).of(handle.run_id)
        now = view.row.created_at + 100
        first = view.explanation(now)
        assert view.explanation(now + 0.5) is first
        assert view.explanation(now + 1.5).seconds == pytest.approx(first.seconds + 1.5)


# ---- what is kept, and read of many -------------------------------------------------------------


@step
def text(size: int) -> str:
    return "a" * size


texts = Workflow("texts", input=int).then(text)


@in_a_loop
async def test_views_are_kept_up_to_their_bytes() -> None:
    async with Engine("memory:") as engine:
        for size, run_id in ((10, "small"), (40_000, "first"), (40_000, "second"), (10**6, "huge")):
            await engine.run(texts, size, run_id=run_id)
        views = Views(engine.store, 200_000)
        small, first = await views.of("small"), await views.of("first")
        assert first.size > 80_000 > small.size
        assert await views.of("first") is first
        assert await views.of("small") is small
        await views.of("second")
        assert await views.of("small") is small
        assert await views.of("first") is first
        await views.of("second")
        third = await views.of("huge")
        assert await views.of("huge") is not third, "alone it is more than what is kept"


def test_runs_are_read_together_up_to_their_events(monkeypatch: pytest.MonkeyPatch) -> None:
    @in_a_loop
    async def main() -> None:
        async with site() as place:
            for number in range(5):
                await (await place.engine.start(doubling, number)).result()
            rows = list(await place.engine.store.list_runs(RunFilter()))
            monkeypatch.setattr(_view, "_READ", 3 * rows[0].seq)
            assert len(await Views(place.engine.store).of_all(rows)) == 3
            found = (await place.local.get("/api/workflows/doubling/overview")).json()
            assert found["run"]["count"] == 3
            page = await place.local.get("/workflows/doubling", headers={"accept": "text/html"})
            assert "Of the latest 3 completed runs" in page.text
            monkeypatch.setattr(_view, "_READ", 1)
            assert len(await Views(place.engine.store).of_all(rows)) == 1

    main()


def test_a_list_reads_its_runs_together(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def noting(name: str, had: Any) -> Any:
        async def noted(*args: Any) -> Any:
            asked.append(name)
            return await had(*args)

        return noted

    @in_a_loop
    async def main() -> None:
        async with site() as place:
            for number in range(5):
                await (await place.engine.start(doubling, number)).result()
            kind = type(place.engine.store)
            for name in ("load", "load_many"):
                monkeypatch.setattr(kind, name, noting(name, getattr(kind, name)))
            for _ in range(2):
                await place.local.get("/", headers={"accept": "text/html"})

    main()
    assert asked == ["load_many"]


@in_a_loop
async def test_runs_of_a_list_that_changed_are_read_together() -> None:
    async with Engine("memory:") as engine:
        for number in range(3):
            await engine.start(reviewed, number)
        views, filters = Views(engine.store), RunFilter(status=RunStatus.SUSPENDED)
        while len(rows := await engine.store.list_runs(filters)) < 3:
            await asyncio.sleep(0)
        assert len(await views.of_all(list(rows))) == 3
        for row in rows:
            await engine.send(row.run_id, "approved", True)
            await engine.wait(row.run_id)
        views._store = Together(engine.store)
        found = await views.of_all(list(await engine.store.list_runs(RunFilter())))
        assert [each.run.status for each in found] == [RunStatus.COMPLETED] * 3


class Together:
    """A store that reads runs only together."""

    def __init__(self, store: Any) -> None:
        self.load_many = store.load_many


@in_a_loop
async def test_a_removed_run_does_not_stand_for_another_one_with_its_id() -> None:
    async with Engine("memory:") as engine:
        views = Views(engine.store)
        await engine.run(many, 3, run_id="r")
        assert (await views.of("r")).run.workflow_id == "many"
        assert await engine.store.delete_runs(["r"]) == 1
        await engine.run(doubling, 21, run_id="r")
        assert (await views.of("r")).run.workflow_id == "doubling"


@step
def tell(ctx: StepContext, lines: int) -> None:
    for number in range(lines):
        ctx.logger.info("line %d", number)


@in_a_loop
async def test_the_log_of_a_run_that_ended_costs_one_look_at_its_record() -> None:
    async with Engine("memory:") as engine:
        await engine.run(Workflow("telling", input=int).then(tell), 3, run_id="r")
        store: Any = OnlyLoads(engine.store)
        lines = each(await engine.logs("r"))
        found = [line.text async for line in without_secrets(store, "r", lines)]
        assert found == ["line 0", "line 1", "line 2"]


async def each(lines: list[LogLine]) -> AsyncIterator[LogLine]:
    for line in lines:
        yield line


class OnlyLoads:
    """A store that reads whole records."""

    def __init__(self, store: Any) -> None:
        self.load = store.load
