"""Hooks: each run that has ended is reported at least once, whoever dies, fails or hangs."""

import asyncio
import functools
import itertools
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest

import gorkflow
from gorkflow import (
    Client,
    Engine,
    Run,
    RunFailedError,
    RunStatus,
    Secret,
    Signal,
    StoreError,
    Workflow,
    WorkflowInvalidError,
    step,
    testing,
)
from gorkflow.engine import _hooks
from gorkflow.hooks import Hook, HookCall
from gorkflow.stores.memory import MemoryStore
from gorkflow.stores.memory import store as memory_store
from gorkflow.stores.sqlite import SqliteStore

from .support import STORES, Gate, Moody, calls, die, in_loop, until
from .test_waiting import ManualClock, reaches

approved = Signal("approved", str)


@step
async def double(number: int) -> int:
    if number < 0:
        raise ValueError("below zero")
    return number * 2


@step
async def measure(token: Annotated[str, Secret]) -> int:
    return len(token)


class Told:
    """A hook that keeps what it got."""

    def __init__(self, fails: int = 0) -> None:
        self.runs: list[Run] = []
        self.times: list[float] = []
        self.fails = fails

    async def __call__(self, run: Run) -> None:
        self.times.append(asyncio.get_running_loop().time())
        if self.fails:
            self.fails -= 1
            raise ConnectionError("the pager is down")
        self.runs.append(run)

    @property
    def ids(self) -> list[str]:
        return [run.run_id for run in self.runs]


def flow(hook: Any, name: str = "doubling") -> Workflow[int, int]:
    return Workflow(name, input=int, on_end=hook).then(double)


def asking(hook: Any) -> Workflow[int, tuple[int, str]]:
    return Workflow("asking", input=int, on_end=hook).wait_for(approved)


async def none_due(engine: Client) -> None:
    """Wait until every call was made."""
    async with asyncio.timeout(20):
        while await engine.store.hook_calls():
            await asyncio.sleep(0.005)


def url_of(url: str, folder: Path) -> str:
    return url.format(folder)


# ---- what a hook gets ---------------------------------------------------------------------------


@STORES
@in_loop
async def test_hooks_get_each_run_that_has_ended_as_readers_get_it(
    url: str, tmp_path: Path
) -> None:
    own, every = Told(), Told()
    flows = flow(own), asking(own)
    async with Engine(url_of(url, tmp_path), workflows=flows, on_end=every) as engine:
        await engine.run(flows[0], 2, run_id="good", tags={"team": "a"})
        with pytest.raises(RunFailedError):
            await engine.run(flows[0], -2, run_id="bad")
        waiting = await engine.start(flows[1], 1, run_id="stopped")
        await waiting.cancel(reason="enough")
        await until(lambda: len(own.runs) == len(every.runs) == 3)
        await none_due(engine)
        for hook in (own, every):
            found = {run.run_id: run for run in hook.runs}
            assert found["good"] == await engine.get_run("good")
            assert found["good"].output == 4
            assert found["bad"].status is RunStatus.FAILED
            assert "below zero" in str(found["bad"].failures[0])
            assert found["stopped"].status is RunStatus.CANCELLED
            assert found["stopped"].reason == "enough"


@in_loop
async def test_a_plain_hook_runs_in_a_thread_and_may_return_a_coroutine() -> None:
    threads: list[threading.Thread] = []

    def plain(run: Run) -> Any:
        threads.append(threading.current_thread())
        return later(run)

    async def later(run: Run) -> None:
        calls.append(run.run_id)

    async with Engine("memory:") as engine:
        await engine.run(flow(plain), 1, run_id="r")
        await none_due(engine)
        assert calls == ["r"]
        assert threads[0] is not threading.main_thread()


@in_loop
async def test_only_the_hook_of_the_outer_workflow_is_called() -> None:
    inner, outer = Told(), Told()
    nested = Workflow("outer", input=int, on_end=outer).then(flow(inner, "inner"))
    async with Engine("memory:") as engine:
        await engine.run(nested, 1, run_id="r")
        await none_due(engine)
    assert outer.ids == ["r"]
    assert inner.ids == []


