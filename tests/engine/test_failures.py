"""What happens when something fails: joins, drains, retries, timeouts, poisoned values."""

import asyncio
import gc
import logging
import pickle
import threading
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gorkflow import (
    Completed,
    Engine,
    Failed,
    FailureCode,
    InputInvalidError,
    NonRetryableError,
    RetryAfterError,
    RetryPolicy,
    RunCancelledError,
    RunFailedError,
    RunNotFoundError,
    RunStatus,
    StepContext,
    StepStatus,
    Workflow,
    run,
    step,
)
from gorkflow.events import StepFailed
from gorkflow.stores.memory import MemoryStore

from .support import OURS, Gate, in_loop, kinds, step_of, until

QUICK = RetryPolicy(retries=2, initial_interval=0.01, jitter=0)


@step
async def good(number: int) -> int:
    return number


@step
async def bad(number: int) -> int:
    raise ValueError(f"bad {number}")


async def failures_of(workflow: Workflow[int, Any], **options: Any) -> RunFailedError:
    async with Engine("memory:", **options) as engine:
        with pytest.raises(RunFailedError) as caught:
            await engine.run(workflow, 1, run_id="r")
        run = await engine.get_run("r")
        assert (run.status, run.output) == (RunStatus.FAILED, None)
    return caught.value


@in_loop
async def test_every_failure_is_listed_in_declared_order_with_its_traceback() -> None:
    gate = Gate()

    @step
    async def late(number: int) -> int:
        await gate.wait_async()
        raise KeyError("late but first declared")

    @step
    async def early(number: int) -> int:
        gate.open()
        raise ValueError("early but second declared")

    error = await failures_of(Workflow("w", input=int).parallel(late, good, early))
    assert [f.path for f in error.failures] == ["late", "early"]
    assert [f.code for f in error.failures] == ["step_failed", "step_failed"]
    assert error.failures[1].type == "builtins.ValueError"
    assert "raise ValueError" in error.failures[1].traceback
    assert isinstance(error.outcomes["good"], Completed)
    assert isinstance(error.outcomes["early"], Failed)


@in_loop
async def test_what_a_task_group_raises_is_judged_by_what_is_in_it() -> None:
    async def fetch() -> None:
        raise NonRetryableError("no such page")

    @step(retries=QUICK)
    async def final(number: int) -> int:
        async with asyncio.TaskGroup() as group:
            group.create_task(fetch())
        return number

    @step(retries=QUICK)
    def caused(number: int) -> int:
        try:
            raise NonRetryableError("no such page")
        except NonRetryableError as error:
            raise LookupError(number) from error

    error = await failures_of(Workflow("w", input=int).parallel(final, caused))
    assert [failure.attempt for failure in error.failures] == [1, 1]
    assert "NonRetryableError: no such page" in error.failures[0].message


@in_loop
async def test_a_name_that_no_exception_goes_by_is_told(caplog: pytest.LogCaptureFixture) -> None:
    policy = RetryPolicy(retries=2, retry_on=("ConnectionError", "ReadTimout"))
    wf = Workflow("w", input=int).then(bad.options(retries=policy))
    (failure,) = (await failures_of(wf)).failures
    assert failure.attempt == 1
    assert "names 'ReadTimout', as no exception class here is called" in caplog.text


@in_loop
async def test_a_drain_lets_running_steps_finish_and_starts_nothing_new() -> None:
    gate = Gate()
    started: list[str] = []

    @step
    async def fails(number: int) -> int:
        await until(lambda: gate.arrived, "the sibling")
        raise ValueError("no")

    @step
    async def running(number: int) -> int:
        await gate.wait_async()
        return 5

    @step
    async def next_in_chain(number: int) -> int:
        started.append("next_in_chain")
        return number

    @step
    async def queued(number: int) -> int:
        started.append("queued")
        return number

    chain = Workflow("chain", input=int).then(running).then(next_in_chain)
    wf = Workflow("w", input=int).parallel(fails, chain, queued, max_concurrency=2)
    async with Engine("memory:") as engine:
        handle = await engine.start(wf, 1, run_id="r")
        while "block_decided" not in await kinds(engine, "r"):
            await asyncio.sleep(0)
        assert not (await handle.info()).status.terminal
        gate.open()
        with pytest.raises(RunFailedError):
            await handle.result()
        assert (await step_of(engine, "r", "chain/running")).output == 5
        assert (await step_of(engine, "r", "queued")).status == StepStatus.CANCELLED
    assert started == []


