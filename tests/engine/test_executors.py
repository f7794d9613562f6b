"""Steps in processes, and on executors that the engine is given."""

import asyncio
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.msgpack import encode

from gorkflow import (
    Client,
    Engine,
    ProcessDiedError,
    RetryPolicy,
    RunBlockedError,
    RunFailedError,
    StepInvalidError,
    Workflow,
    WorkflowInvalidError,
    step,
)
from gorkflow.engine import _claims, _executors
from gorkflow.engine._executors import Executors
from gorkflow.engine._processes import ProcessPool
from gorkflow.engine._remote_job import Job, result_of

from . import placed
from .placed import Parcel
from .support import OURS, in_loop, step_of, until


def is_alive(pid: int) -> bool:
    """Return whether a process runs; one that has ended and was not reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # gone before, or while it is read
        return False
    return state not in {"Z", "X"}


async def failure_of(engine: Engine, workflow: Any, value: Any) -> Any:
    with pytest.raises(RunFailedError) as caught:
        await engine.run(workflow, value)
    (failure,) = caught.value.failures
    return failure


# ---- processes --------------------------------------------------------------------------------


@in_loop
async def test_steps_run_in_processes_that_are_used_again() -> None:
    workflow = Workflow("w", input=int).then(placed.pid)
    async with Engine("memory:", max_processes=1) as engine:
        first = await engine.run(workflow, 1)
        assert first != os.getpid()
        assert await engine.run(workflow, 1) == first
    assert not is_alive(first)


@in_loop
async def test_values_and_settings_cross_with_their_types() -> None:
    parcels = Workflow("w", input=int).then(placed.prepare)
    workflow = parcels.parallel(placed.weigh, placed.heavier).then(placed.both)
    async with Engine("memory:", max_processes=2) as engine:
        assert await engine.run(workflow, 2) == 2.0 + 6.0
        settled = parcels.parallel(placed.weigh, placed.heavier, join="settled").then(placed.tell)
        assert await engine.run(settled, 2) == ["completed", "completed"]
        plain = Workflow("p", input=int).then(placed.renamed)
        assert await engine.run(plain, 2) == 3


@in_loop
async def test_no_more_processes_than_may_be_run_at_a_time() -> None:
    copies = [placed.pid.options(id=f"p{number}") for number in range(6)]
    workflow = Workflow("w", input=int).parallel(*copies)
    async with Engine("memory:", max_processes=2) as engine:
        assert len(set(await engine.run(workflow, 1))) <= 2


async def _hanging(engine: Engine, folder: Path, **options: Any) -> tuple[Any, list[int]]:
    workflow = Workflow("w", input=str).then(placed.hang.options(**options))
    handle = await engine.start(workflow, str(folder))
    await until((folder / "pids").exists)
    return handle, [int(pid) for pid in (folder / "pids").read_text().split()]


@in_loop
async def test_a_timeout_kills_the_process_and_what_it_started(tmp_path: Path) -> None:
    async with Engine("memory:") as engine:
        handle, pids = await _hanging(engine, tmp_path, timeout=1)
        with pytest.raises(RunFailedError) as caught:
            await handle.result()
        assert [failure.code for failure in caught.value.failures] == ["timeout"]
        assert not is_alive(pids[0])
        await until(lambda: not any(map(is_alive, pids)))
        assert engine.stray_threads == 0


@in_loop
async def test_a_cancel_kills_the_process_and_what_it_started(tmp_path: Path) -> None:
    async with Engine("memory:", max_processes=1) as engine:
        handle, pids = await _hanging(engine, tmp_path)
        await handle.cancel()
        await until(lambda: not any(map(is_alive, pids)))
        assert await engine.run(Workflow("next", input=int).then(placed.pid), 1) not in pids


@in_loop
async def test_closing_the_engine_kills_what_has_no_grace_left(tmp_path: Path) -> None:
    engine = Engine("memory:")
    await engine.open()
    _, pids = await _hanging(engine, tmp_path)
    await engine.aclose(grace=0)
    await until(lambda: not any(map(is_alive, pids)))


ORPHAN = """
import asyncio, os, sys, time
from pathlib import Path
from gorkflow import Engine, Workflow
from tests.engine import placed