@STORES
@in_loop
async def test_a_rerun_is_a_run_of_its_own(url: str, tmp_path: Path) -> None:
    hook = Told()
    async with Engine(url_of(url, tmp_path)) as engine:
        await engine.run(flow(hook), 1, run_id="first")
        again = await engine.rerun("first", run_id="second")  # it keeps all: over at once
        assert await again.result() == 2
        await none_due(engine)
    assert sorted(hook.ids) == ["first", "second"]


@in_loop
async def test_a_workflow_keeps_its_hook_as_it_grows_and_changes() -> None:
    hook = Told()
    twice = step(id="twice")(double.fn)
    grown = flow(hook).then(twice).replace(twice, step(id="thrice")(double.fn))
    async with Engine("memory:") as engine:
        await engine.run(grown, 1, run_id="r")
        await none_due(engine)
    assert hook.ids == ["r"]


@in_loop
async def test_runs_without_hooks_pay_nothing() -> None:
    async with Engine("memory:") as engine:
        await engine.run(flow(None), 1)
        assert engine._worker is not None
        await engine._worker._look()
        assert not engine._worker._calls_hooks
        assert await engine.store.hook_calls() == []


def test_the_blocking_run_has_called_the_hook_when_it_returns(tmp_path: Path) -> None:
    for store in ("memory:", f"sqlite:{tmp_path / 'runs.db'}"):
        hook = Told()
        assert gorkflow.run(flow(hook), 1, store=store, run_id="r") == 2
        assert hook.ids == ["r"]


# ---- what is no hook ----------------------------------------------------------------------------


class Takes:
    def none(self) -> None: ...

    def two(self, run: Run, more: int) -> None: ...

    def one(self, run: Run, more: int = 1) -> None: ...


def yields(run: Run, more: int = 0) -> Iterator[int]:
    yield more


async def yields_later(run: Run) -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("hook", "why"),
    [
        (7, "a function of a run, not 7"),
        ("alert", "a function of a run, not 'alert'"),
        (double, "a plain function, not a step"),
        (Takes().none, r"one argument, the run, but none takes \(\)"),
        (Takes().two, "one argument, the run, but two takes"),
        (lambda run, more: None, "one argument, the run"),
        (yields, "yields is a generator; leave out its yield"),
        (yields_later, "yields_later is a generator"),
        (functools.partial(yields, more=1), "is a generator"),
    ],
)
def test_what_cannot_be_a_hook_is_rejected_at_once(hook: Any, why: str) -> None:
    with pytest.raises(WorkflowInvalidError, match=why):
        Workflow("w", input=int, on_end=hook)
    with pytest.raises(TypeError, match=why):
        Engine("memory:", on_end=hook)


def test_the_coroutine_of_a_hook_is_rejected() -> None:
    async def alert(run: Run | None = None) -> None: ...

    with pytest.raises(WorkflowInvalidError, match="'alert' was called; write on_end=alert"):
        Workflow("w", input=int, on_end=alert())  # type: ignore[arg-type]


@pytest.mark.parametrize("hook", [Takes().one, print, functools.partial(Takes().two, more=1)])
def test_whatever_takes_a_run_is_a_hook(hook: Any) -> None:
    assert Workflow("w", input=int, on_end=hook).on_end is hook


# ---- hooks that fail ----------------------------------------------------------------------------


def test_a_failed_hook_is_called_again_later_and_later(caplog: pytest.LogCaptureFixture) -> None:
    hook = Told(fails=12)

    async def run() -> None:
        async with testing.VirtualEngine() as engine:
            handle = await engine.start(flow(hook), 1, run_id="r")
            assert await handle.result() == 2
            while not hook.runs:
                await asyncio.sleep(1)
            assert (await handle.info()).status is RunStatus.COMPLETED
            assert await engine.store.hook_calls() == []

    testing.in_virtual_time(run())
    gaps = [b - a for a, b in itertools.pairwise(hook.times)]
    assert len(gaps) == 12
    for number, gap in enumerate(gaps):
        longest = min(300.0, 2.0**number)
        assert longest / 2 <= gap <= longest + 0.001
    assert len({round(gap / min(300.0, 2.0**number), 6) for number, gap in enumerate(gaps)}) > 6
    told = [r for r in caplog.records if "the hook" in r.getMessage()]
    assert [r.levelno for r in told] == [logging.WARNING] * 12
    assert "the pager is down" in told[-1].getMessage()
    assert "run 'r' (try 12)" in told[-1].getMessage()