@in_loop
async def test_on_failure_cancel_stops_the_siblings_at_once() -> None:
    gate = Gate()

    @step
    async def fails(number: int) -> int:
        await until(lambda: gate.arrived, "the sibling")
        raise ValueError("no")

    @step
    async def stuck(number: int) -> int:
        await gate.wait_async()
        return 5

    wf = Workflow("w", input=int).parallel(fails, stuck, on_failure="cancel")
    async with Engine("memory:") as engine:
        with pytest.raises(RunFailedError):
            await engine.run(wf, 1, run_id="r")
        stopped = await step_of(engine, "r", "stuck")
        assert (stopped.status, stopped.reason) == (StepStatus.CANCELLED, "fails failed")


@in_loop
async def test_retries_keep_every_attempt_and_its_failure() -> None:
    calls: list[int] = []

    @step(retries=QUICK)
    async def flaky(ctx: StepContext, number: int) -> int:
        calls.append(ctx.attempt)
        if ctx.attempt < 3:
            raise ConnectionError(f"try {ctx.attempt}")
        return ctx.attempt

    async with Engine("memory:") as engine:
        assert await engine.run(Workflow("w", input=int).then(flaky), 1, run_id="r") == 3
        done = await step_of(engine, "r", "flaky")
        assert [a.number for a in done.attempts] == [1, 2, 3]
        assert [a.failure and a.failure.message for a in done.attempts] == ["try 1", "try 2", None]
        assert (await engine.get_run("r")).failures == ()
    assert calls == [1, 2, 3]


@in_loop
async def test_retries_run_out() -> None:
    error = await failures_of(Workflow("w", input=int).then(bad.options(retries=QUICK)))
    (failure,) = error.failures
    assert (failure.attempt, failure.message) == (3, "bad 1")


@pytest.mark.parametrize(
    "error", [NonRetryableError("stop"), TypeError("given up"), asyncio.CancelledError()]
)
@in_loop
async def test_some_errors_are_not_retried(error: BaseException) -> None:
    calls: list[int] = []
    policy = RetryPolicy(retries=5, initial_interval=0.001, give_up_on=(TypeError,))

    @step(retries=policy)
    async def fails(number: int) -> int:
        calls.append(1)
        raise error

    await failures_of(Workflow("w", input=int).then(fails))
    assert calls == [1]


@in_loop
async def test_retry_after_sets_the_delay() -> None:
    @step(retries=RetryPolicy(retries=1, initial_interval=60, max_interval=60))
    async def busy(ctx: StepContext, number: int) -> int:
        if ctx.attempt == 1:
            raise RetryAfterError(timedelta(milliseconds=5))
        return number

    async with Engine("memory:") as engine:
        assert await engine.run(Workflow("w", input=int).then(busy), 4) == 4


@in_loop
async def test_continue_on_error_hands_on_none_and_shows_the_failure() -> None:
    @step
    async def total(left: int | None, right: int | None) -> int:
        return (left or 0) + (right or 0)

    optional = bad.options(continue_on_error=True)
    wf = Workflow("w", input=int).parallel(good, optional).then(total)
    async with Engine("memory:") as engine:
        assert await engine.run(wf, 3, run_id="r") == 3
        (failure,) = (await engine.get_run("r")).failures
        assert (failure.path, failure.handled) == ("bad", True)
        assert (await step_of(engine, "r", "bad")).status == StepStatus.FAILED