folder, step, forks = sys.argv[1:]

async def main():
    async with Engine("memory:") as engine:
        await engine.start(Workflow("w", input=str).then(getattr(placed, step)), folder)
        while not Path(folder, "pids").exists():
            await asyncio.sleep(0.01)
        if forks == "forks" and os.fork() == 0:  # as a pool that somebody uses beside us may do
            time.sleep(600)
        Path(folder, "ready").touch()
        await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("step", "forks"),
    [
        ("hang", "alone"),
        ("hang", "forks"),
        pytest.param(
            "hold_the_gil",
            "alone",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="only Linux's kernel kills"),
        ),
    ],
)
@in_loop
async def test_no_process_outlives_the_one_that_started_it(
    step: str, forks: str, tmp_path: Path
) -> None:
    """Whatever the step does, and whoever else was forked from the engine's process."""
    command = [sys.executable, "-W", "ignore", "-c", ORPHAN, str(tmp_path), step, forks]
    start = partial(subprocess.Popen, command, start_new_session=True)
    parent = await asyncio.to_thread(start)
    try:
        await until((tmp_path / "ready").exists)
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        assert all(map(is_alive, pids))
        parent.send_signal(signal.SIGKILL)
        await until(lambda: not any(map(is_alive, pids)))
    finally:
        os.killpg(parent.pid, signal.SIGKILL)  # what it forked, too
        parent.wait()


@in_loop
async def test_a_log_record_that_can_not_be_shown_fails_no_step() -> None:
    async with Engine("memory:") as engine:
        assert await engine.run(Workflow("w", input=int).then(placed.log_nonsense), 7) == 7


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("exit", "ended by itself, with exit code 7"),
        ("segfault", "was killed by SIGSEGV"),
        ("memory", "was killed by SIGKILL (the system may have run out of memory)"),
    ],
)
@in_loop
async def test_a_process_that_dies_fails_its_attempt_alone(how: str, said: str) -> None:
    block = Workflow("w", input=str).parallel(
        placed.die, placed.die.options(id="other"), join="settled"
    )
    async with Engine("memory:", max_processes=2) as engine:
        failure = await failure_of(engine, Workflow("w1", input=str).then(placed.die), how)
        assert failure.type == "gorkflow.errors.ProcessDiedError"
        assert failure.message.endswith(said)
        assert failure.attempt == 1
        outcomes = await engine.run(block, "not at all")
        assert [outcome.status for outcome in outcomes] == ["completed", "completed"]


@in_loop
async def test_a_death_counts_against_the_retries(tmp_path: Path) -> None:
    quick = RetryPolicy(retries=2, initial_interval=0, jitter=0)
    async with Engine("memory:") as engine:
        once = placed.die_once.options(retries=quick)
        assert await engine.run(Workflow("w", input=str).then(once), str(tmp_path)) == 1
        always = placed.die.options(retries=quick)
        failure = await failure_of(engine, Workflow("a", input=str).then(always), "exit")
        assert failure.attempt == 3
        policy = RetryPolicy(retries=5, give_up_on=(ProcessDiedError,))
        never = placed.die.options(retries=policy)
        failure = await failure_of(engine, Workflow("n", input=str).then(never), "exit")
        assert failure.attempt == 1


@in_loop
async def test_a_process_that_died_idle_is_replaced() -> None:
    workflow = Workflow("w", input=int).then(placed.pid)
    async with Engine("memory:", max_processes=1) as engine:
        first = await engine.run(workflow, 1)
        os.kill(first, signal.SIGKILL)
        await until(lambda: not is_alive(first))
        assert await engine.run(workflow, 1) != first