def test_a_call_is_dropped_after_many_tries(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_hooks, "MAX_TRIES", 5)
    hook = Told(fails=100)

    async def run() -> None:
        async with testing.VirtualEngine() as engine:
            await engine.run(flow(hook), 1, run_id="r")
            await asyncio.sleep(3600)
            assert await engine.store.hook_calls() == []

    testing.in_virtual_time(run())
    assert len(hook.times) == 5
    (last,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert "'r', and is not called again after 5 tries" in last.getMessage()


@in_loop
async def test_the_store_has_how_the_latest_try_failed() -> None:
    hook = Told(fails=1)
    async with Engine("memory:") as engine:
        await engine.run(flow(hook), 1, run_id="r")

        async with asyncio.timeout(20):
            while not (found := await engine.store.hook_calls())[0].error:
                await asyncio.sleep(0.002)
        (call,) = found
        assert call.error == "ConnectionError: the pager is down"
        assert (call.tries, call.hook, call.run_id) == (1, Hook.WORKFLOW, "r")
        await none_due(engine)
    assert hook.ids == ["r"]


@pytest.mark.parametrize("kind", ["plain", "async"])
@in_loop
async def test_a_hook_that_exits_does_not_stop_the_engine(kind: str) -> None:
    tries = 0

    def leave(run: Run) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise SystemExit(3)

    async def leave_async(run: Run) -> None:
        leave(run)

    async with Engine("memory:") as engine:
        await engine.run(flow(leave if kind == "plain" else leave_async), 1)
        await none_due(engine)
        assert tries == 2
        assert await engine.run(flow(None, "other"), 2) == 4


class Stubborn:
    """An async hook that can't be cancelled, the first time."""

    def __init__(self) -> None:
        self.began = self.returned = 0

    async def __call__(self, run: Run) -> None:
        self.began += 1
        if self.began == 1:
            while True:
                try:
                    await asyncio.sleep(1e6)
                except asyncio.CancelledError:
                    if self.returned:
                        raise
        self.returned += 1


def test_a_hook_that_hangs_times_out_and_holds_up_nobody() -> None:
    hook, others = Stubborn(), Told()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        async with testing.VirtualEngine() as engine:
            await engine.run(flow(hook), 1, run_id="hangs")
            start = loop.time()
            assert await engine.run(flow(others, "other"), 1) == 2
            await until_virtual(lambda: others.runs)
            assert loop.time() - start < 1
            await until_virtual(lambda: hook.returned)
            assert 30 <= loop.time() - start < 35
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    testing.in_virtual_time(run())


async def until_virtual(condition: Callable[[], Any]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


@in_loop
async def test_plain_hooks_that_hang_hold_up_no_run_and_are_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_hooks, "TIMEOUT", 0.05)
    gate, tries = Gate(), 0

    def hang(run: Run) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            gate.wait()

    async with Engine("memory:") as engine:
        await engine.run(flow(hang), 1)
        assert await engine.run(flow(None, "other"), 2) == 4
        await until(lambda: tries == 2)
        await none_due(engine)
        gate.open()
    assert "it was cancelled, or did not return within 0.05 s" in caplog.text
    assert "abandoned on_end hooks" in caplog.text


@in_loop
async def test_a_plain_hook_without_a_thread_has_not_failed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_hooks, "TIMEOUT", 0.05)
    monkeypatch.setattr(_hooks, "_AT_ONCE", 1)
    gate, put_off = Gate(), set[float]()

    def hang(run: Run) -> None:
        if run.run_id != "waits":
            gate.wait()
        calls.append(run.run_id)

    async with Engine("memory:") as engine:
        await engine.run(flow(hang), 1, run_id="hangs")
        await engine.run(flow(hang), 1, run_id="hangs.too")
        hooks = engine._worker.hooks  # type: ignore[union-attr]
        await until(lambda: hooks._functions.are_full)
        await engine.run(flow(hang), 1, run_id="waits")
        others = Told()
        await engine.run(flow(others, "other"), 1, run_id="async")

        def is_put_off() -> bool:
            put_off.update(due for due, _, call in hooks._queue if call.run_id == "waits")
            return len(put_off) > 4

        await until(is_put_off)
        await until(lambda: others.runs)
        assert calls == []
        [call] = await engine.store.hook_calls(run_id="waits")
        assert (call.tries, call.error) == (0, "")
        gate.open()
        await none_due(engine)
    assert "waits" in calls
    assert "for run 'waits'" not in caplog.text
    assert "others wait until some end" in caplog.text