@in_loop
async def test_defaults_are_inherited_field_by_field() -> None:
    calls: dict[str, int] = {}

    @step
    async def plain(ctx: StepContext, number: int) -> int:
        calls[ctx.path] = ctx.attempt
        raise ValueError

    @step(retries=0)
    async def own(ctx: StepContext, number: int) -> int:
        calls[ctx.path] = ctx.attempt
        raise ValueError

    inner = Workflow("inner", input=int, defaults={"timeout": 5}).then(plain.options(id="deep"))
    wf = Workflow("w", input=int, defaults={"continue_on_error": True}).parallel(plain, own, inner)
    quick = RetryPolicy(retries=1, initial_interval=0.001)
    async with Engine("memory:", defaults={"retries": quick}) as engine:
        assert await engine.run(wf, 1) == (None, None, None)
    assert calls == {"plain": 2, "own": 1, "inner/deep": 2}


@in_loop
async def test_an_async_step_times_out_and_gets_to_clean_up() -> None:
    cleaned: list[str] = []

    @step(timeout=0.03)
    async def slow(number: int) -> int:
        try:
            await asyncio.sleep(30)
        finally:
            cleaned.append("yes")
        return 1

    error = await failures_of(Workflow("w", input=int).then(slow))
    assert [f.code for f in error.failures] == [FailureCode.TIMEOUT]
    assert cleaned == ["yes"]


@in_loop
async def test_a_timeout_error_of_the_step_itself_is_not_our_timeout() -> None:
    @step(timeout=30)
    async def slow(number: int) -> int:
        raise TimeoutError("the server's")

    error = await failures_of(Workflow("w", input=int).then(slow))
    assert [f.code for f in error.failures] == [FailureCode.STEP_FAILED]


@in_loop
async def test_a_thread_is_decided_at_its_deadline_and_its_late_result_is_fenced_off(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate, ended = Gate(), threading.Event()

    @step(timeout=0.03, retries=RetryPolicy(retries=1, initial_interval=0.001))
    def slow(ctx: StepContext, number: int) -> str:
        if ctx.attempt == 1:
            gate.wait()
            ended.set()
        return f"attempt {ctx.attempt}"

    caplog.set_level(logging.WARNING, "gorkflow")
    async with Engine("memory:") as engine:
        wf = Workflow("w", input=int).then(slow)
        assert await engine.run(wf, 1, run_id="r") == "attempt 2"
        gate.open()
        await until(ended.is_set, "the stray thread")
        await until(lambda: "its result is ignored" in caplog.text, "the log")
        record = await step_of(engine, "r", "slow")
        assert record.attempts[0].failure is not None
        assert record.attempts[0].failure.code == FailureCode.TIMEOUT
        assert record.output == "attempt 2"


@in_loop
async def test_a_thread_that_leaves_when_it_is_cancelled_is_no_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate = Gate()

    @step(timeout=0.03)
    def obeys(ctx: StepContext, number: int) -> int:
        gate.wait()
        ctx.raise_if_cancelled()
        return number

    caplog.set_level(logging.DEBUG, "gorkflow")
    async with Engine("memory:") as engine:
        handle = await engine.start(Workflow("w", input=int).then(obeys), 1)
        await handle.outcome()
        gate.open()
        await until(lambda: "its result is ignored" in caplog.text, "the log")
    (told,) = [each for each in caplog.records if "its result is ignored" in each.getMessage()]
    assert told.levelname == "DEBUG"


@in_loop
async def test_abandoned_threads_are_replaced_up_to_a_limit_then_steps_wait(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate = Gate()

    @step(timeout=0.02, continue_on_error=True)
    def stuck(number: int) -> int:
        gate.wait()
        return number

    @step
    def quick(number: int) -> int:
        return number

    hold = Workflow("hold", input=int).parallel(*[stuck.options(id=f"s{i}") for i in range(3)])
    async with Engine("memory:", max_threads=1) as engine:
        handle = await engine.start(hold, 1)
        await until(lambda: "threads outlive their attempts" in caplog.text, "the complaint")
        waiting = await engine.start(Workflow("q", input=int).then(quick), 7)
        assert "step_scheduled" not in await kinds(engine, waiting.run_id)
        gate.open()
        assert await waiting.result() == 7
        assert (await handle.result())[0] is None


@in_loop
async def test_a_block_that_takes_too_long_settles_with_what_there_is() -> None:
    gate = Gate()

    @step
    async def stuck(number: int) -> int:
        await gate.wait_async()
        return 1

    wf = Workflow("w", input=int).parallel(good, stuck, join="settled", timeout=0.05)
    async with Engine("memory:") as engine:
        left, right = await engine.run(wf, 2, run_id="r")
        assert left == Completed("good", 2)
        assert isinstance(right, Failed)
        assert right.failure.code == FailureCode.TIMEOUT
        (failure,) = (await engine.get_run("r")).failures
        assert (failure.path, failure.handled) == ("stuck", True)


@pytest.mark.parametrize("where", ["workflow", "start", "nested"])
@in_loop
async def test_a_workflow_that_takes_too_long_fails(where: str) -> None:
    gate = Gate()

    @step
    async def stuck(number: int) -> int:
        await gate.wait_async()
        return 1

    own = 0.05 if where == "workflow" else None
    wf = Workflow("w", input=int, timeout=own)
    if where == "nested":
        wf = wf.then(Workflow("inner", input=int, timeout=0.05).then(stuck))  # type: ignore[assignment]
    else:
        wf = wf.then(stuck)
    async with Engine("memory:") as engine:
        with pytest.raises(RunFailedError) as caught:
            await engine.run(wf, 1, timeout=0.05 if where == "start" else None, run_id="r")
        (failure,) = caught.value.failures
        assert failure.code == FailureCode.TIMEOUT
        assert failure.path == ("inner" if where == "nested" else "")


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def _nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("\ud800", "encoding"),
        (object(), "encoding"),
        (_nested(200_000), "encoding"),
        ("x" * (4 * 1024 * 1024), "payload_too_large"),
    ],
    ids=["surrogate", "object", "nesting", "size"],
)
@in_loop
async def test_a_poisoned_output_fails_the_step_once_and_by_name(value: Any, code: str) -> None:
    calls: list[int] = []

    @step(retries=3)
    async def poison(number: int) -> Any:
        calls.append(1)
        return value

    error = await failures_of(Workflow("w", input=int).then(poison))
    (failure,) = error.failures
    assert (failure.path, failure.code) == ("poison", code)
    assert len(failure.message) < 1000
    assert calls == [1]