@in_loop
async def test_groups_and_causes_that_come_from_there_are_judged_as_here() -> None:
    quick = RetryPolicy(retries=1, initial_interval=0.01, retry_on=("UnreachableError",))
    anything, named = placed.raises_a_group, placed.raises_a_group.options(retries=quick)
    with ThreadPoolExecutor() as pool:
        async with Engine("memory:", executors={"pool": pool}) as engine:
            for executor in ("process", "pool"):
                for node, how, attempts in (
                    (anything, "final", 1),
                    (anything, "mixed", 2),
                    (named, "named", 2),
                    (named, "mixed", 1),
                ):
                    workflow = Workflow("w", input=str).then(node.options(executor=executor))
                    failure = await failure_of(engine, workflow, how)
                    assert (how, failure.attempt) == (how, attempts)


@in_loop
async def test_what_it_raises_is_judged_as_here() -> None:
    workflow = Workflow("w", input=str).then(placed.raises)
    async with Engine("memory:") as engine:
        failure = await failure_of(engine, workflow, "final")
        assert (failure.attempt, failure.message) == (1, "not again")
        assert 'raise NonRetryableError("not again")' in failure.traceback
        assert OURS not in failure.traceback
        failure = await failure_of(engine, workflow, "nan")
        assert (failure.attempt, failure.code) == (1, "validation")
        policy = RetryPolicy(retries=3, retry_on=(KeyError,))
        narrow = Workflow("n", input=str).then(placed.raises.options(retries=policy))
        assert (await failure_of(engine, narrow, "look")).attempt == 1
        policy = RetryPolicy(retries=1, retry_on=(LookupError,), initial_interval=0)
        wide = Workflow("d", input=str).then(placed.raises.options(retries=policy))
        assert (await failure_of(engine, wide, "look")).attempt == 2
        handle = await engine.start(workflow, "later", timeout=60)
        assert (await handle.outcome()).status == "failed"
        assert "not retried" in (await step_of(engine, handle.run_id, "raises")).reason


@in_loop
async def test_the_limit_on_values_holds_there_too() -> None:
    workflow = Workflow("w", input=int).then(placed.prepare)
    async with Engine("memory:", max_payload=10) as engine:
        failure = await failure_of(engine, workflow, 1)
        assert failure.code == "payload_too_large"


# ---- the context ------------------------------------------------------------------------------


@in_loop
async def test_the_context_of_a_process(caplog: Any) -> None:
    caplog.set_level(logging.INFO, "gorkflow")
    workflow = Workflow("w", input=int).then(placed.look.options(timeout=50))
    async with Engine("memory:") as engine:
        handle = await engine.start(workflow, 5)
        seen = await handle.result()
    assert seen == {
        "run_id": handle.run_id,
        "path": "look",
        "attempt": "1",
        "key": f"{handle.run_id}:look",
        "deadline": "True",
        "cancelled": "False",
        "run_input": "5",
    }
    logged = {record.getMessage(): record for record in caplog.records}
    assert logged["looking at 5"].__dict__["path"] == "look"
    assert logged["from elsewhere"].name == "other"


@in_loop
async def test_outputs_are_shipped_where_declared() -> None:
    number = step(lambda_free, id="number")
    workflow = Workflow("w", input=int).then(placed.prepare).then(number).then(placed.read)
    async with Engine("memory:") as engine:
        assert await engine.run(workflow, 1) == "first, completed"
        failure = await failure_of(engine, Workflow("u", input=int).then(placed.undeclared), 1)
        assert "may not read 'nothing': declare it" in failure.message


def lambda_free(parcel: Parcel) -> int:
    return int(parcel.weight)


@in_loop
async def test_live_objects_do_not_cross() -> None:
    async with Engine("memory:", deps=object()) as engine:
        failure = await failure_of(engine, Workflow("w", input=int).then(placed.wants_deps), 1)
        assert "runs in another process, where ctx.deps is not" in failure.message


# ---- what can't be ----------------------------------------------------------------------------


def top(number: int) -> int:
    return number


class Thing:
    def method(self, number: int) -> int:
        return number


def test_what_has_no_name_there_is_refused() -> None:
    def inner(number: int) -> int:
        return number

    for fn, why in ((inner, "a function inside another"), (Thing().method, "not a plain function")):
        with pytest.raises(StepInvalidError, match=f"(?s){why}.*at the top level of a module"):
            step(fn, id="it", executor="process")
    main: Any = type(top)(top.__code__, {**globals(), "__name__": "__main__"}, "top")
    main.__annotations__ = top.__annotations__
    main.__module__ = "__main__"
    with pytest.raises(StepInvalidError, match="module __main__"):
        step(main, executor="cluster")
    with pytest.raises(StepInvalidError, match="a function inside another"):
        step(inner).options(executor="process")