@in_loop
async def test_a_hook_for_which_no_thread_starts_has_not_failed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_hooks, "_DELAYS", (0.01, 0.01))
    start, refused = threading.Thread.start, 0

    def refuse(thread: threading.Thread) -> None:
        nonlocal refused
        if thread.name.removeprefix("gorkflow-").isdigit() and refused < 3:
            refused += 1
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    tries: list[int] = []

    def plain(run: Run) -> None:
        asyncio.run_coroutine_threadsafe(look(), loop).result(20)

    async def look() -> None:
        tries.extend(call.tries for call in await engine.store.hook_calls())

    loop = asyncio.get_running_loop()
    async with Engine("memory:") as engine:
        await engine.run(flow(plain), 1, run_id="r")
        await none_due(engine)
    assert (refused, tries) == (3, [1])
    assert "run 'r' could not be called, and will be in 0 s: can't start new thread" in caplog.text
    assert "failed for run" not in caplog.text


def test_a_run_of_a_test_has_called_its_hook() -> None:
    hook = Told(fails=1)
    result = testing.run_sync(flow(hook), 2, fakes={double: 7})
    assert result.output == 7
    assert hook.ids == []  # it failed once, and a test does not wait for the next try
    assert testing.run_sync(flow(hook), 2, fakes={double: 7}).output == 7
    assert hook.ids == ["test-run"]


@in_loop
async def test_no_secret_gets_into_the_error_of_a_hook(caplog: pytest.LogCaptureFixture) -> None:
    got: list[Any] = []

    def quotes(run: Run) -> None:
        got.append(run.input)
        if len(got) == 1:
            raise ValueError(f"can't send {run.input!r}")

    hidden = Workflow("hidden", input=Annotated[str, Secret], on_end=quotes).then(measure)
    async with Engine("memory:") as engine:
        assert await (await engine.start(hidden, "hunter2-hunter2")).result() == 15
        async with asyncio.timeout(20):
            while not (found := await engine.store.hook_calls())[0].error:
                await asyncio.sleep(0.002)
        assert found[0].error == "ValueError: can't send '•••'"
        await none_due(engine)
    assert got == ["hunter2-hunter2"] * 2
    assert "can't send '•••'" in caplog.text
    assert "hunter2" not in caplog.text  # nor in a traceback


@in_loop
async def test_a_call_that_a_wrong_clock_put_off_is_made_soon() -> None:
    clock, hook, store = ManualClock(), Told(fails=1), Keeping()
    async with Engine(store, clock=clock) as engine:
        clock.advance(86_400 * 365)  # a year ahead of the others
        await engine.run(flow(hook), 1, run_id="r")
        await until(lambda: hook.times)
    clock.advance(-86_400 * 365)
    async with Engine(store, clock=clock, workflows=[flow(hook)]) as engine:
        await engine._worker._look()  # type: ignore[union-attr]
        await none_due(engine)
    assert hook.ids == ["r"]


# ---- who calls ----------------------------------------------------------------------------------


@STORES
@in_loop
async def test_a_run_that_a_client_cancelled_is_reported_too(url: str, tmp_path: Path) -> None:
    own, every = Told(), Told()
    store: Any = MemoryStore() if url == "memory:" else SqliteStore(tmp_path / "runs.db")
    async with Client(store) as client:
        await client.start(asking(own), 1, run_id="early")
        await client.cancel("early")  # before any worker had it
        assert [call.key for call in await store.hook_calls()] == [("early", Hook.WORKFLOW)]
        async with Engine(store, workflows=[asking(own)], on_end=every) as engine:
            await engine.start(asking(own), 1, run_id="later")
            await reaches(engine, "later", RunStatus.SUSPENDED)
            await client.cancel("later", reason="enough")
            await none_due(engine)
    assert sorted(own.ids) == ["early", "later"]
    assert every.ids == ["later"]
    assert every.runs[0].reason == "enough"