@in_loop
async def test_an_output_that_is_not_what_was_annotated_fails_the_step() -> None:
    @step(retries=3)
    async def liar(number: int) -> int:
        return "seven"  # type: ignore[return-value]

    error = await failures_of(Workflow("w", input=int).then(liar))
    assert [(f.path, f.code, f.attempt) for f in error.failures] == [("liar", "validation", 1)]


@pytest.mark.parametrize("error", [UnprintableError(), ExceptionGroup("g", [ValueError("\ud800")])])
@in_loop
async def test_an_exception_that_misbehaves_is_still_recorded(
    error: Exception, tmp_path: Path
) -> None:
    @step
    async def fails(number: int) -> int:
        raise error

    async with Engine(f"sqlite:{tmp_path / 'runs.db'}") as engine:
        with pytest.raises(RunFailedError) as caught:
            await engine.run(Workflow("w", input=int).then(fails), 1)
    (failure,) = caught.value.failures
    assert failure.type.endswith(type(error).__name__)
    (failure.message + failure.traceback).encode()  # a log can say it


@in_loop
async def test_the_exceptions_of_a_group_are_told() -> None:
    @step
    async def fails(number: int) -> int:
        async with asyncio.TaskGroup() as group:
            group.create_task(bad.fn(number))
        return number

    error = await failures_of(Workflow("w", input=int).then(fails))
    (failure,) = error.failures
    assert failure.message == (
        "unhandled errors in a TaskGroup (1 sub-exception): ValueError: bad 1"
    )


@in_loop
async def test_one_run_that_fails_leaves_the_others_alone() -> None:
    @step
    async def maybe(number: int) -> int:
        if number % 3 == 0:
            raise ValueError
        return number

    wf = Workflow("w", input=int).then(maybe)
    async with Engine("memory:") as engine:
        results = await asyncio.gather(
            *[engine.run(wf, n) for n in range(30)], return_exceptions=True
        )
    for number, result in enumerate(results):
        assert isinstance(result, RunFailedError) if number % 3 == 0 else result == number