def test_each_kind_of_function_has_its_places() -> None:
    async def waits(number: int) -> int:
        return number

    with pytest.raises(StepInvalidError, match="an async function runs on the event loop"):
        step(waits, executor="process")  # type: ignore[call-overload]
    with pytest.raises(StepInvalidError, match="would stop the event loop"):
        step(top, executor="loop")
    with pytest.raises(StepInvalidError, match="executor must be 'process', or a name"):
        step(top, executor=3)  # type: ignore[call-overload]
    assert step(top, executor="thread").spec({}).executor == "thread"
    assert step(waits, executor="loop").spec({}).executor == "loop"
    assert placed.pid.spec({}).executor == "process"


def test_the_name_must_lead_to_the_function() -> None:
    with pytest.raises(WorkflowInvalidError, match="placed:hidden' by that name, and finds some"):
        Engine("memory:", workflows=[Workflow("w", input=int).then(placed.found_no_more)])


@in_loop
async def test_an_executor_that_the_engine_does_not_have_is_named() -> None:
    workflow = Workflow("w", input=int).then(placed.far)
    match = r"'elsewhere', which this engine does not have \(it has 'gpu'\).*executors="
    with ThreadPoolExecutor() as pool:
        with pytest.raises(WorkflowInvalidError, match=match):
            Engine("memory:", workflows=[workflow], executors={"gpu": pool})
        async with Engine("memory:", executors={"gpu": pool}) as engine:
            with pytest.raises(WorkflowInvalidError, match=match):
                await engine.start(workflow, 1)
        Client("memory:", workflows=[workflow])  # a client runs nothing
        with pytest.raises(ValueError, match="'process' is a reserved name"):
            Engine("memory:", executors={"process": pool})
    with pytest.raises(TypeError, match="must have submit"):
        Engine("memory:", executors={"gpu": 3})  # type: ignore[dict-item]


# ---- executors of others ----------------------------------------------------------------------


def process_pool() -> Executor:
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


@pytest.mark.parametrize("make", [ThreadPoolExecutor, process_pool])
@in_loop
async def test_any_executor_will_do(make: Any) -> None:
    with make() as pool:
        async with Engine("memory:", executors={"elsewhere": pool}) as engine:
            handle = await engine.start(Workflow("w", input=int).then(placed.far), 21)
            assert await handle.result() == 42
            found = await step_of(engine, handle.run_id, "far")
            assert found.attempts[0].ran is not None
            quick = placed.far_raises.options(retries=RetryPolicy(retries=1, initial_interval=0))
            failure = await failure_of(engine, Workflow("r", input=int).then(quick), 1)
            assert (failure.type, failure.attempt) == ("builtins.LookupError", 2)
        assert pool.submit(int, "1").result() == 1  # the engine did not shut it down


@in_loop
async def test_the_clock_of_another_machine_puts_no_beginning_before_the_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def slow(answer: bytes, logged: Any) -> tuple[float, bytes, tuple[Any, ...]]:
        _, output, writes = result_of(answer, logged)
        return 3600.0, output, writes

    monkeypatch.setattr(_executors, "result_of", slow)
    with ThreadPoolExecutor(1) as pool:
        async with Engine("memory:", executors={"elsewhere": pool}) as engine:
            handle = await engine.start(Workflow("w", input=int).then(placed.far), 21)
            assert await handle.result() == 42
            found = await step_of(engine, handle.run_id, "far")
    assert found.started_at is not None
    assert found.scheduled_at is not None
    assert found.started_at >= found.scheduled_at
    assert found.attempts[0].queued == 0


@in_loop
async def test_an_executor_that_takes_nothing_more_fails_the_attempt() -> None:
    pool = ThreadPoolExecutor()
    pool.shutdown()
    async with Engine("memory:", executors={"elsewhere": pool}) as engine:
        failure = await failure_of(engine, Workflow("w", input=int).then(placed.far), 1)
        assert "cannot schedule new futures after shutdown" in failure.message