@in_loop
async def test_a_rerun_that_a_client_started_has_its_hook(tmp_path: Path) -> None:
    store, hook = SqliteStore(tmp_path / "runs.db"), Told()
    async with Engine(store) as engine:
        await engine.run(flow(hook), 1, run_id="first")
        await none_due(engine)
    async with Client(store) as client:  # which knows no code
        await client.rerun("first", "double", run_id="second", delay=100)
        await client.cancel("second")
    async with Engine(store, workflows=[flow(hook)]) as engine:
        await none_due(engine)
    assert hook.ids == ["first", "second"]


@in_loop
async def test_who_does_not_know_the_workflow_leaves_the_call_to_others(tmp_path: Path) -> None:
    store, hook, every = SqliteStore(tmp_path / "runs.db"), Told(), Told()
    async with Client(store) as client:
        await client.start(asking(hook), 1, run_id="r")
        await client.cancel("r")
    other = flow(Told(), "other")
    async with Engine(store, workflows=[other], on_end=every) as engine:
        await engine._worker._look()  # type: ignore[union-attr]
        await engine.run(other, 1, run_id="other")
        async with asyncio.timeout(20):
            while len(await store.hook_calls()) > 1:
                await asyncio.sleep(0.005)
        (left,) = await store.hook_calls()
        assert (left.run_id, left.tries) == ("r", 0)
        engine.handle("r", asking(hook))  # from now on it knows
        await none_due(engine)
    assert hook.ids == ["r"]
    assert every.ids == ["other"]


@STORES
@in_loop
async def test_of_several_workers_one_makes_a_call(url: str, tmp_path: Path) -> None:
    hook = Told()
    store: Any = MemoryStore() if url == "memory:" else SqliteStore(tmp_path / "runs.db")
    async with Client(store) as client:
        for number in range(40):
            await client.start(asking(hook), 1, run_id=f"r{number:02}")
        for number in range(40):
            await client.cancel(f"r{number:02}")
        async with (
            Engine(store, workflows=[asking(hook)]) as one,
            Engine(store, workflows=[asking(hook)]) as other,
        ):
            for _ in range(4):
                for engine in (one, other):
                    await engine._worker._look()  # type: ignore[union-attr]
            await none_due(client)
    assert sorted(hook.ids) == [f"r{number:02}" for number in range(40)]


@in_loop
async def test_more_calls_than_fit_at_a_time_are_made() -> None:
    most = now = 0

    async def slow(run: Run) -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        now -= 1
        calls.append(run.run_id)

    async with Engine("memory:") as engine:
        handles = [await engine.start(flow(slow), n) for n in range(100)]
        for handle in handles:
            await handle.result()
        await none_due(engine)
        assert sorted(calls) == sorted(handle.run_id for handle in handles)
    assert 1 < most <= 16


@in_loop
async def test_hooks_that_fail_do_not_keep_others_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_hooks, "_KNOWN", 5)
    broken, works = Told(fails=1000), Told()
    async with Engine("memory:") as engine:
        for n in range(8):
            await (await engine.start(flow(broken), n)).result()
        await until(lambda: len(broken.times) >= 5)
        other = await engine.start(Workflow("other", input=int, on_end=works).then(double), 1)
        await other.result()
        await until(lambda: works.runs)
        assert works.runs[0].run_id == other.run_id


@in_loop
async def test_a_hook_that_was_removed_is_not_called(tmp_path: Path) -> None:
    store, hook = SqliteStore(tmp_path / "runs.db"), Told()
    async with Engine(store) as engine:
        await engine.start(asking(hook), 1, run_id="r")
        await reaches(engine, "r", RunStatus.SUSPENDED)
    async with Engine(store, workflows=[asking(None)]) as engine:
        await engine.send("r", approved, "yes")
        assert await engine.wait("r") is not None
        assert await store.hook_calls() == []


@STORES
@in_loop
async def test_a_deleted_run_takes_its_calls_along(url: str, tmp_path: Path) -> None:
    async with Client(url_of(url, tmp_path)) as client:
        await client.start(asking(Told()), 1, run_id="r")
        await client.cancel("r")
        assert len(await client.store.hook_calls()) == 1
        while not await client.delete_runs(timedelta()):
            await asyncio.sleep(0.002)
        assert await client.store.hook_calls() == []