@in_loop
async def test_whoever_waits_learns_how_a_run_ended_that_the_store_has_forgotten() -> None:
    gate = Gate()

    @step
    async def fails(number: int) -> int:
        await gate.wait_async()
        raise ValueError(f"not {number}")

    wf = Workflow("w", input=int).then(fails)
    async with Engine(MemoryStore(keep_ended=0)) as engine:
        first, second = [await engine.start(wf, number) for number in (1, 2)]
        waits = asyncio.gather(first.result(), second.result(), return_exceptions=True)
        await until(lambda: gate.arrived == 2, "both")
        await second.cancel("not wanted")
        gate.open()
        failed, cancelled = await waits
        assert isinstance(failed, RunFailedError)
        assert [failure.message for failure in failed.failures] == ["not 1"]
        assert isinstance(cancelled, RunCancelledError)
        assert cancelled.reason == "not wanted"
        with pytest.raises(RunNotFoundError):
            await first.result()


class SlowDownError(RetryAfterError):
    """A subclass that does as it likes."""

    def __init__(self, **attributes: object) -> None:
        Exception.__init__(self, "slow down")
        vars(self).update(attributes)


@pytest.mark.parametrize(
    ("attributes", "waited"),
    [
        ({}, 0.01),
        ({"delay": float("nan")}, 0.01),
        ({"delay": float("inf")}, 0.01),
        ({"delay": -5}, 0.01),
        ({"delay": "soon"}, 0.01),
        ({"delay": timedelta(milliseconds=2)}, 0.002),
    ],
    ids=["unset", "nan", "inf", "negative", "text", "timedelta"],
)
@in_loop
async def test_a_delay_that_is_none_leaves_it_to_the_policy(
    attributes: dict[str, object], waited: float
) -> None:
    @step(retries=QUICK)
    async def moody(ctx: StepContext, number: int) -> int:
        if ctx.attempt == 1:
            raise SlowDownError(**attributes)
        return number

    async with Engine("memory:") as engine:
        assert await engine.run(Workflow("w", input=int).then(moody), 1, run_id="r") == 1
        events = await engine.store.read_events("r")
    failed = next(event for event in events if isinstance(event, StepFailed))
    assert failed.retry_at is not None
    assert failed.ended_at is not None
    assert failed.retry_at - failed.ended_at == pytest.approx(waited, abs=1e-4)


@in_loop
async def test_a_log_handler_that_raises_loses_no_failure() -> None:
    class Down(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise ConnectionError("the log server is down")

    seen: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, said: seen.append(said))
    logger, down = logging.getLogger("gorkflow.step"), Down()
    logger.addHandler(down)
    try:
        error = await failures_of(Workflow("w", input=int).then(bad))
        assert error.failures[0].message == "bad 1"
        await until(lambda: gc.collect() and seen, "what the program's handler raised")
    finally:
        logger.removeHandler(down)


# ---- what the caller sees ---------------------------------------------------------------------


def divide(number: int) -> float:
    return 1 / number


@step
async def divides(number: int) -> float:
    return divide(0)


@step(retries=QUICK)
def divides_in_a_thread(number: int) -> float:
    try:
        return divide(0)
    except ZeroDivisionError as error:
        raise ValueError("not that") from error


def seen(error: BaseException) -> str:
    """Return what Python prints of an error that nobody caught."""
    return "".join(traceback.format_exception(error))


def here(number: int) -> bool:
    return divide(0) > number