@in_loop
async def test_what_runs_there_past_its_timeout_is_counted(tmp_path: Path, caplog: Any) -> None:
    workflow = Workflow("w", input=str).then(placed.far_waits)
    with ThreadPoolExecutor(1) as pool:
        async with Engine("memory:", executors={"elsewhere": pool}) as engine:
            failure = await failure_of(engine, workflow, str(tmp_path))
            assert failure.code == "timeout"
            assert engine.stray_threads == 1
            (tmp_path / "go").touch()
            await until(lambda: engine.stray_threads == 0)
    assert "its result is ignored" in caplog.text


@in_loop
async def test_what_has_not_begun_there_is_withdrawn(tmp_path: Path) -> None:
    workflow = Workflow("w", input=str).then(placed.far_waits)
    busy = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(busy.wait)
        async with Engine("memory:", executors={"elsewhere": pool}) as engine:
            failure = await failure_of(engine, workflow, str(tmp_path))
            assert failure.code == "timeout"
            assert engine.stray_threads == 0
        busy.set()
    assert not (tmp_path / "began").exists()


@in_loop
async def test_strays_in_threads_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    gate = threading.Event()

    @step(timeout=0.05)
    def waits(number: int) -> int:
        gate.wait()
        return number

    async with Engine("memory:") as engine:
        await failure_of(engine, Workflow("w", input=int).then(waits), 1)
        assert engine.stray_threads == 1
        assert "step 'waits' of run" in caplog.text
        assert "since nothing can stop it; its result will be ignored. Such handlers: 1\n" in (
            caplog.text
        )
        gate.set()
        await until(lambda: engine.stray_threads == 0)
    assert engine.stray_threads == 0


def test_cpu_heavy_branches_leave_the_machine_through_dask() -> None:
    if find_spec("distributed") is None:
        pytest.skip("dask[distributed] is not installed")
    script = Path(__file__).with_name("on_dask.py")
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["[0,", "2,", "4,", "6]", "2", "1"]


@in_loop
async def test_a_run_whose_executor_is_missing_here_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_claims, "_LOOK_AGAIN", 0.2)
    store = f"sqlite:{tmp_path / 'runs.db'}"
    moved = Workflow("w", input=int).then(placed.far)
    async with Client(store, workflows=[moved]) as client:
        run_id = (await client.start(moved, 4)).run_id
    here = Workflow("w", input=int).then(placed.far.options(executor="thread"))
    async with Engine(store, workflows=[here], recover=False) as engine:
        with pytest.raises(RunBlockedError, match="'elsewhere', which this engine does not have"):
            await engine.recover(run_id)
    with ThreadPoolExecutor() as pool:
        async with Engine(store, workflows=[here], executors={"elsewhere": pool}) as engine:
            assert await engine.handle(run_id, here).result() == 8


@in_loop
async def test_a_process_that_was_given_back_is_not_killed_for_who_had_it() -> None:
    taken: list[Any] = []
    pool = ProcessPool()
    job = Job(
        function="tests.engine.placed:pid",
        settings={},
        ids={"run_id": "r", "workflow_id": "w", "step_id": "pid", "path": "pid", "attempt": 1},
        timeout=None,
        due=None,
        max_payload=1_000,
        log_level=20,
        input=b"1",
    )

    def take(process: Any) -> bool:
        taken.append(process)
        return True

    pool.run(encode(job), lambda *_: None, take)
    pool.close()
    assert taken[0] is not None
    assert taken[1:] == [None]


@pytest.mark.parametrize("cancelled", [False, True])
def test_only_results_that_somebody_waits_for_are_reported_lost(cancelled, caplog) -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    report: Any = SimpleNamespace(cancelled=cancelled, label="step 'p' of run 'r'")
    nothing: Any = None
    Executors(loop, nothing, {}).post(lambda: None, report)
    assert [record.levelname for record in caplog.records] == ([] if cancelled else ["WARNING"])