@in_loop
async def test_a_memory_store_forgets_no_run_before_its_call() -> None:
    hook = Told(fails=1)
    async with Engine(MemoryStore(keep_ended=0)) as engine:
        await engine.run(flow(hook), 1, run_id="r")
        await none_due(engine)
        assert hook.ids == ["r"]
        assert await engine.store.get_run("r") is None


@in_loop
async def test_a_memory_store_forgets_the_calls_that_have_no_room(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(memory_store, "MOST_CALLED", 3)
    hook, store = Told(), MemoryStore()
    async with Client(store) as client:
        for number in range(6):
            await client.start(asking(hook), 1, run_id=f"r{number}")
            await client.cancel(f"r{number}")
        assert len(await client.store.hook_calls()) == 3
        assert await client.store.get_run("r2") is None
        assert caplog.text.count("is not said again") == 1
        assert "hook calls of more than 3 ended runs are due" in caplog.text
        assert "here 'r0'" in caplog.text
        async with Engine(store, workflows=[asking(hook)]) as engine:
            await none_due(engine)
    assert sorted(hook.ids) == ["r3", "r4", "r5"]


@in_loop
async def test_an_engine_that_takes_up_no_runs_waits_for_some_calls_and_makes_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_hooks, "_KNOWN", 20)
    monkeypatch.setattr(_hooks, "_LOOK_AFTER", 0.01)
    gate, hook = Gate(), Told()

    async def slow(run: Run) -> None:
        await gate.wait_async()
        await hook(run)

    async with Engine("memory:", recover=False) as engine:
        handles = [await engine.start(flow(slow), number) for number in range(60)]
        for handle in handles:
            await handle.result()
        await until(lambda: gate.arrived == 16)
        assert len(engine._worker.hooks._known) == 20  # type: ignore[union-attr]
        gate.open()
        await none_due(engine)
    assert sorted(hook.ids) == sorted(handle.run_id for handle in handles)


# ---- closing, dying, failing stores -------------------------------------------------------------


@in_loop
async def test_closing_waits_for_calls(tmp_path: Path) -> None:
    store, gate = SqliteStore(tmp_path / "runs.db"), Gate()

    async def slow(run: Run) -> None:
        await gate.wait_async()
        calls.append(run.run_id)

    engine = Engine(store)
    await engine.open()
    await engine.run(flow(slow), 1, run_id="r")
    await until(lambda: gate.arrived)
    closing = asyncio.ensure_future(engine.aclose(grace=20))
    await asyncio.sleep(0.05)
    assert not closing.done()
    gate.open()
    await closing
    assert calls == ["r"]