@pytest.mark.parametrize("url", ["memory:", "sqlite:{}/runs.db"])
def test_a_failure_ends_with_the_lines_of_the_step_and_none_of_ours(url: str, tmp_path: Path):
    store = url.format(tmp_path)
    checks = Workflow("checks", input=int).then_if(here, good, default=0)
    for node in (divides, divides_in_a_thread, checks):
        workflow = Workflow("w", input=int).then(node)
        with pytest.raises(RunFailedError) as caught:
            run(workflow, 1, store=store)
        text = seen(caught.value)
        assert OURS not in text
        assert "in divide\n    return 1 / number" in text[text.index("failed:") :]

        @in_loop
        async def by_hand(workflow: Workflow[int, Any] = workflow) -> None:
            async with Engine(store) as engine:
                handle = await engine.start(workflow, 1)
                for call in (lambda: engine.run(workflow, 1), handle.result):
                    with pytest.raises(RunFailedError) as caught:
                        await call()
                    assert OURS not in seen(caught.value)
                    assert "return 1 / number" in seen(caught.value)

        by_hand()


@in_loop
async def test_a_failure_that_is_read_from_the_store_shows_the_lines_too(tmp_path: Path) -> None:
    store = f"sqlite:{tmp_path}/runs.db"
    async with Engine(store) as engine:
        handle = await engine.start(Workflow("w", input=int).then(divides), 1)
        await handle.outcome()
    async with Engine(store) as engine:
        with pytest.raises(RunFailedError) as caught:
            await engine.handle(handle.run_id).result()
    assert "return 1 / number" in seen(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))
    assert seen(again).endswith("".join(caught.value.__notes__[-1:]) + "\n")
    assert again.failures == caught.value.failures


@in_loop
async def test_several_failures_are_shown_and_many_are_bounded() -> None:
    @step
    def digs(number: int) -> int:
        error: Exception = ValueError("the first")
        for turn in range(60):
            try:
                raise LookupError(turn) from error
            except LookupError as caught:
                error = caught
        raise error

    error = await failures_of(Workflow("w", input=int).parallel(bad, divides, digs))
    assert [note.split()[0] for note in error.__notes__] == ["bad", "divides", "digs"]
    assert 'raise ValueError(f"bad {number}")' in error.__notes__[0]
    assert len(error.__notes__[2].splitlines()) < 50
    assert "lines before" in error.__notes__[2]

    several = Workflow("w", input=int).then(list_of_ten).map(bad)
    error = await failures_of(several)
    assert len(error.__notes__) == 6
    assert "and 5 more" in error.__notes__[-1]


@step
async def list_of_ten(number: int) -> list[int]:
    return list(range(10))


@in_loop
async def test_an_error_of_the_caller_shows_no_lines_of_ours() -> None:
    workflow = Workflow("w", input=int).then(good)
    async with Engine("memory:") as engine:
        for call in (engine.run, engine.start):
            with pytest.raises(InputInvalidError) as caught:
                await call(workflow, "seven")  # type: ignore[call-overload]
            assert OURS not in seen(caught.value)


def test_nor_does_one_of_the_blocking_call(monkeypatch: pytest.MonkeyPatch):
    workflow = Workflow("w", input=int).then(good)
    with pytest.raises(InputInvalidError) as caught:
        run(workflow, "seven", store="memory:")  # type: ignore[call-overload]
    assert OURS not in seen(caught.value)
    monkeypatch.setenv("GORKFLOW_DEBUG", "1")
    with pytest.raises(InputInvalidError) as caught:
        run(workflow, "seven", store="memory:")  # type: ignore[call-overload]
    assert OURS in seen(caught.value)


@in_loop
async def test_the_log_of_a_final_failure_has_the_exception(
    caplog: pytest.LogCaptureFixture,
) -> None:
    await failures_of(Workflow("w", input=int).then(divides_in_a_thread))
    told = [record for record in caplog.records if record.name == "gorkflow.step"]
    assert [record.exc_info is not None for record in told] == [False, False, True]
    kind, error, _ = told[-1].exc_info or (None, None, None)
    assert (kind, str(error)) == (ValueError, "not that")
    text = logging.Formatter("%(message)s").format(told[-1])
    assert "return 1 / number" in text
    assert OURS not in text
    caplog.clear()
    await failures_of(Workflow("w", input=int).then_if(here, good, default=0))
    (record,) = caplog.records
    assert record.exc_info is not None
    assert "return 1 / number" in caplog.text