@in_loop
async def test_what_the_grace_cuts_off_is_called_by_the_next_worker(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, gate = SqliteStore(tmp_path / "runs.db"), Gate()

    async def slow(run: Run) -> None:
        await gate.wait_async()
        calls.append(run.run_id)

    engine = Engine(store)
    await engine.open()
    await engine.run(flow(slow), 1, run_id="r")
    await until(lambda: gate.arrived)
    await engine.aclose(grace=0)
    assert calls == []
    assert "1 call of on_end hooks is still due; the next worker" in caplog.text
    gate.open()
    async with Engine(store, workflows=[flow(slow)]) as engine:
        await none_due(engine)
    assert calls == ["r"]


@in_loop
async def test_the_call_of_a_dead_worker_is_made_when_its_hold_is_over(tmp_path: Path) -> None:
    path, clock, hook = tmp_path / "runs.db", ManualClock(), Told()
    hangs = Gate()

    async def hang(run: Run) -> None:
        await hangs.wait_async()

    dead = Engine(SqliteStore(path), clock=clock)
    await dead.open()
    await dead.run(flow(hang), 1, run_id="r")
    await until(lambda: hangs.arrived)

    async def nothing(_: HookCall) -> bool:
        return False

    dead.store.put_hook_call = nothing  # type: ignore[method-assign]
    await die(dead)
    async with Engine(SqliteStore(path), clock=clock, workflows=[flow(hook)]) as engine:
        await engine._worker._look()  # type: ignore[union-attr]
        assert hook.runs == []
        clock.advance(31)
        await engine._worker._look()  # type: ignore[union-attr]
        await none_due(engine)
    assert hook.ids == ["r"]


@pytest.mark.parametrize("name", ["put_hook_call", "drop_hook_call", "load"])
@in_loop
async def test_a_failing_store_loses_no_call(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_hooks, "_DELAYS", (0.01, 0.01))
    monkeypatch.setattr(_hooks, "TIMEOUT", 0.05)  # and with it how long a call is held
    hook, store = Told(), Moody()
    failing = 2

    async def fails(*args: Any) -> Any:
        nonlocal failing
        if failing:
            failing -= 1
            raise StoreError("the disk is full")
        return await getattr(MemoryStore, name)(store._store, *args)

    setattr(store, name, fails)
    async with Engine(store) as engine:  # type: ignore[arg-type]
        await engine.run(flow(hook), 1, run_id="r")
        await none_due(engine)
    assert set(hook.ids) == {"r"}


@pytest.mark.parametrize("error", [StoreError("no network"), ZeroDivisionError("a bug")], ids=repr)
def test_calls_back_off_from_a_store_that_fails(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    hook, tries = Told(), dict[str, list[float]]()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        async with testing.VirtualEngine() as engine:
            put = engine.store.put_hook_call

            async def fails(call: HookCall) -> bool:
                tries.setdefault(call.run_id, []).append(loop.time())
                if len(tries[call.run_id]) <= 12:
                    raise error
                return await put(call)

            engine.store.put_hook_call = fails  # type: ignore[method-assign]
            for number in range(5):
                await engine.run(flow(hook), number)
            while not hook.runs:
                await asyncio.sleep(1)
            told.extend(record.getMessage() for record in caplog.records)
            while len(hook.runs) < 5:
                await asyncio.sleep(1)

    told: list[str] = []
    testing.in_virtual_time(run())
    assert len(tries) == 5
    for times in tries.values():
        gaps = [b - a for a, b in itertools.pairwise(times)]
        assert len(gaps) == 12
        for number, gap in enumerate(gaps):
            longest = min(300.0, 2.0**number)
            assert longest / 2 <= gap <= longest + 0.001
    assert sum("could not be called, and will be in" in text for text in told) == 1
    assert told.count("a hook could not be called") == isinstance(error, ZeroDivisionError)


KILLED = """
import asyncio, os, signal, sys
from gorkflow import Engine, Workflow, step
from gorkflow.engine._hooks import Hooks

@step
async def double(number: int) -> int:
    return number * 2

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

async def main():
    if sys.argv[2] == "before":
        Hooks.ended = die  # right after the commit
    async with Engine(sys.argv[1], lease=1) as engine:
        await engine.run(Workflow("doubling", input=int, on_end=die).then(double), 2, run_id="r")
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize("when", ["before", "during"])
@in_loop
async def test_killed_after_the_end_another_worker_calls(when: str, tmp_path: Path) -> None:
    path, hook = tmp_path / "runs.db", Told()
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", KILLED, str(path), when], timeout=60, check=False
    )
    assert done.returncode == -9
    async with Engine(SqliteStore(path), workflows=[flow(hook)], lease=1) as engine:
        (call,) = await engine.store.hook_calls()
        assert call.tries == (0 if when == "before" else 1)
        await none_due(engine)
        assert (await engine.get_run("r")).status is RunStatus.COMPLETED
    assert hook.ids == ["r"]
    assert hook.runs[0].output == 4


@in_loop
async def test_calls_go_on_in_virtual_time_for_what_another_engine_left() -> None:
    hook = Told(fails=1)

    async def run() -> None:
        store = Keeping()
        async with testing.VirtualEngine(store) as engine:
            await engine.run(flow(hook), 1, run_id="r")
        async with testing.VirtualEngine(store, workflows=[flow(hook)]):
            await until_virtual(lambda: hook.runs)

    await asyncio.to_thread(testing.in_virtual_time, run())
    assert hook.ids == ["r"]


class Keeping(MemoryStore):
    async def close(self) -> None:
        """Keep what is stored, for the next engine."""
